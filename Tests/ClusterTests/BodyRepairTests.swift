// BodyRepairTests.swift - copies that are lost are made again, and mail does not wait for that.

import MailQueue
import NIOCore
import Primitives
import SMTP
import Spool
import Storage
import Testing

@testable import Cluster

@Suite("Copies lost and made among nodes", .serialized, .timeLimit(.minutes(2)))
struct BodyRepairTests {
    /// As many copies as there should be, each of them readable where it is said to be.
    private func waitForCopies(
        _ rig: ClusterRig, _ tag: Primitives.Tag, of content: [UInt8], by place: Int, count: Int = 2
    ) async throws -> [Int] {
        var found: [Int] = []
        try await rig.wait {
            found = try await rig.holders(tag, by: place)
            guard found.count == count else { return false }
            for holder in found {
                guard try await rig.ownCopy(tag, holder) == content else { return false }
            }
            return true
        }
        return found
    }

    /// Whom this node asks first for the body of a message that it has no copy of.
    private func source(
        of tag: Primitives.Tag, for rig: ClusterRig, _ place: Int
    ) async throws -> Holder? {
        try await rig.on(place) { node in
            node.machine.sources(of: tag, own: node.ownHolder, peers: node.directory.bodyPeers)
        }.first
    }

    @Test(arguments: [20_000, 300_000])
    func `a copy that the disk has changed is given from the other, and made again`(size: Int)
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(size)
        let tag = try await rig.accepted(0, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 0)
        let bad = try #require(holders.first)
        #expect(try rig.damage(Array(content[size / 2..<size / 2 + 40]), bad) == 1)
        #expect(try await rig.read(tag, bad) == .success(content))
        // The copy on that disk counts no more, and another one does.
        try await rig.wait {
            let own = try await rig.on(bad) { $0.ownTag(of: tag) }
            return own != tag
        }
        let after = try await self.waitForCopies(rig, tag, of: content, by: bad)
        for place in 0..<3 {
            #expect(try await rig.read(tag, place) == .success(content))
        }
        // A copy that was made again lies under the tag of the command that added it.
        let made = try #require(after.first { $0 == bad || !holders.contains($0) })
        let under = try await rig.on(made) { $0.ownTag(of: tag) }
        #expect(under != nil && under != tag)
        // Nobody was told that anything is lost.
        for member in rig.members { #expect(member.taker.reports.isEmpty) }
        try await rig.end()
    }

