// RepairsTests.swift - copies made and lost, and whose body is read, event by event.

import MailQueue
import Primitives
import Raft
import Spool
import Testing

@testable import Cluster

@Suite("Copies of bodies: what one node decides")
struct RepairsTests {
    private static let own = Holder(node: "a", incarnation: MemberID(raw: 1))
    private static let b = Holder(node: "b", incarnation: MemberID(raw: 2))
    private static let c = Holder(node: "c", incarnation: MemberID(raw: 3))
    private static let start = Instant(nanoseconds: 5_000_000_000)
    private static let peers = [BodyPeer(holder: Self.b, isUp: true)]

    /// Three members, R of two, and a message of b's that b and c hold.
    ///
    /// - Parameter holders: if others than those.
    private func machine(
        holders: [Holder] = [Self.b, Self.c]
    ) throws -> (machine: Machine, message: Tag) {
        let machine = Machine(SoleMachine.leading(Self.own.incarnation))
        machine.node.openSession(SoleMachine.opening(Self.own))
        SoleMachine.run(&machine.node)
        for other in [Self.b, Self.c] {
            machine.propose(Command(.openSession(SoleMachine.opening(other))))
        }
        let session = try #require(machine.session(of: Self.b))
        let message = Tag(session: session, sequence: 1)
        machine.propose(
            Command(
                Origin(session: session, sequence: 1), SoleMachine.enqueue(at: holders)))
        let isThere = machine.node.queue.holders(of: message) == holders
        #expect(isThere)
        var settings = ClusterSettings()
        settings.copies = UInt32(holders.count) + 1
        machine.propose(Command(.settings(settings)))
        return (machine, message)
    }

    /// A machine that a test's closures can share.
    private final class Machine {
        var node: NodeMachine
        init(_ node: consuming NodeMachine) { self.node = node }
        func propose(_ command: Command) { SoleMachine.propose(command, &self.node) }
        var members: [BodyPeer] {
            self.node.bodyMembers(
                own: RepairsTests.own, isLowOnDisk: false, isDraining: false,
                peers: RepairsTests.peers)
        }
        func plan(_ repairs: inout Repairs, _ now: Instant = RepairsTests.start)
            -> [Repairs.Action]
        {
            repairs.plan(self.node, members: self.members, now: now)
        }
        func failed(_ copy: Repairs.Copy, _ repairs: inout Repairs) -> [Repairs.Action] {
            repairs.failed(copy, self.node, members: self.members, now: RepairsTests.start)
        }
        func session(of holder: Holder) -> SessionID? { self.node.queue.session(of: holder.node) }
        func drawTag() -> Tag? { self.node.drawTag() }
        func submit(_ tag: Tag, _ action: Command.Action) {
            let isTaken = self.node.submit(tag, action)
            #expect(isTaken)
            SoleMachine.run(&self.node)
        }
        func loss(of message: Tag, under tag: Tag, on holder: Holder) -> LostBody {
            self.node.loss(of: message, under: tag, on: holder)
        }
        func isCopy(_ tag: Tag, of holder: Holder) -> Bool { self.node.isCopy(tag, of: holder) }
        func accepts(_ message: Tag, _ digest: BodyDigest, _ bytes: UInt64) -> Bool {
            self.node.accepts(message, digest: digest, originalBytes: bytes)
        }
        func holders(of message: Tag) -> [Holder]? { self.node.queue.holders(of: message) }
    }

    private func begun(_ repairs: inout Repairs, _ machine: Machine) throws -> Repairs.Copy {
        let actions = machine.plan(&repairs)
        guard case .copy(let copy, from: Self.b)? = actions.first, actions.count == 1 else {
            throw NotBegun(actions: actions)
        }
        return copy
    }
    private struct NotBegun: Error { var actions: [Repairs.Action] }

    @Test func `a copy counts when it is added under the tag that was drawn with all of it`()
        throws
    {
        let (machine, message) = try self.machine()
        var repairs = Repairs(own: Self.own)
        let copy = try self.begun(&repairs, machine)
        #expect(machine.plan(&repairs).isEmpty, "one copy a message")
        let next = try #require(machine.drawTag())
        guard case .store(let tag) = repairs.whole(copy, &machine.node) else {
            Issue.record("it is wanted")
            return
        }
        #expect(tag == Tag(session: next.session, sequence: next.sequence + 1))
        #expect(repairs.addition(of: copy) == .replicaAdded(message, Self.own))
        machine.submit(tag, repairs.addition(of: copy))
        #expect(repairs.added(copy, .done) == true)
        #expect(machine.holders(of: message) == [Self.own, Self.b, Self.c])
        #expect(machine.plan(&repairs).isEmpty)
    }

    @Test func `a copy of a message that has one here by now draws no tag`() throws {
        let (machine, message) = try self.machine()
        var repairs = Repairs(own: Self.own)
        let copy = try self.begun(&repairs, machine)
        let tag = try #require(machine.drawTag())
        machine.submit(tag, .replicaAdded(message, Self.own))
        #expect(repairs.whole(copy, &machine.node) == .unwanted)
        #expect(machine.drawTag()?.sequence == tag.sequence + 1)
    }

    @Test func `copies of a session that is closed are nobody's`() throws {
        let (machine, _) = try self.machine()
        var repairs = Repairs(own: Self.own)
        let copy = try self.begun(&repairs, machine)
        machine.propose(Command(.expireSession(machine.node.session)))
        repairs.end()
        #expect(repairs.whole(copy, &machine.node) == .ignored)
        #expect(machine.failed(copy, &repairs) == [])
    }

