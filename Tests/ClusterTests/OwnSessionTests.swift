// OwnSessionTests.swift - the node's own OpenSession: sent often, answered once.

import MailQueue
import Primitives
import Raft
import Spool
import Testing

@testable import Cluster

/// One machine that is the whole group; whatever it stores is on disk at once.
private final class Sole {
    private var machine: NodeMachine
    private var now = Instant(nanoseconds: 1_000_000_000)

    init() {
        let id = MemberID(raw: 1)
        self.machine = NodeMachine(
            queue: MailQueue(), options: Options(id: id),
            start: Start(configuration: Configuration(voters: [id])), known: [],
            clock: QueueClock(last: .zero, stopped: .zero, now: self.now), random: 1)
        self.machine.campaign()
        self.run()
    }

    private var clocks: Clocks { Clocks(now: self.now, wall: WallTime(milliseconds: 0)) }

    func run() {
        var actions: [Replica.Action] = []
        while true {
            self.machine.turn(&actions, at: self.clocks)
            if actions.isEmpty { return }
            for action in actions {
                switch action {
                case .store(let request): self.machine.stored(upTo: request.ticket)
                case .apply(let entries, let applied):
                    for entry in entries { self.apply(entry) }
                    self.machine.appliedAll(applied)
                case .send, .readable, .changed: continue
                }
            }
            actions = []
        }
    }

    private func apply(_ entry: Entry) {
        var effects: [Effect] = []
        do {
            _ = try self.machine.apply(entry, effects: &effects)
        } catch {
            Issue.record("what is committed cannot be read: \(error)")
        }
    }

    func propose(_ action: Command.Action) {
        let index = self.machine.propose(Command(action), at: self.clocks)
        #expect(index != nil)
        self.run()
    }

    var session: SessionID { self.machine.session }

    func open(_ open: OpenSession) {
        self.machine.openSession(open)
        self.run()
    }
    func takeOpening() -> CommandResult? { self.machine.takeOpening() }
    func drawTag() -> Tag? { self.machine.drawTag() }
    func giveUp(_ tag: Tag) { self.machine.giveUp(tag) }
    func isResolved(_ tag: Tag) -> Bool { self.machine.queue.isResolved(tag) }

    func submit(_ tag: Tag, _ action: Command.Action) -> Bool {
        defer { self.run() }
        return self.machine.submit(tag, action)
    }
}

@Suite("The own session")
struct OwnSessionTests {
    private static func open(boot: BootNumber, nonce: UInt64) -> OpenSession {
        OpenSession(
            node: "a", incarnation: Incarnation(raw: 1), boot: boot, nonce: nonce, credit: 10,
            replayed: false, delivers: true)
    }

    @Test func `an OpenSession that is in the log more than once is answered once`() {
        let sole = Sole()
        let first = Self.open(boot: 1, nonce: 7)
        sole.open(first)
        let session = sole.session
        #expect(sole.takeOpening() == .sessionOpened(session))

        // 1 It was sent twice. 2 The session ends. 3 It was sent a third time.
        sole.propose(.openSession(first))
        #expect(sole.session == session)
        sole.propose(.expireSession(session))
        #expect(sole.session == .none)
        sole.propose(.openSession(first))
        #expect(sole.takeOpening() == nil, "no answer to the one that is to come")

        sole.open(Self.open(boot: 2, nonce: 8))
        #expect(sole.session > session)
        #expect(sole.takeOpening() == .sessionOpened(sole.session))
    }

    @Test func `a tag that is given up is void for all with the next command`() throws {
        let sole = Sole()
        sole.open(Self.open(boot: 1, nonce: 7))
        let unused = try #require(sole.drawTag())
        sole.giveUp(unused)
        #expect(!sole.isResolved(unused))
        let next = try #require(sole.drawTag())
        #expect(sole.submit(next, .release(deliveries: [], reports: [])))
        #expect(sole.isResolved(unused))
    }
}
