import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

private func holder(_ node: String, _ incarnation: UInt64 = 1) -> Holder {
    Holder(node: node, incarnation: Incarnation(raw: incarnation))
}
private let (a, b, c) = (holder("a"), holder("b"), holder("c"))

/// Three members, R = 2.
private func threeNodes() -> (rig: Rig, a: SessionID, b: SessionID, c: SessionID) {
    let rig = Rig { $0.copies = 2 }
    return (
        rig, rig.open("a", delivers: false), rig.open("b", delivers: false),
        rig.open("c", delivers: false)
    )
}

extension Rig {
    fileprivate func removeNode(
        _ node: String, _ incarnation: UInt64 = 1, force: Bool = false
    ) -> CommandResult {
        self.apply(
            Command(
                .removeNode(
                    RemoveNode(
                        node: node, incarnation: Incarnation(raw: incarnation), force: force))))
    }
    /// The tag of the command, and what came of it.
    fileprivate func add(
        _ message: Tag, by session: SessionID, _ holder: Holder
    ) -> (tag: Tag, result: CommandResult) {
        let origin = self.origin(session)
        let result = self.apply(Command(origin, .replicaAdded(message, holder)))
        return (Tag(session: session, sequence: origin.sequence), result)
    }
    fileprivate func holders(_ tag: Tag) -> [Holder]? { self.queue.holders(of: tag) }
    fileprivate func fate(_ tag: Tag, on holder: Holder) -> BodyState {
        self.queue.bodyState(tag, on: holder)
    }
    fileprivate func short(without absent: [Holder] = []) -> [Tag] {
        self.queue.underReplicated(without: absent, limit: 99).map(\.message)
    }
    /// Ends the message without a word.
    fileprivate func drop(_ tag: Tag) {
        self.apply(
            Command(.admin(Admin(verb: .drop, deliveries: [id(tag)], reason: ""))))
    }
    fileprivate func restored() throws -> MailQueue {
        var store = Store()
        store.take(self.queue.takeDirty())
        var queue = try store.restore()
        #expect(queue.stateHash() == store.stateHash)
        #expect(queue.audit() == nil)
        return queue
    }
}

@Suite("Copies made and lost (1, 2, 3)")
struct ReplicaTests {
    @Test func `a node that comes back empty has lost its copies, and they are missing`() {
        let (rig, first, _, _) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let other = rig.enqueue(first, holders: [a, c])
        #expect(rig.short().isEmpty && rig.queue.fewestCopies() == 2)
        let hash = rig.hash()
        _ = rig.open("b", incarnation: 2)
        #expect(rig.holders(tag) == [a] && rig.holders(other) == [a, c])
        #expect(rig.short() == [tag] && rig.queue.fewestCopies() == 1)
        #expect(rig.fate(tag, on: b) == .garbage && rig.fate(tag, on: holder("b", 2)) == .garbage)
        #expect(rig.hash() != hash)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `an Enqueue that names an incarnation that was replaced is refused`() {
        let (rig, first, _, _) = threeNodes()
        _ = rig.open("b", incarnation: 2)
        let late = rig.send(first, .enqueue(Rig.message(holders: [a, b])))
        #expect(late == .refused(.tooFewHolders))
        let good = rig.send(first, .enqueue(Rig.message(holders: [a, holder("b", 2)])))
        #expect(good == .enqueued(recipients: 1))
    }

    @Test func `an incarnation that was replaced never comes back`() {
        let (rig, _, _, _) = threeNodes()
        let new = rig.open("b", incarnation: 2)
        let late = OpenSession(
            node: "b", incarnation: Incarnation(raw: 1), boot: 9, nonce: 9, credit: 1,
            replayed: true, delivers: true)
        #expect(rig.apply(Command(.openSession(late))) == .refused(.notMember))
        #expect(rig.isOpen(new) && rig.queue.members == [a, holder("b", 2), c])
    }

