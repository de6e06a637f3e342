// SnapshotTransferTests.swift - the two halves of a snapshot, event by event.

import MailQueue
import Primitives
import Raft
import Spool
import Testing

@testable import Cluster

private let leader = MemberID(raw: 1)
private let from = Holder(node: "a", incarnation: leader)
private let other = Holder(node: "b", incarnation: MemberID(raw: 2))
private let configuration = Configuration(voters: [leader])
private let start = Instant(nanoseconds: 5_000_000_000)
private let position = LogPosition(term: 1, index: 90)

@Suite("The leader's half of a snapshot")
struct SnapshotSourceTests {
    private let snapshot = Snapshot(position: position, configuration: configuration, data: [])
    private var message: Message {
        Message(from: leader, to: other.incarnation, term: 4, .snapshot(self.snapshot))
    }

    /// With an export of ten bytes, which go by four, eight of them ahead.
    private func source() -> SnapshotSource {
        var source = SnapshotSource()
        source.limits.pieceBytes = 4
        source.limits.windowBytes = 8
        let offered = source.exported(position, configuration, bytes: 10, id: 7, now: start)
        #expect(offered == self.snapshot)
        return source
    }

    /// Offered to the member, which has answered that it takes it.
    private func taken(at offset: UInt64 = 0) -> SnapshotSource {
        var source = self.source()
        guard
            case .offer(let offer, other) = source.offer(
                self.message, self.snapshot, to: other, now: start)
        else {
            Issue.record("no offer")
            return source
        }
        #expect(offer.id == 7 && offer.totalBytes == 10 && offer.position == position)
        source.offered(self.message, to: other, isSent: true, now: start)
        #expect(source.next(for: other, isWritable: true) == .nothing, "it has not answered")
        #expect(self.answered(&source, .taking, offset) == .goOn)
        return source
    }

    private func answered(
        _ source: inout SnapshotSource, _ verdict: SnapshotVerdict, _ taken: UInt64, id: UInt64 = 7,
        term: UInt64 = 4
    ) -> SnapshotSource.Answered {
        source.answered(id, verdict, taken: taken, by: other, term: term, now: start)
    }

    @Test func `pieces go one behind the other, as far as window and link let them`() {
        var source = self.taken()
        #expect(source.next(for: other, isWritable: false) == .nothing)
        #expect(source.next(for: other, isWritable: true) == .read(id: 7, offset: 0))
        #expect(source.next(for: other, isWritable: true) == .nothing, "one is being read")
        #expect(source.hasRead(7, offset: 4, for: other) == false)
        #expect(source.hasRead(7, offset: 0, for: other) == true)
        source.sent(4, to: other)
        #expect(source.next(for: other, isWritable: true) == .read(id: 7, offset: 4))
        #expect(source.hasRead(7, offset: 4, for: other) == true)
        source.sent(4, to: other)
        #expect(source.next(for: other, isWritable: true) == .nothing, "eight are not taken")
        #expect(self.answered(&source, .taking, 4) == .goOn)
        #expect(source.next(for: other, isWritable: true) == .read(id: 7, offset: 8))
        #expect(source.hasRead(7, offset: 8, for: other) == true)
        source.sent(2, to: other)
        #expect(source.next(for: other, isWritable: true) == .end(id: 7))
        #expect(source.next(for: other, isWritable: true) == .end(id: 7), "it was not sent")
        source.ended(other)
        #expect(source.next(for: other, isWritable: true) == .nothing)
    }

    @Test func `it goes on where the member says, and never beyond what there is`() {
        var source = self.taken(at: 8)
        #expect(source.next(for: other, isWritable: true) == .read(id: 7, offset: 8))
        #expect(self.answered(&source, .taking, 11) == .ignored)
        #expect(self.answered(&source, .taking, 8, id: 6) == .ignored, "of another export")
    }

    @Test func `the core's words go only to a member that has all of it, and in their term`() {
        var source = self.taken()
        #expect(self.answered(&source, .ready, 10) == .speak(self.message))
        #expect(self.answered(&source, .ready, 10, term: 5) == .failed(.termIsOver))
        #expect(self.answered(&source, .ready, 10) == .ignored)
    }