    @Test func `a holder that fails is not asked again, and the message has its turn later`()
        throws
    {
        let (machine, _) = try self.machine()
        var repairs = Repairs(own: Self.own)
        let copy = try self.begun(&repairs, machine)
        #expect(machine.failed(copy, &repairs) == [], "c is down")
        let end = Self.start + RepairPlanner.retryAfter
        #expect(machine.plan(&repairs, end - .nanoseconds(1)).isEmpty)
        #expect(machine.plan(&repairs, end).count == 1)
    }

    @Test func `losses are told one command at a time, those found first, until the log has them`()
        throws
    {
        let (machine, message) = try self.machine(holders: [Self.own, Self.b])
        var repairs = Repairs(own: Self.own)
        let other = Tag(session: message.session, sequence: 99)
        #expect(repairs.lose([message, other, message]) == 2)
        #expect(repairs.lose([other]) == 0)
        #expect(repairs.losses(machine.node) == [message, other])
        #expect(repairs.losses(machine.node) == [], "it has no result")
        #expect(repairs.told([message, other], .refused(.sessionClosed)) == [])
        #expect(repairs.losses(machine.node) == [message, other])
        // The session closes: nobody waits for that result.
        repairs.end()
        #expect(repairs.told([message, other], .done) == nil)
        #expect(repairs.losses(machine.node) == [message, other])
        #expect(repairs.told([message, other], .done) == [message, other])
        #expect(repairs.losses(machine.node) == [])
        #expect(repairs.lose([message]) == 1, "it may be lost again")
        machine.propose(Command(.expireSession(machine.node.session)))
        #expect(repairs.losses(machine.node) == [], "there is no session")
    }

    @Test func `a census names all that should be here, once`() throws {
        let (machine, message) = try self.machine(holders: [Self.own, Self.b])
        var repairs = Repairs(own: Self.own)
        #expect(!repairs.hasCensus)
        repairs.beginCensus()
        #expect(repairs.nextOfCensus(machine.node, messages: 0) == [])
        #expect(repairs.hasCensus)
        #expect(repairs.nextOfCensus(machine.node, messages: 10) == [message])
        #expect(!repairs.hasCensus)
    }

    @Test func `a message is given up by its leader, and again when that came to nothing`() throws {
        let (machine, message) = try self.machine(holders: [Self.own])
        let tag = try #require(machine.drawTag())
        machine.submit(tag, .replicasLost(Self.own, [message]))
        #expect(machine.holders(of: message) == [])
        var repairs = Repairs(own: Self.own)
        #expect(machine.plan(&repairs).isEmpty, "it is hoped for")
        let end = Self.start + RepairPlanner.lostAfter
        #expect(machine.plan(&repairs, end) == [.giveUp(message)])
        #expect(machine.plan(&repairs, end + .seconds(29)).isEmpty)
        #expect(machine.plan(&repairs, end + .seconds(30)) == [.giveUp(message)])
        machine.propose(Command(.bodyLost(message)))
        #expect(machine.plan(&repairs, end + .seconds(60)).isEmpty)
    }

    // MARK: Reading.

    @Test func `the own disk is read first, then each holder that is up, once`() throws {
        let (machine, message) = try self.machine(holders: [Self.own, Self.b, Self.c])
        var search = BodySearch(message, own: Self.own)
        #expect(search.next(machine.node, peers: Self.peers) == .own(message))
        #expect(search.next(machine.node, peers: Self.peers) == .ask(Self.b))
        #expect(search.next(machine.node, peers: Self.peers) == .nobody)
        // One that has come meanwhile is asked.
        let more = Self.peers + [BodyPeer(holder: Self.c, isUp: true)]
        #expect(search.next(machine.node, peers: more) == .ask(Self.c))
        #expect(search.next(machine.node, peers: more) == .nobody)
        var gone = BodySearch(Tag(session: message.session, sequence: 5), own: Self.own)
        #expect(gone.next(machine.node, peers: more) == .over)
    }

    @Test func `only the last copy's loss is the message's`() throws {
        let (machine, message) = try self.machine(holders: [Self.own, Self.b])
        let other = Tag(session: message.session, sequence: 9)
        #expect(machine.loss(of: other, under: other, on: Self.own) == .over)
        #expect(machine.loss(of: message, under: other, on: Self.own) == .elsewhere)
        #expect(machine.loss(of: message, under: message, on: Self.own) == .copy)
        #expect(machine.loss(of: message, under: message, on: Self.c) == .elsewhere)
        let (last, only) = try self.machine(holders: [Self.own])
        #expect(last.loss(of: only, under: only, on: Self.own) == .message)
        #expect(last.isCopy(only, of: Self.own))
        #expect(!last.isCopy(only, of: Self.b))
    }

    @Test func `what a holder says it has is believed only of what was accepted`() throws {
        let (machine, message) = try self.machine()
        #expect(machine.accepts(message, .zero, 10))
        #expect(!machine.accepts(message, .zero, 11))
        let other = BodyDigest(a: 1, b: 2, c: 3, d: 4)
        #expect(!machine.accepts(message, other, 10))
        let gone = Tag(session: message.session, sequence: 5)
        #expect(machine.accepts(gone, other, 1))
    }

    @Test func `who is to leave gives copies and makes none`() throws {
        let (machine, _) = try self.machine()
        machine.propose(Command(.wish(node: Self.b.node, .leaving)))
        let members = machine.members
        #expect(members.map(\.holder) == [Self.own, Self.b, Self.c])
        #expect(members.map(\.isUp) == [true, true, false])
        #expect(members.map(\.isLowOnDisk) == [false, true, false])
    }
}
