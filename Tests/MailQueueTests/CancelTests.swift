import Primitives
import SMTP
import Testing

@testable import MailQueue

/// A client was told 451; what became of its message is known, or counted, whenever the Cancel
/// comes.
@Suite("Cancels (6)") struct CancelTests {
    private let rig = Rig()

    /// As one sends it who may have sent it before.
    private func cancel(_ tag: Tag, as sequence: UInt64, of session: SessionID) -> CommandResult {
        self.rig.apply(Command(Origin(session: session, sequence: sequence), .cancel(tag)))
    }

    private var counted: UInt64 { self.rig.queue.totals.replyDuplicates }

    @Test func `what has ended is counted, behind the end of the session too, and once`() {
        let a = self.rig.open("a")
        let tag = self.rig.enqueue(a, to: ["b@x.example", "c@x.example"])
        self.rig.settle(a, tag, .delivered, recipients: [0, 1])
        #expect(!self.rig.contains(tag))
        self.rig.apply(Command(.expireSession(a)))
        #expect(self.rig.wasEnqueued(tag))
        #expect(self.cancel(tag, as: 9, of: a) == .late(recipients: 2))
        #expect(self.rig.effects == [.possibleDuplicates(.reply, count: 2)])
        // It was under way twice.
        #expect(self.cancel(tag, as: 9, of: a) == .cancelled)
        #expect(self.counted == 2 && !self.rig.wasEnqueued(tag))
    }

    @Test func `an Enqueue that never took effect is not counted`() {
        let a = self.rig.open("a")
        let command = Command(self.rig.origin(a), .enqueue(Rig.message()))
        self.rig.apply(Command(.expireSession(a)))
        #expect(self.rig.apply(command) == .refused(.sessionClosed))
        #expect(!self.rig.wasEnqueued(command.tag!))
        #expect(self.cancel(command.tag!, as: 9, of: a) == .cancelled)
        // Nor one that a Cancel kept from it.
        let b = self.rig.open("b", incarnation: 2)
        let late = Command(self.rig.origin(b), .enqueue(Rig.message()))
        #expect(self.rig.send(b, .cancel(late.tag!)) == .cancelled)
        #expect(self.rig.apply(late) == .refused(.cancelled))
        self.rig.apply(Command(.expireSession(b)))
        #expect(self.cancel(late.tag!, as: 9, of: b) == .cancelled)
        #expect(self.counted == 0)
    }

    @Test func `one that is on its way elsewhere is counted once, however often it is asked`() {
        let a = self.rig.open("a", delivers: false)
        let b = self.rig.open("b")
        let tag = self.rig.enqueue(a)
        self.rig.dispatch()
        self.rig.apply(Command(.expireSession(a)))
        #expect(self.cancel(tag, as: 9, of: a) == .late(recipients: 1))
        #expect(self.cancel(tag, as: 9, of: a) == .cancelled)
        #expect(self.rig.state(tag) == .leased && self.counted == 1)
        self.rig.settle(b, tag, .delivered)
        // Before the session's end, and behind it once more: its result was not heard.
        let c = self.rig.open("c", incarnation: 3, delivers: false)
        let other = self.rig.enqueue(c)
        self.rig.dispatch()
        self.rig.settle(b, other, .delivered)
        #expect(self.cancel(other, as: 9, of: c) == .late(recipients: 1))
        self.rig.apply(Command(.expireSession(c)))
        #expect(self.cancel(other, as: 9, of: c) == .cancelled)
        #expect(self.counted == 2 && self.rig.queue.audit() == nil)
    }

    @Test func `results that were acknowledged are not remembered; a new session forgets all`() {
        let a = self.rig.open("a")
        let known = self.rig.enqueue(a)
        let unknown = self.rig.enqueue(a)
        for tag in [known, unknown] { self.rig.settle(a, tag, .delivered) }
        self.rig.apply(Command(self.rig.origin(a, acknowledged: [1...1]), .tick))
        self.rig.apply(Command(.expireSession(a)))
        #expect(!self.rig.wasEnqueued(known) && self.rig.wasEnqueued(unknown))
        _ = self.rig.open("a", boot: 2)
        #expect(!self.rig.wasEnqueued(unknown))
        #expect(self.cancel(unknown, as: 9, of: a) == .cancelled)
    }

    @Test func `what is remembered is part of the state`() throws {
        let a = self.rig.open("a")
        let tags = (0..<3).map { _ in self.rig.enqueue(a, to: ["b@x.example", "c@y.example"]) }
        for tag in tags { self.rig.settle(a, tag, .delivered) }
        self.rig.apply(Command(.expireSession(a)))
        var store = Store()
        store.take(self.rig.queue.takeDirty())
        var restored = try store.restore()
        #expect(restored.stateHash() == self.rig.hash())
        let before = self.rig.hash()
        let command = Command(Origin(session: a, sequence: 9), .cancel(tags[1]))
        var effects: [Effect] = []
        let result = restored.apply(
            command, index: self.rig.index + 1, stamp: self.rig.time, effects: &effects)
        #expect(result == self.rig.apply(command))
        #expect(restored.stateHash() == self.rig.hash() && self.rig.hash() != before)
    }
}