    @Test func `a failure is told to the core after a pause, and said once`() throws {
        let node = SoleMachine.leading(leader)
        var source = self.taken()
        #expect(self.answered(&source, .refused, 0) == .failed(.refused))
        #expect(source.refusedCount == 1)
        let pause = source.limits.pause
        let before = start + pause - .nanoseconds(1)
        #expect(source.tick(node.replica.raft, now: before).isEmpty)
        #expect(
            source.tick(node.replica.raft, now: start + pause) == [.report(other.incarnation)])
        _ = source.offer(self.message, self.snapshot, to: other, now: start)
        source.offered(self.message, to: other, isSent: true, now: start)
        #expect(self.answered(&source, .refused, 0) == .failed(nil))
    }

    @Test func `whoever cannot be offered it is told nothing, and the core hears of it`() throws {
        let node = SoleMachine.leading(leader)
        var source = self.source()
        #expect(source.offer(self.message, self.snapshot, to: nil, now: start) == .later)
        var older = self.snapshot
        older.position.index -= 1
        #expect(source.offer(self.message, older, to: other, now: start) == .make)
        source.offered(self.message, to: other, isSent: false, now: start)
        #expect(source.sendings.isEmpty)
        let report = SnapshotSource.TickAction.report(other.incarnation)
        let actions = source.tick(node.replica.raft, now: start + source.limits.pause)
        #expect(actions == [report, report, report])
    }

    @Test func `an export is made of a checkpoint that the log goes on from, with these members`()
        throws
    {
        let node = SoleMachine.leading(leader)
        let raft = node.replica.raft
        func begin(_ index: UInt64, _ known: Configuration?) -> SnapshotSource.Making {
            var source = SnapshotSource()
            let newest = SnapshotSource.Checkpoint(index: index, configuration: known)
            return source.begin(raft, newest, isBusy: false, now: start)
        }
        #expect(begin(raft.firstIndex, configuration) == .export)
        #expect(begin(0, configuration) == .checkpoint)
        #expect(begin(raft.firstIndex, nil) == .checkpoint)
        let others = Configuration(voters: [leader, other.incarnation])
        #expect(begin(raft.firstIndex, others) == .checkpoint)
        // One at a time, and behind a pause when it has failed.
        var source = SnapshotSource()
        let newest = SnapshotSource.Checkpoint(index: 1, configuration: configuration)
        #expect(source.begin(raft, newest, isBusy: true, now: start) == .nothing)
        #expect(source.begin(raft, newest, isBusy: false, now: start) == .export)
        #expect(source.begin(raft, newest, isBusy: false, now: start) == .nothing)
        #expect(source.keptFrom(checkpoint: 5) == 5)
        source.exportFailed(now: start)
        #expect(source.keptFrom(checkpoint: 5) == nil)
        #expect(source.begin(raft, newest, isBusy: false, now: start) == .nothing)
        let later = start + source.limits.pause
        #expect(source.begin(raft, newest, isBusy: false, now: later) == .export)
    }

    @Test func `an export that nobody reads is removed, and the log may go`() throws {
        let node = SoleMachine.leading(leader)
        var source = self.source()
        #expect(source.keptFrom(checkpoint: 200) == position.index)
        let end = start + source.limits.idle
        #expect(source.tick(node.replica.raft, now: end - .nanoseconds(1)).isEmpty)
        #expect(source.tick(node.replica.raft, now: end) == [.release])
        #expect(source.keptFrom(checkpoint: 200) == nil)
        #expect(source.offer(self.message, self.snapshot, to: other, now: end) == .make)
    }

    @Test func `a new export takes the place of the one that is being sent`() throws {
        let node = SoleMachine.leading(leader)
        var source = self.taken()
        _ = source.next(for: other, isWritable: true)
        _ = source.exported(position, configuration, bytes: 3, id: 8, now: start)
        #expect(source.hasRead(7, offset: 0, for: other) == false)
        #expect(self.answered(&source, .ready, 10) == .ignored)
        let actions = source.tick(node.replica.raft, now: start + source.limits.pause)
        #expect(actions == [.report(other.incarnation)])
    }
}