    @Test func `a copy lies under the tag of the command that adds it, and is kept until then`() {
        let (rig, first, _, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        _ = rig.open("b", incarnation: 2)
        let next = Tag(session: third, sequence: 1)
        #expect(rig.fate(next, on: c) == .unresolved)
        let added = rig.add(tag, by: third, c)
        #expect(added.tag == next && added.result == .done)
        #expect(rig.holders(tag) == [a, c] && rig.short().isEmpty)
        #expect(rig.fate(next, on: c) == .live && rig.queue.bodyTag(of: tag, on: c) == next)
        #expect(rig.fate(tag, on: a) == .live && rig.queue.bodyTag(of: tag, on: a) == tag)
        // What streaming left there under the message's own tag is no copy of its placement.
        #expect(rig.fate(tag, on: c) == .garbage)
        rig.drop(tag)
        #expect(rig.fate(next, on: c) == .garbage && rig.fate(tag, on: a) == .garbage)
        #expect(rig.queue.copies.isEmpty && rig.queue.audit() == nil)
    }

    @Test func `a copy of a finished message, of a stranger or of a closed session adds nothing`() {
        let (rig, first, second, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let done = rig.enqueue(first, holders: [a, b])
        rig.drop(done)
        let late = rig.add(done, by: third, c)
        #expect(late.result == .refused(.unknown) && rig.fate(late.tag, on: c) == .garbage)
        #expect(rig.add(tag, by: second, b).result == .refused(.hasCopy))
        #expect(rig.add(tag, by: second, c).result == .refused(.notMember))
        #expect(rig.add(tag, by: third, holder("c", 2)).result == .refused(.notMember))
        rig.apply(Command(.expireSession(third)))
        let closed = rig.add(tag, by: third, c)
        #expect(closed.result == .refused(.sessionClosed))
        #expect(rig.fate(closed.tag, on: c) == .garbage)
        #expect(
            rig.apply(Command(.replicaAdded(tag, c))) == .refused(.sessionClosed))
        #expect(rig.holders(tag) == [a, b])
    }

    @Test func `the same command sent twice adds one copy (4)`() {
        let (rig, first, _, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let command = Command(rig.origin(third), .replicaAdded(tag, c))
        #expect(rig.apply(command) == .done && rig.apply(command) == .done)
        #expect(rig.holders(tag) == [a, b, c])
        #expect(rig.queue.copies.count == 1)
    }

    @Test func `a lost copy is one less, also one that was added, and may be made again`() {
        let (rig, first, second, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let added = rig.add(tag, by: third, c).tag
        #expect(rig.send(second, .replicasLost(b, [tag])) == .done)
        #expect(rig.holders(tag) == [a, c] && rig.fate(tag, on: b) == .garbage)
        // Under the message's tag there is nothing of c's to be lost.
        rig.send(third, .replicasLost(c, [tag]))
        #expect(rig.holders(tag) == [a, c])
        rig.send(third, .replicasLost(c, [added]))
        #expect(rig.holders(tag) == [a] && rig.fate(added, on: c) == .garbage)
        #expect(rig.queue.copies.isEmpty)
        let again = rig.add(tag, by: third, c).tag
        #expect(rig.holders(tag) == [a, c] && rig.fate(again, on: c) == .live)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `only the member itself says what it has lost, so many at once`() {
        let (rig, first, second, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        #expect(rig.send(third, .replicasLost(b, [tag])) == .refused(.notMember))
        let most = Array(repeating: tag, count: Command.replicasLostMax)
        #expect(rig.send(second, .replicasLost(b, most + [tag])) == .refused(.malformed))
        #expect(rig.holders(tag) == [a, b])
        #expect(rig.send(second, .replicasLost(b, most)) == .done)
        #expect(rig.holders(tag) == [a])
    }

    @Test func `a copy lost before its command is applied makes the command void`() {
        let (rig, first, second, _) = threeNodes()
        let command = Command(rig.origin(first), .enqueue(Rig.message(holders: [a, b])))
        rig.send(second, .replicasLost(b, [command.tag!]))
        #expect(rig.apply(command) == .refused(.tooFewHolders))
        #expect(rig.fate(command.tag!, on: a) == .garbage && rig.counts.messages == 0)
    }

    @Test func `what another one has is not given up as lost`() {
        let (rig, first, second, _) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        #expect(rig.send(first, .bodyLost(tag)) == .refused(.hasCopy))
        rig.send(second, .replicasLost(b, [tag]))
        #expect(rig.send(second, .bodyLost(tag)) == .refused(.hasCopy))
        #expect(rig.apply(Command(.bodyLost(tag))) == .refused(.hasCopy))
        #expect(rig.send(first, .bodyLost(tag)) == .done)
        #expect(rig.counts.recipients == 0)
    }

    @Test func `a member that is removed is closed, holds nothing, and is no holder any more`() {
        let (rig, first, second, _) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        #expect(rig.queue.removal(of: b) == RemovalCost(lost: 0, below: 1))
        #expect(rig.removeNode("x") == .refused(.unknown))
        #expect(rig.removeNode("b", 2) == .refused(.notMember))
        #expect(rig.removeNode("b") == .done)
        #expect(!rig.isOpen(second) && rig.queue.members == [a, c])
        #expect(rig.holders(tag) == [a])
        #expect(rig.removeNode("b") == .refused(.notMember))
        #expect(
            rig.send(first, .enqueue(Rig.message(holders: [a, b])))
                == .refused(.tooFewHolders))
        let back = rig.open("b", incarnation: 7)
        #expect(rig.isOpen(back) && rig.queue.members == [a, holder("b", 7), c])
    }

    @Test func `the last copy is not removed unless it is forced, and then it is told`() {
        let (rig, first, _, _) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let safe = rig.enqueue(first, holders: [b, c])
        _ = rig.open("b", incarnation: 2)
        #expect(rig.queue.removal(of: a) == RemovalCost(lost: 1, below: 1))
        #expect(rig.queue.lastCopies(of: a, limit: 9) == [tag])
        #expect(rig.queue.lastCopies(of: a, limit: 0).isEmpty)
        #expect(rig.removeNode("a") == .refused(.lastCopies))
        #expect(rig.isOpen(first) && rig.holders(tag) == [a])
        #expect(rig.removeNode("a", force: true) == .done)
        #expect(rig.holders(tag) == [] && rig.holders(safe) == [c])
        #expect(rig.queue.fewestCopies() == 0)
        #expect(rig.short() == [tag, safe])
        #expect(rig.apply(Command(.bodyLost(tag))) == .done)
    }

    @Test func `those with the fewest copies come first, oldest first, as many as are asked for`() {
        let (rig, first, _, _) = threeNodes()
        let one = rig.enqueue(first, holders: [b, c])
        let two = rig.enqueue(first, holders: [a, b])
        let three = rig.enqueue(first, holders: [b, c])
        #expect(rig.short().isEmpty)
        #expect(rig.short(without: [b]) == [one, three, two])
        #expect(rig.short(without: [b, c]) == [one, three, two])
        #expect(rig.short(without: [a, b]) == [two, one, three])
        #expect(rig.queue.fewestCopies(without: [b, c]) == 0)
        let first2 = rig.queue.underReplicated(without: [b], limit: 2)
        #expect(first2.map(\.message) == [one, three])
        #expect(first2[0].holders == [b, c] && first2[0].storedBytes == 3000)
        rig.drop(one)
        #expect(rig.short(without: [b]) == [three, two])
        #expect(
            rig.queue.placements == [
                PlacementView(holders: [b, c], messages: 1),
                PlacementView(holders: [a, b], messages: 1),
            ])
    }

    @Test func `messages that nobody can repair leave room for those that have a last copy`() {
        let (rig, first, _, third) = threeNodes()
        let lost = (0..<5).map { _ in rig.enqueue(first, holders: [a, b]) }
        let last = (0..<3).map { _ in rig.enqueue(first, holders: [b, c]) }
        rig.send(first, .replicasLost(a, lost))
        _ = rig.open("b", incarnation: 2)
        func found(_ limit: Int) -> [Tag] {
            rig.queue.underReplicated(limit: limit).map(\.message)
        }
        #expect(found(99) == lost + last)
        #expect(found(4) == Array(lost.prefix(2) + last.prefix(2)))
        #expect(found(1) == [lost[0]])
        rig.drop(lost[0])
        rig.drop(lost[1])
        #expect(found(4) == Array(lost[2..<4] + last.prefix(2)))
        for tag in lost { rig.drop(tag) }
        #expect(found(4) == last)
        #expect(rig.isOpen(third))
    }

    @Test func `a session is its node's own, unknown, or foreign`() {
        let (rig, first, second, _) = threeNodes()
        #expect(rig.queue.standing(of: first, peer: a) == .ofPeer)
        #expect(rig.queue.standing(of: second, peer: a) == .foreign)
        #expect(rig.queue.standing(of: first, peer: holder("a", 2)) == .foreign)
        let later = SessionID(raw: rig.index + 1)
        #expect(rig.queue.standing(of: later, peer: a) == .unknown)
        rig.apply(Command(.expireSession(first)))
        #expect(rig.queue.standing(of: first, peer: a) == .foreign)
    }

    @Test func `placements, copies and members outlive a restart (7)`() throws {
        let (rig, first, _, third) = threeNodes()
        let tag = rig.enqueue(first, holders: [a, b])
        let gone = rig.enqueue(first, holders: [b, c])
        let last = rig.enqueue(first, holders: [a, c])
        let copy = rig.add(tag, by: third, c).tag
        rig.drop(gone)
        _ = rig.open("b", incarnation: 2)
        _ = rig.removeNode("b", 2)
        var queue = try rig.restored()
        #expect(queue.members == [a, c] && queue.placements == rig.queue.placements)
        #expect(queue.bodyState(copy, on: c) == .live && queue.bodyTag(of: tag, on: c) == copy)
        #expect(queue.bodyState(tag, on: c) == .garbage)
        #expect(queue.holders(of: last) == [a, c])
        // Numbers of sets are state: both go on alike.
        let command = Command(rig.origin(first), .enqueue(Rig.message(holders: [a, c])))
        let result = rig.apply(command)
        var effects: [Effect] = []
        #expect(
            queue.apply(command, index: rig.index, stamp: rig.time, effects: &effects) == result)
        #expect(queue.stateHash() == rig.hash())
    }

    @Test func `a loss of a node touches no row, whatever it held`() {
        let (rig, first, _, _) = threeNodes()
        for _ in 0..<50 { _ = rig.enqueue(first, holders: [a, b]) }
        _ = rig.queue.takeDirty()
        _ = rig.open("b", incarnation: 2)
        #expect(rig.queue.takeDirty().upserts.isEmpty)
        #expect(rig.short().count == 50)
    }

    @Test func `placements have a limit, and the one beyond it is refused`() {
        let rig = Rig { $0.copies = 1 }
        let names = (0..<13).map { "n\($0 + 10)" }
        let session = names.map { rig.open($0, delivers: false) }[0]
        var sent = 0
        for set in 1..<1 << 13 where sent <= HolderTable.setsMax {
            let holders = (0..<13).filter { set >> $0 & 1 == 1 }.map { holder(names[$0]) }
            let result = rig.send(session, .enqueue(Rig.message(holders: holders)))
            sent += 1
            #expect(
                result
                    == (sent <= HolderTable.setsMax
                        ? .enqueued(recipients: 1) : .refused(.tooManyPlacements)))
        }
        // What is known already has room.
        #expect(
            rig.send(session, .enqueue(Rig.message(holders: [holder("n10")])))
                == .enqueued(recipients: 1))
    }
}

extension Rig {
    fileprivate static func message(holders: [Holder]) -> Enqueue {
        Self.message("a@here.example", ["b@there.example"], .default, holders)
    }
}
