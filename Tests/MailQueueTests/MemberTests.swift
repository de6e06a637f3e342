// MemberTests.swift - what the cluster remembers of its members, and what operators want of them.

import Primitives
import Spool
import Testing

@testable import MailQueue

@Suite("Members and wishes")
struct MemberTests {
    private func admit(
        _ rig: Rig, _ node: String, _ incarnation: UInt64, gone: [UInt64] = []
    ) -> CommandResult {
        rig.apply(
            Command(
                .admit(
                    Admission(
                        node: node, incarnation: Incarnation(raw: incarnation), host: "h",
                        port: 25, gone: gone.map { Incarnation(raw: $0) }))))
    }

    private func remove(
        _ rig: Rig, _ node: String, _ incarnation: UInt64 = 1, force: Bool = false
    ) -> CommandResult {
        rig.apply(
            Command(
                .removeNode(
                    RemoveNode(
                        node: node, incarnation: Incarnation(raw: incarnation), force: force))))
    }

    private func drains(_ rig: Rig, _ node: String) -> Bool { rig.queue.isDraining(node) }

    private func view(_ rig: Rig, _ node: String) -> MemberView? {
        rig.queue.memberViews.first { $0.name == node }
    }

    @Test func `a disk that is met is known with its entry, once, and its session comes later`() {
        let rig = Rig()
        _ = rig.open("a")
        #expect(self.admit(rig, "w", 7) == .done)
        let since = rig.index
        #expect(self.admit(rig, "w", 7) == .done)
        #expect(
            self.view(rig, "w")
                == MemberView(
                    name: "w", wish: .none, isDraining: false, incarnation: nil,
                    disks: [MemberDisk(incarnation: Incarnation(raw: 7), since: since)],
                    host: "h", port: 25))
        #expect(rig.queue.members.map(\.node) == ["a"])
        _ = rig.open("w", incarnation: 7)
        #expect(rig.queue.members.map(\.node) == ["a", "w"])
        #expect(self.view(rig, "w")?.incarnation == Incarnation(raw: 7))
    }

    @Test func `a newer disk stands behind the older ones, until those are gone`() {
        let rig = Rig()
        for disk: UInt64 in 1...3 { #expect(self.admit(rig, "w", disk) == .done) }
        #expect(self.view(rig, "w")?.disks.map(\.incarnation.raw) == [1, 2, 3])
        #expect(self.admit(rig, "w", 4, gone: [1, 3, 4]) == .done)
        #expect(self.view(rig, "w")?.disks.map(\.incarnation.raw) == [2, 4])
    }

    @Test func `a name has so many disks and no more`() {
        let rig = Rig()
        for disk in 1...UInt64(NodeRow.disksMax) { #expect(self.admit(rig, "w", disk) == .done) }
        #expect(self.admit(rig, "w", 100) == .refused(.tooManyDisks))
        #expect(self.admit(rig, "w", 100, gone: [1]) == .done)
        #expect(self.admit(rig, "", 1) == .refused(.malformed))
        #expect(self.admit(rig, "w", 0) == .refused(.malformed))
    }

    @Test func `a node that is to leave gets no leases, and its removal is remembered`() {
        let rig = Rig { $0.copies = 1 }
        let a = rig.open("a")
        let b = rig.open("b")
        #expect(rig.send(a, .wish(node: "b", .leaving)) == .done)
        #expect(self.view(rig, "b")?.wish == .leaving && self.drains(rig, "b"))
        #expect(rig.queue.leavingHolders == [Holder(node: "b", incarnation: Incarnation(raw: 1))])
        let tag = rig.enqueue(b, holders: [Holder(node: "b", incarnation: Incarnation(raw: 1))])
        let leases = rig.queue.leases(of: b)
        #expect(leases.isEmpty)
        let holder = Holder(node: "b", incarnation: Incarnation(raw: 1))
        let shortages = (0...1).map { copies in
            rig.queue.shortage(without: holder) { $0.count < copies }
        }
        #expect(shortages == [0, 1])
        #expect(self.remove(rig, "b") == .refused(.lastCopies))
        #expect(self.view(rig, "b")?.wish == .leaving)
        rig.send(
            a,
            .admin(
                Admin(
                    verb: .drop, deliveries: [DeliveryID(message: tag, index: 0)], reason: "")))
        #expect(self.remove(rig, "b") == .done)
        #expect(self.view(rig, "b")?.wish == .removed && !self.drains(rig, "b"))
        #expect(!rig.isOpen(b))
        // No wish brings the disk back, and it is not admitted again.
        for wish in [MemberWish.none, .promoted, .leaving] {
            #expect(rig.send(a, .wish(node: "b", wish)) == .refused(.notMember))
        }
        #expect(self.admit(rig, "b", 1) == .refused(.notMember))
        let isRetired = rig.queue.isRetired("b", Incarnation(raw: 1))
        #expect(isRetired)
        // Another disk under its name comes like any newcomer.
        #expect(self.admit(rig, "b", 2) == .done)
        #expect(self.view(rig, "b")?.wish == MemberWish.none)
    }

    /// 1 The node was answered a moment ago. 2 It is cut off, and removed. 3 It sends final dots
    /// until its own clock says that T is over.
    @Test func `leases of a node that others end are free when it must know of its end (6)`() {
        let endings: [(Rig) -> Void] = [
            { #expect(self.remove($0, "b", force: true) == .done) },
            // Another disk under its name.
            { _ = $0.open("b", incarnation: 2, credit: 0) },
        ]
        for end in endings {
            let rig = Rig { $0.copies = 1 }
            let a = rig.open("a", credit: 0)
            let b = rig.open("b")
            let tag = rig.enqueue(b)
            end(rig)
            _ = rig.open("c")
            rig.wait(SessionTiming().term + rig.queue.settings.session.holdDown - .milliseconds(1))
            rig.dispatch()
            let before = rig.queue.leases(of: b)
            #expect(rig.state(tag) == .leased && before == [id(tag)])
            rig.wait(.milliseconds(201))
            rig.dispatch()
            let after = rig.queue.leases(of: b)
            let repeated = rig.queue.totals.takeoverDuplicates
            #expect(rig.state(tag) == .leased && after.isEmpty && repeated == 1)
            #expect(rig.isOpen(a))
        }
        // One that has expired has waited for that before.
        let rig = Rig { $0.copies = 1 }
        _ = rig.open("a", credit: 0)
        let b = rig.open("b")
        let tag = rig.enqueue(b)
        rig.apply(Command(.expireSession(b)))
        #expect(self.remove(rig, "b", force: true) == .done)
        rig.wait(rig.queue.settings.session.holdDown)
        rig.dispatch()
        #expect(rig.state(tag) == .queued)
    }

    @Test func `what follows on other disks shortens no wait of a process that may live (6)`() {
        let rig = Rig { $0.copies = 1 }
        let a = rig.open("a", credit: 0)
        let b = rig.open("b")
        let tag = rig.enqueue(b)
        // Another disk takes the name, is restarted, and is removed; another comes.
        _ = rig.open("b", incarnation: 2, credit: 0)
        _ = rig.open("b", incarnation: 2, boot: 2, credit: 0)
        #expect(self.remove(rig, "b", 2, force: true) == .done)
        _ = rig.open("b", incarnation: 3, credit: 0)
        _ = rig.open("b", incarnation: 3, boot: 2, credit: 0)
        let timing = SessionTiming()
        rig.wait(timing.leaderTerm + timing.holdDown - .milliseconds(1))
        rig.apply(Command(.tick))
        let held = rig.queue.leases(of: b)
        #expect(held == [id(tag)] && rig.isOpen(a))
        rig.wait(.milliseconds(1))
        rig.apply(Command(.tick))
        let freed = rig.queue.leases(of: b)
        #expect(freed.isEmpty && rig.state(tag) == .queued)
    }

    @Test func `a change of mind: who is no longer drained does not leave`() {
        let rig = Rig()
        let a = rig.open("a")
        _ = rig.open("b")
        for wish in [MemberWish.leaving, .dead] {
            rig.send(a, .wish(node: "b", wish))
            #expect(rig.send(a, .drain(node: "b", draining: false)) == .done)
            #expect(self.view(rig, "b")?.wish == MemberWish.none)
        }
        rig.send(a, .wish(node: "b", .leaving))
        #expect(rig.send(a, .wish(node: "b", .promoted)) == .done)
        #expect(!self.drains(rig, "b"))
        // Draining alone is no wish.
        rig.send(a, .drain(node: "b", draining: true))
        #expect(self.view(rig, "b")?.wish == .promoted && self.drains(rig, "b"))
        rig.send(a, .wish(node: "b", .demoted))
        #expect(self.drains(rig, "b"))
    }

    @Test func `a disk that never opened a session can be removed, if that is wanted`() {
        let rig = Rig()
        let a = rig.open("a")
        _ = self.admit(rig, "w", 7)
        #expect(self.remove(rig, "w", 7) == .refused(.notMember))
        rig.send(a, .wish(node: "w", .dead))
        #expect(self.remove(rig, "w", 7, force: true) == .done)
        #expect(self.view(rig, "w")?.wish == .removed && self.view(rig, "w")?.disks == [])
        #expect(self.admit(rig, "w", 7) == .refused(.notMember))
    }

    @Test func `the end of a replaced disk is no removal of its node`() {
        let rig = Rig()
        _ = rig.open("b")
        _ = self.admit(rig, "b", 2)
        #expect(self.remove(rig, "b", 1, force: true) == .done)
        #expect(self.view(rig, "b")?.wish == MemberWish.none)
        _ = rig.open("b", incarnation: 2)
        #expect(rig.queue.members == [Holder(node: "b", incarnation: Incarnation(raw: 2))])
    }

    @Test func `only sessions that are open bring wishes, and nobody wishes for removed`() {
        let rig = Rig()
        let a = rig.open("a")
        #expect(rig.send(a, .wish(node: "a", .removed)) == .refused(.malformed))
        #expect(rig.send(a, .wish(node: "new", .demoted)) == .done)
        #expect(self.view(rig, "new")?.incarnation == nil && self.view(rig, "new")?.disks == [])
        rig.send(a, .closeSession)
        #expect(rig.send(a, .wish(node: "a", .leaving)) == .refused(.sessionClosed))
    }

    @Test func `members and wishes outlive a restart (7)`() throws {
        let rig = Rig()
        let a = rig.open("a")
        _ = self.admit(rig, "w", 7)
        rig.send(a, .wish(node: "w", .promoted))
        rig.send(a, .wish(node: "x", .demoted))
        rig.send(a, .drain(node: "a", draining: true))
        var store = Store()
        store.take(rig.queue.takeDirty())
        var queue = try store.restore()
        #expect(queue.memberViews == rig.queue.memberViews)
        #expect(queue.stateHash() == store.stateHash)
    }
}
