// LyingPeerTests.swift - what a peer must not say, and what it says too often.

import MailQueue
import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("Peers that lie or repeat themselves", .timeLimit(.minutes(1)))
struct LyingPeerTests {
    private let group = MachineGroup(3, seed: 3)
    private let leader: Int
    private let other: Int
    private let third: Int

    init() throws {
        let group = self.group
        group.run(.seconds(20)) {
            group.leader != nil && group.members.allSatisfy { $0.session != .none }
        }
        let leader = try #require(group.leader)
        let others = group.members.indices.filter { $0 != leader }
        (self.leader, self.other, self.third) = (leader, others[0], others[1])
    }

    private func bytes(_ command: Command) -> [UInt8] {
        var writer = ByteWriter()
        command.encode(into: &writer)
        return writer.bytes
    }

    @Test func `a command that comes again while it stands in the log adds nothing`() throws {
        let member = self.group.members[self.leader]
        let peer = self.group.members[self.other]
        self.group.isolate(self.leader, true)
        let command = Command(
            Origin(session: peer.session, sequence: 900), .release(deliveries: [], reports: []))
        let before = member.lastIndex
        for _ in 0..<5 {
            try member.receive(self.bytes(command), peer.id, self.group.clocks)
        }
        #expect(member.lastIndex == before + 1)
        // Another one is another one.
        let next = Command(
            Origin(session: peer.session, sequence: 901), .release(deliveries: [], reports: []))
        try member.receive(self.bytes(next), peer.id, self.group.clocks)
        #expect(member.lastIndex == before + 2)
    }

    @Test func `what was in the log of another term is taken again`() throws {
        let member = self.group.members[self.leader]
        let peer = self.group.members[self.other]
        self.group.isolate(self.leader, true)
        let tag = Tag(session: peer.session, sequence: 900)
        let command = Command(
            Origin(session: tag.session, sequence: tag.sequence),
            .release(deliveries: [], reports: []))
        try member.receive(self.bytes(command), peer.id, self.group.clocks)
        // Another one leads, and the entry is replaced; then the first one leads again.
        self.group.run(.seconds(10)) {
            self.group.leader != self.leader && self.group.leader != nil
        }
        self.group.isolate(self.leader, false)
        self.group.run(.seconds(10)) { self.group.agree() }
        #expect(member.result(of: tag) == nil)
        let second = try #require(self.group.leader)
        self.group.members[second].machine.handOver(to: member.id)
        self.group.run(.seconds(5)) { member.machine.isReadyLeader }
        try member.receive(self.bytes(command), peer.id, self.group.clocks)
        self.group.run(.seconds(5)) { member.result(of: tag) != nil }
        #expect(member.result(of: tag) == .changed(deliveries: 0, inFlight: 0))
    }

    @Test func `nobody opens a session or votes for another`() throws {
        let member = self.group.members[self.leader]
        let peer = self.group.members[self.other].id
        let victim = self.group.members[self.third]
        let before = member.lastIndex
        let open = OpenSession(
            node: victim.name, incarnation: victim.id, boot: 99, nonce: 5, credit: 1,
            replayed: true, delivers: true)
        #expect(throws: NodeMachine.PeerError.notYours) {
            try member.receive(
                self.bytes(Command(.openSession(open))), peer, self.group.clocks)
        }
        #expect(member.lastIndex == before)

        let term = member.machine.term
        var writer = ByteWriter()
        Message(from: victim.id, to: member.id, term: term + 5, .timeoutNow).encode(into: &writer)
        #expect(throws: NodeMachine.PeerError.notYours) { try member.step(writer.bytes, peer) }
        let (after, leads) = (member.machine.term, member.machine.isReadyLeader)
        #expect(after == term && leads)
    }

    @Test func `a tag that rests too long holds others back, and is told so in time`() throws {
        let member = self.group.members[self.other]
        let tag = try #require(member.drawTag())
        for _ in 0..<8 { _ = member.drawTag() }
        #expect(!member.holdsOthersBack(tag, 10))
        _ = member.drawTag()
        #expect(member.holdsOthersBack(tag, 10))
        let newest = try #require(member.drawTag())
        #expect(!member.holdsOthersBack(newest, 10))
    }
}