    @Test func `what a removed node held is copied to the one that is left`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        var messages: [(Primitives.Tag, [UInt8])] = []
        for number in 0..<12 {
            let content = ClusterRig.content(number == 0 ? 400_000 : 5000, seed: UInt64(number))
            messages.append((try await rig.accepted(number % 3, content), content))
        }
        let gone = (leader + 1) % 3
        let left = (leader + 2) % 3
        try await rig.kill(gone)
        let holder = rig.members[gone].running.node.ownHolder
        try await rig.on(leader) { node in
            node.proposeAsLeader(
                Command(
                    .removeNode(
                        RemoveNode(
                            node: holder.node, incarnation: holder.incarnation, force: false))))
        }
        for (tag, content) in messages {
            let holders = try await self.waitForCopies(rig, tag, of: content, by: leader)
            #expect(Set(holders) == [leader, left])
        }
        // Copies that were made again are still theirs after a start.
        try await rig.kill(left)
        try await rig.restart(left)
        for (tag, content) in messages {
            try await rig.wait { try await rig.ownCopy(tag, left) == content }
        }
        try await rig.end()
    }

    @Test func `damage that a start finds costs that copy, which is made again`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(30_000)
        let tag = try await rig.accepted(1, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 1)
        // Something behind it on every disk: the damage is in what is known to be synced.
        for place in 0..<3 { _ = try await rig.accepted(place, ClusterRig.content(100)) }
        let leader = try await rig.leader()
        let bad = try #require(holders.first { $0 != leader } ?? holders.first)
        try await rig.kill(bad)
        #expect(try rig.damage(Array(content[10_000..<10_040]), bad) == 1)
        try await rig.restart(bad)
        try await rig.wait {
            let own = try await rig.on(bad) { $0.ownTag(of: tag) }
            return own != tag
        }
        _ = try await self.waitForCopies(rig, tag, of: content, by: bad)
        #expect(try await rig.read(tag, bad) == .success(content))
        try await rig.end()
    }

    @Test func `when all copies are lost the recipients end, with one report`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        for place in 0..<3 {
            try await rig.on(place) { $0.repairs.planner.hopesFor = .milliseconds(100) }
        }
        let content = ClusterRig.content(50_000)
        let tag = try await rig.accepted(0, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 0)
        for place in holders {
            #expect(try rig.damage(Array(content[20_000..<20_040]), place) == 1)
        }
        let reader = try #require([0, 1, 2].first { !holders.contains($0) })
        var found = try await rig.read(tag, reader)
        // The holders look again, tell, and the leader gives the message up.
        try await rig.wait {
            found = try await rig.read(tag, reader)
            let copies = try await rig.holders(tag, by: reader)
            return found == .failure(.unavailable) && copies.isEmpty
        }
        // Its lease is given back; then what is left of it fails.
        try await rig.wait {
            for member in rig.members {
                member.running.desk.release(
                    member.taker.deliveries.filter { $0.id.message == tag })
            }
            return rig.members.contains { $0.taker.reports.contains { $0.id.message == tag } }
        }
        let reports = rig.members.flatMap { $0.taker.reports.filter { $0.id.message == tag } }
        #expect(reports.count == 1)
        let verdict = try #require(reports.first?.content.lines.first?.verdict)
        #expect(verdict.kind == .failed && verdict.reply.enhanced == EnhancedCode(5, 3, 0))
        try await rig.end()
    }

    @Test func `20 MB are accepted, and read on a node without a copy, a few pieces at a time`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(20 << 20)
        let tag = try await rig.accepted(2, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 2)
        let reader = try #require([0, 1, 2].first { !holders.contains($0) })
        #expect(try await rig.ownCopy(tag, reader) == nil)
        #expect(try await rig.read(tag, reader) == .success(content))
        // One holder's copy breaks in its last part: what was sent on already is not sent again.
        let end = content.count - 100_000
        let bad = try #require(try await self.source(of: tag, for: rig, reader))
        let place = try #require(ClusterRig.names.firstIndex(of: bad.node))
        #expect(try rig.damage(Array(content[end..<end + 40]), place) == 1)
        #expect(try await rig.read(tag, reader) == .success(content))
        _ = try await self.waitForCopies(rig, tag, of: content, by: reader)
        for place in 0..<3 {
            #expect(try await rig.on(place) { $0.fetches.isEmpty && $0.senders.isEmpty })
        }
        try await rig.end()
    }

    /// Delivers all that is leased to anybody, until the queue is empty.
    private func deliverAll(_ rig: ClusterRig) async throws {
        var settled: Set<DeliveryID> = []
        try await rig.wait {
            for member in rig.members {
                for delivery in member.taker.deliveries where !settled.contains(delivery.id) {
                    settled.insert(delivery.id)
                    member.running.desk.settle(
                        DeliveryOutcome(
                            delivery: delivery.id, session: delivery.session,
                            attempt: delivery.attempt,
                            verdicts: [(0, Verdict(.delivered, Reply(250, nil, "ok")))],
                            endsLease: true))
                }
            }
            for place in rig.members.indices {
                let status = await rig.status(place)
                guard status.queue?.messages == 0 else { return false }
            }
            return true
        }
    }

    @Test func `disk use returns to its base line when all has ended, later copies too (9)`()
        async throws
    {
        let rig = try ClusterRig()
        rig.youngSegments = 1
        rig.upkeepInterval = .milliseconds(50)
        try await rig.start()
        var first: (Primitives.Tag, [UInt8])?
        for number in 0..<15 {
            let content = ClusterRig.content(1 << 20, seed: UInt64(number))
            let tag = try await rig.accepted(number % 3, content)
            if first == nil { first = (tag, content) }
        }
        let (tag, content) = try #require(first)
        let bad = try #require(
            try await self.waitForCopies(rig, tag, of: content, by: 0).first)
        #expect(try rig.damage(Array(content[500_000..<500_040]), bad) >= 1)
        #expect(try await rig.read(tag, bad) == .success(content))
        try await rig.wait { try await rig.on(bad) { $0.ownTag(of: tag) } != tag }
        _ = try await self.waitForCopies(rig, tag, of: content, by: bad)
        // What waits has been carried out of the journal, everywhere: who has got too little of the
        // others accepts more itself.
        for place in rig.members.indices {
            while rig.members[place].running.node.storage.statistics().oldBytes == 0 {
                _ = try await rig.accepted(place, ClusterRig.content(1 << 20))
            }
        }
        try await self.deliverAll(rig)
        // Younger segments push the last ones out.
        for number in 0..<15 {
            _ = try await rig.accepted(number % 3, ClusterRig.content(1 << 20))
            try await self.deliverAll(rig)
        }
        try await rig.wait {
            rig.members.allSatisfy {
                let disk = $0.running.node.storage.statistics()
                return disk.oldFiles == 0 && disk.segments <= 3
            }
        }
        // Nothing that went was still wanted, and no pass was stopped.
        for place in rig.members.indices {
            let status = await rig.status(place)
            #expect(status.alarms == [])
        }
        try await rig.end()
    }

    @Test func `what is not what was accepted is not given on, and counts no more`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(200_000)
        let tag = try await rig.accepted(0, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 0)
        let reader = try #require([0, 1, 2].first { !holders.contains($0) })
        let asked = try #require(try await self.source(of: tag, for: rig, reader))
        let bad = try #require(ClusterRig.names.firstIndex(of: asked.node))
        // Every record is sound, and it is another message.
        var blocks: [UInt8] = []
        var other = Array("another\r\n".utf8)
        other += [UInt8](repeating: 65, count: 50_000)
        other.withUnsafeBytes { BlockCodec.encode($0, into: &blocks) }
        let storage = rig.members[bad].running.node.storage
        storage.appendBody(
            tag: tag, head: Array("Received: x\r\n".utf8), blocks: blocks, blockCount: 1,
            contentBytes: UInt64(other.count), digest: BodyDigest(a: 1, b: 2, c: 3, d: 4))
        storage.flush()
        try await rig.wait { try await rig.ownCopy(tag, bad) != content }
        #expect(try await rig.read(tag, reader) == .success(content))
        // Its own node finds out when it reads it.
        #expect(try await rig.read(tag, bad) == .success(content))
        _ = try await self.waitForCopies(rig, tag, of: content, by: bad)
        try await rig.end()
    }

    /// Forwards everything, and lets no bulk link be read.
    private final class Deaf: PeerEvents {
        let node: Node
        init(_ node: Node) { self.node = node }
        func peerUp(_ peer: Hello, _ link: PeerLinkKind) { self.node.peerUp(peer, link) }
        func peerDown(_ name: NodeName, _ incarnation: Incarnation, _ link: PeerLinkKind) {
            self.node.peerDown(name, incarnation, link)
        }
        func received(
            _ message: PeerMessage, from name: NodeName, _ incarnation: Incarnation
        ) { self.node.received(message, from: name, incarnation) }
        func peerDrained(_ name: NodeName) { self.node.peerDrained(name) }
        func mayRead(from name: NodeName) -> Bool { false }
    }

    private final class Box: @unchecked Sendable {  // touched on one loop only
        var deaf: Deaf?
    }

    @Test func `a peer that takes nothing is joined by another`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(0, [])
        let box = Box()
        try await rig.on(1) { node in
            let deaf = Deaf(node)
            box.deaf = deaf
            node.mesh?.events = deaf
        }
        // With eight messages some have the deaf one as their first choice.
        for number in 0..<8 {
            let content = ClusterRig.content(number == 0 ? 2 << 20 : 20_000, seed: UInt64(number))
            let verdict = try await rig.send(0, content)
            guard case .accepted(let tag) = verdict else {
                Issue.record("\(verdict)")
                continue
            }
            #expect(try await rig.holders(tag, by: 0) == [0, 2])
        }
        try await rig.on(1) { $0.mesh?.events = $0 }
        try await rig.end()
        box.deaf = nil
    }

    /// A client that has begun to send, on the node's own loop.
    private final class Client: @unchecked Sendable {  // touched on that loop only
        var body: IncomingBody?
    }

    private func begin(
        _ rig: ClusterRig, _ place: Int, _ content: ArraySlice<UInt8>
    ) async throws -> Client {
        let client = Client()
        let intake = rig.members[place].running.intake
        try await rig.wait {
            try await rig.on(place) { node in
                guard case .success(let body) = intake.begin(on: node.loop, resume: {}) else {
                    return false
                }
                client.body = body
                return true
            }
        }
        try await self.go(on: rig, place, client, content)
        return client
    }

    private func go(
        on rig: ClusterRig, _ place: Int, _ client: Client, _ content: ArraySlice<UInt8>
    ) async throws {
        let bytes = Array(content)
        try await rig.on(place) { _ in
            var rest = bytes[...]
            while !rest.isEmpty {
                _ = client.body?.append(ByteBuffer(bytes: rest.prefix(10_000)))
                rest = rest.dropFirst(10_000)
            }
        }
    }

    private func finish(
        _ rig: ClusterRig, _ place: Int, _ client: Client
    ) async throws -> IntakeVerdict {
        let node = rig.members[place].running.node
        let promise = node.loop.makePromise(of: IntakeVerdict.self)
        node.loop.execute {
            client.body?.finish(
                envelope: Envelope(
                    sender: "a@client.test", recipients: [Recipient(address: "b@sink.test")]),
                destinations: ["sink.test"],
                head: { ByteBuffer(string: "Received: id \($0.text)\r\n") }
            ) { promise.succeed($0) }
        }
        return try await promise.futureResult.get()
    }

    /// Chunks that the node has taken of bodies that have no end yet.
    private func arriving(_ rig: ClusterRig, _ place: Int) async throws -> [UInt32] {
        try await rig.on(place) { $0.incoming.map(\.chunks) }
    }

    @Test func `a body is on its way to a peer while its client still sends`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(0, [])
        let content = ClusterRig.content(6 << 20)
        let client = try await self.begin(rig, 0, content[..<(4 << 20)])
        var taking: Int?
        try await rig.wait {
            for place in 1...2 {
                if let chunks = try await self.arriving(rig, place).first, chunks >= 32 {
                    taking = place
                }
            }
            return taking != nil
        }
        // That peer dies: the other one gets all from the beginning, while the client goes on.
        let first = try #require(taking)
        let second = 3 - first
        #expect(try await self.arriving(rig, second).isEmpty)
        try await rig.kill(first)
        try await rig.wait { try await (self.arriving(rig, second).first ?? 0) >= 32 }
        try await self.go(on: rig, 0, client, content[(4 << 20)...])
        guard case .accepted(let tag) = try await self.finish(rig, 0, client) else {
            Issue.record("not accepted")
            return
        }
        let holders = try await self.waitForCopies(rig, tag, of: content, by: second)
        #expect(Set(holders) == [0, second])
        #expect(try await rig.on(0) { $0.streamSenders.isEmpty && $0.placings.isEmpty })
        try await rig.end()
    }

    @Test func `of a client that goes nothing stays, here or there`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        _ = try await rig.accepted(0, [])
        let client = try await self.begin(rig, 0, ClusterRig.content(1 << 20)[...])
        try await rig.wait {
            let chunks = try await (self.arriving(rig, 1) + self.arriving(rig, 2)).max()
            return (chunks ?? 0) >= 4
        }
        try await rig.on(0) { _ in client.body?.abandon() }
        try await rig.wait {
            let there = try await self.arriving(rig, 1) + self.arriving(rig, 2)
            let isEmpty = try await rig.on(0) { $0.streamSenders.isEmpty && $0.placings.isEmpty }
            return there.isEmpty && isEmpty
        }
        try await rig.end()
    }
}