@Suite("A member's half of a snapshot")
struct SnapshotSinkTests {
    private let snapshot = Snapshot(position: position, configuration: configuration, data: [])

    private func offer(_ id: UInt64 = 7, bytes: UInt64 = 10) -> SnapshotOffer {
        var writer = ByteWriter(capacity: 64)
        configuration.encode(into: &writer)
        return SnapshotOffer(
            id: id, position: position, totalBytes: bytes, configuration: writer.bytes)
    }

    private func offered(
        _ sink: inout SnapshotSink, _ node: inout NodeMachine, _ offer: SnapshotOffer,
        by holder: Holder = from, isStopping: Bool = false
    ) -> SnapshotSink.Offered {
        sink.offered(offer, by: holder, &node, isStopping: isStopping, now: start)
    }

    private func took(
        _ sink: inout SnapshotSink, _ node: inout NodeMachine, at offset: UInt64, _ bytes: UInt64
    ) -> SnapshotSink.Took {
        sink.took(7, offset: offset, bytes: bytes, from: from, &node, now: start)
    }

    /// All ten bytes are there and written.
    private func whole(_ node: inout NodeMachine) -> SnapshotSink {
        var sink = SnapshotSink()
        let offer = self.offer()
        #expect(self.offered(&sink, &node, offer) == .begin)
        #expect(sink.begun(offer, by: from, hasSpace: true) == .answer(.taking, taken: 0))
        #expect(self.took(&sink, &node, at: 0, 6) == .write)
        #expect(self.took(&sink, &node, at: 6, 4) == .write)
        #expect(sink.wrote(7, from: from, upTo: 10) == 10)
        return sink
    }

    private func prepared(_ node: inout NodeMachine) -> SnapshotSink {
        var sink = self.whole(&node)
        #expect(sink.isWhole(7, from: from, now: start) == self.offer())
        let checked = sink.checked(7, from: from, self.snapshot, &node, now: start)
        #expect(checked == .ready(taken: 10))
        #expect(node.readySnapshot == self.snapshot)
        return sink
    }

    private func request(_ snapshot: Snapshot?, ticket: UInt64) -> StoreRequest {
        StoreRequest(ticket: ticket, snapshot: snapshot, entries: [], hardState: nil)
    }

    @Test func `only the leader's is taken, and none behind what is committed here`() throws {
        var node = SoleMachine.leading(leader)
        var sink = SnapshotSink()
        let offer = self.offer()
        let refused = SnapshotSink.Offered.answer(.refused, taken: 0)
        #expect(self.offered(&sink, &node, offer, by: other) == refused)
        #expect(self.offered(&sink, &node, offer, isStopping: true) == refused)
        var old = offer
        old.position.index = node.commit
        #expect(self.offered(&sink, &node, old) == .answer(.ready, taken: 10))
        #expect(sink.receiving == nil)
        #expect(self.offered(&sink, &node, offer) == .begin)
        #expect(self.offered(&sink, &node, offer) == .wait, "space is being taken")
        #expect(sink.begun(offer, by: from, hasSpace: false) == .answer(.refused, taken: 0))
        #expect(sink.receiving == nil)
        #expect(sink.begun(offer, by: from, hasSpace: true) == .abandon)
    }

    @Test(arguments: [(UInt64(7), UInt64(1)), (5, 1), (6, 0), (6, 5)])
    func `a piece that is not the next one ends the transfer`(offset: UInt64, bytes: UInt64) throws
    {
        var node = SoleMachine.leading(leader)
        var sink = SnapshotSink()
        _ = self.offered(&sink, &node, self.offer())
        _ = sink.begun(self.offer(), by: from, hasSpace: true)
        #expect(self.took(&sink, &node, at: 0, 6) == .write)
        #expect(self.took(&sink, &node, at: offset, bytes) == .outOfOrder)
        #expect(sink.receiving == nil)
        #expect(self.took(&sink, &node, at: 6, 4) == .ignored)
        #expect(sink.wrote(7, from: from, upTo: 6) == nil)
    }

