// DuplicateTests.swift - a grant that may repeat a delivery is counted, one that cannot is not (6).
//
// Each test is an interleaving of two proposers: what is proposed first need not be what the other
// one knew of. The log's order is the order of the lines.

import Primitives
import SMTP
import Testing

@testable import MailQueue

@Suite("Possible duplicates (6)")
struct DuplicateTests {
    private static let gone = Reply(451, EnhancedCode(4, 4, 1), "connection refused")

    private func suspend(_ rig: Rig, _ session: SessionID) {
        rig.send(session, .suspend(destination: "there.example", reply: Self.gone))
    }

    @Test func `a lease granted between a suspension's proposal and its apply stays`() {
        let rig = Rig()
        let a = rig.open("a")
        // 1 The session gives up on the destination: it holds `first`, and proposes.
        let first = rig.enqueue(a)
        // 2 Ahead of that in the log comes new mail; the session begins to send it.
        let second = rig.enqueue(a)
        // 3 Both commands of the suspension are applied: only what was named goes back.
        self.suspend(rig, a)
        rig.send(a, .release(deliveries: [id(first)], reports: []))
        #expect(rig.queue.holder(of: id(first)) == nil)
        #expect(rig.queue.holder(of: id(second)) == a)
        // 4 The rest is over while `second` is still behind its final dot.
        rig.wait(.seconds(60))
        rig.dispatch()
        #expect(rig.queue.holder(of: id(first)) == a)
        #expect(!rig.effects.contains(.leased(id(second), a)))
        // 5 Its verdict is its lease's own, whatever it is.
        #expect(rig.settle(a, second, .failed) == .done)
        #expect(rig.queue.totals.possibleDuplicates == 0)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `a lease with a transaction under another key is not taken back by a suspension`() {
        let rig = Rig()
        let a = rig.open("a")
        // `postmaster` without a domain goes another way than the rest of its delivery, so it may
        // be behind a final dot there when the destination's own hosts are given up.
        let tag = rig.enqueue(a, to: ["b@there.example", "c@there.example"])
        self.suspend(rig, a)
        #expect(rig.queue.holder(of: id(tag)) == a)
        rig.wait(.seconds(60))
        rig.dispatch()
        #expect(rig.effects.isEmpty)
        // The verdict comes; it is the last of the lease, the other recipient was not tried.
        rig.settle(a, tag, .delivered, recipients: [0], endsLease: true)
        rig.dispatch()
        #expect(rig.effects == [.leased(id(tag), a)])
        #expect(rig.queue.totals.possibleDuplicates == 0)
    }

    @Test func `an unattempted lease that is given back and granted again is not counted`() {
        let rig = Rig()
        let a = rig.open("a")
        let tag = rig.enqueue(a)
        for _ in 0..<3 {
            rig.send(a, .release(deliveries: [id(tag)], reports: []))
            rig.dispatch()
            #expect(rig.queue.holder(of: id(tag)) == a)
        }
        #expect(rig.queue.totals.possibleDuplicates == 0)
    }

    @Test func `a takeover is counted once, also if the next holder gives it back into a rest`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a, to: ["b@there.example", "c@there.example"])
        rig.apply(Command(.expireSession(a)))
        rig.wait(.seconds(3))
        rig.dispatch()
        #expect(rig.effects.first == .possibleDuplicates(.takeover, count: 2))
        self.suspend(rig, b)
        rig.send(b, .release(deliveries: [id(tag)], reports: []))
        rig.wait(.seconds(60))
        rig.dispatch()
        #expect(rig.effects == [.leased(id(tag), b)])
        #expect(rig.queue.totals.takeoverDuplicates == 2)
    }

    @Test func `a suspension of a node that died in between takes nothing and loses no count`() {
        let rig = Rig()
        let a = rig.open("a")
        let b = rig.open("b")
        let tag = rig.enqueue(a)
        // 1 `a` gives up on the destination and dies; 2 its session expires first in the log.
        rig.apply(Command(.expireSession(a)))
        self.suspend(rig, a)
        let late = rig.send(a, .release(deliveries: [id(tag)], reports: []))
        #expect(late == .refused(.sessionClosed))
        rig.wait(.seconds(3))
        rig.dispatch()
        #expect(rig.queue.holder(of: id(tag)) == b)
        #expect(rig.queue.totals.takeoverDuplicates == 1)
    }
}