    @Test func `no more is on its way to the disk than the window`() throws {
        var node = SoleMachine.leading(leader)
        let most = SnapshotSink.windowMax
        for extra in [UInt64(0), 1] {
            var sink = SnapshotSink()
            let offer = self.offer(bytes: 3 * most)
            _ = self.offered(&sink, &node, offer)
            _ = sink.begun(offer, by: from, hasSpace: true)
            #expect(self.took(&sink, &node, at: 0, 9) == .write)
            #expect(sink.wrote(7, from: from, upTo: 9) == 9)
            let took = self.took(&sink, &node, at: 9, most + extra)
            #expect(took == (extra == 0 ? .write : .outOfOrder))
        }
    }

    @Test func `a broken link goes on where it was`() throws {
        var node = SoleMachine.leading(leader)
        var sink = self.whole(&node)
        #expect(self.offered(&sink, &node, self.offer()) == .answer(.taking, taken: 10))
        #expect(self.offered(&sink, &node, self.offer(8)) == .begin, "another one")
        #expect(self.took(&sink, &node, at: 10, 1) == .ignored)
    }

    @Test func `what is not what was offered is never shown to the core`() throws {
        var node = SoleMachine.leading(leader)
        var sink = self.whole(&node)
        _ = sink.isWhole(7, from: from, now: start)
        #expect(sink.checked(7, from: from, nil, &node, now: start) == .failed)
        #expect(node.readySnapshot == nil && sink.prepared == nil)
        #expect(sink.checked(7, from: from, self.snapshot, &node, now: start) == .abandon)
        #expect(try self.offer().isOf(position, configuration))
        #expect(try !self.offer().isOf(LogPosition(term: 2, index: 90), configuration))
        #expect(try !self.offer().isOf(position, Configuration(voters: [other.incarnation])))
    }

    @Test func `what the core wants stored waits behind the snapshot, in its order`() throws {
        var node = SoleMachine.leading(leader)
        var sink = self.prepared(&node)
        #expect(sink.store(self.request(nil, ticket: 1), &node) == .entries)
        let install = self.request(self.snapshot, ticket: 2)
        #expect(sink.store(install, &node) == .snapshot)
        #expect(node.readySnapshot == nil)
        #expect(sink.store(self.request(nil, ticket: 3), &node) == .behind)
        #expect(sink.store(self.request(nil, ticket: 4), &node) == .behind)
        // Behind a checkpoint; and no other is taken, and no tick drops it.
        #expect(sink.place(isCheckpointing: true, now: start) == false)
        #expect(self.offered(&sink, &node, self.offer(9)) == .answer(.refused, taken: 0))
        #expect(!sink.tick(&node, now: start + .seconds(3600)))
        #expect(sink.place(isCheckpointing: false, now: start) == true)
        #expect(sink.place(isCheckpointing: false, now: start) == false)
        // Without room it is tried again after a pause.
        sink.notPlaced(now: start)
        #expect(sink.place(isCheckpointing: false, now: start) == false)
        #expect(sink.place(isCheckpointing: false, now: start + sink.limits.pause) == true)
        let placed = sink.placed()
        #expect(placed.request == install && placed.behind.map(\.ticket) == [3, 4])
        #expect(self.offered(&sink, &node, self.offer(9)) == .answer(.refused, taken: 0))
        sink.installed()
        #expect(sink.installedCount == 1)
        #expect(self.offered(&sink, &node, self.offer(9)) == .begin)
    }

    @Test func `what nobody asks for goes after the silence, and not before`() throws {
        var node = SoleMachine.leading(leader)
        var sink = self.prepared(&node)
        let end = start + sink.limits.silence
        #expect(!sink.tick(&node, now: end - .nanoseconds(1)))
        #expect(sink.tick(&node, now: end))
        #expect(node.readySnapshot == nil && sink.prepared == nil)
        sink = self.whole(&node)
        #expect(!sink.tick(&node, now: end - .nanoseconds(1)))
        #expect(sink.tick(&node, now: end))
        #expect(sink.receiving == nil)
        // A large one takes its time to be read.
        sink = self.whole(&node)
        _ = sink.isWhole(7, from: from, now: start)
        #expect(!sink.tick(&node, now: end))
    }
}
