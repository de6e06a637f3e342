// ReplicaJournalTests.swift - a member's promises against a journal whose calls fail.
//
// Takes     a follower that drawn leaders of rising terms write to, contradict and ask for votes;
//           every store goes into a real journal, of which the Nth call fails; then a crash.
// Checks    what it promised (votes, acknowledged entries) is what the next start finds; what it
//           did not promise is there as a whole or not at all.

import Glibc
import Primitives
import Raft
import Testing

@testable import Storage

@Suite("A member's log on the journal")
struct ReplicaJournalTests {
    private static let own = MemberID(raw: 2)
    private static let configuration = Configuration(
        voters: [MemberID(raw: 1), own, MemberID(raw: 3)])

    /// Log and word at one time.
    private struct State: Equatable {
        var term: UInt64
        var vote: MemberID
        var applied: UInt64
        var entries: [Entry]

        init(_ raft: Raft) {
            self.term = raft.term
            self.vote = raft.vote
            self.applied = raft.applied
            let first = raft.firstIndex
            self.entries =
                raft.lastIndex < first
                ? [] : raft.log.slice(first...raft.lastIndex, bytesMax: .max)
        }

        init(_ start: Start) {
            self.term = start.hardState.term
            self.vote = start.hardState.vote
            self.applied = start.applied
            self.entries = start.entries
        }

        /// The same behind the checkpoint of `other`, which may be the newer one.
        func agrees(with other: State) -> Bool {
            let floor = max(self.applied, other.applied)
            return self.term == other.term && self.vote == other.vote
                && self.entries.filter { $0.index > floor }
                    == other.entries.filter { $0.index > floor }
        }
    }

    /// One life of the member, until a fault or the end of the script.
    private final class Life {
        let rig: Rig
        var replica: Replica
        /// The last state that was promised, and the one that was being stored then.
        var promised: State
        var attempted: State
        var contradictions = 0
        var checkpoints = 0

        init(_ rig: Rig) {
            self.rig = rig
            var start = rig.recovery.log
            start.configuration = ReplicaJournalTests.configuration
            self.replica = Replica(
                Options(id: ReplicaJournalTests.own), start: start, random: 0)
            self.promised = State(start)
            self.attempted = self.promised
        }

        /// Carries out what is to be done. False: the disk has failed.
        func turn() -> Bool {
            var actions: [Replica.Action] = []
            self.replica.turn(&actions)
            while !actions.isEmpty {
                let work = actions
                actions = []
                for action in work {
                    switch action {
                    case .store(let request):
                        self.attempted = State(self.replica.raft)
                        let position = self.rig.storage.append(
                            request.entries, request.hardState)
                        guard self.rig.durable(position) else { return false }
                        self.promised = self.attempted
                        self.replica.stored(upTo: request.ticket)
                    case .apply(_, let applied): self.replica.applied(applied)
                    case .send, .readable, .changed: continue
                    }
                }
                self.replica.turn(&actions)
            }
            return true
        }

        /// A checkpoint of all that is applied.
        func checkpoint() -> Bool {
            let raft = self.replica.raft
            guard raft.applied > 0, let term = raft.log.term(at: raft.applied) else { return true }
            self.checkpoints += 1
            return self.rig.checkpoint([], index: Int(raft.applied), term: term) == nil
        }

        /// A drawn event: a leader's append, a heartbeat's news of commits, or a ballot.
        func event(_ dice: inout Generator) {
            let raft = self.replica.raft
            switch dice.below(8) {
            case 0:
                let last = LogPosition(term: raft.term, index: raft.lastIndex + 1)
                self.step(
                    Message(
                        from: MemberID(raw: dice.chance(permille: 500) ? 1 : 3),
                        to: ReplicaJournalTests.own, term: raft.term + 1,
                        .vote(last: last, isTransfer: true)))
            case 1, 2: self.append(&dice, term: raft.term + 1, from: nil)
            case _: self.append(&dice, term: max(1, raft.term), from: raft.leader)
            }
        }

        /// Entries behind a drawn place that is not committed; those of the term before may go.
        private func append(_ dice: inout Generator, term: UInt64, from: MemberID?) {
            let raft = self.replica.raft
            var leader = from ?? MemberID(raw: dice.chance(permille: 500) ? 1 : 3)
            if leader == .none { leader = MemberID(raw: 1) }
            // A leader of the present term never takes its own entries back.
            var floor = raft.commit
            for index in stride(from: raft.lastIndex, to: raft.commit, by: -1)
            where raft.log.term(at: index) == term {
                floor = max(floor, index)
            }
            let place = floor + UInt64(dice.below(Int(raft.lastIndex - floor) + 1))
            guard let previous = raft.log.term(at: place) else { return }
            if place < raft.lastIndex { self.contradictions += 1 }
            var entries: [Entry] = []
            for i in 0..<dice.below(6) {
                let index = place + UInt64(i) + 1
                entries.append(
                    Entry(
                        term: term, index: index,
                        data: Array("\(term)/\(index) ".utf8)
                            + [UInt8](repeating: 9, count: dice.below(1000))))
            }
            let end = place + UInt64(entries.count)
            let commit = dice.chance(permille: 300) ? end : raft.commit
            self.step(
                Message(
                    from: leader, to: ReplicaJournalTests.own, term: term,
                    .append(
                        previous: LogPosition(term: previous, index: place), entries: entries,
                        commit: commit)))
        }

        private func step(_ message: Message) {
            do {
                try self.replica.step(message)
            } catch {
                Issue.record("refused: \(error)")
            }
        }

        func run(_ events: Int, _ dice: inout Generator) {
            for i in 1...events {
                self.event(&dice)
                guard self.turn() else { return }
                if i % 12 == 0, !self.checkpoint() { return }
            }
        }
    }

    @Test(arguments: [Call.write, .sync, .open, .rename, .allocate, .syncDirectory])
    func `what was promised before the Nth call failed is there after it`(call: Call) throws {
        var dice = Generator(seed: 23)
        var contradictions = 0
        var checkpoints = 0
        var n = 1
        while n < 300 {
            let mode = CrashMode.allCases[n % 3]
            let directory = TemporaryDirectory()
            let files = FaultyFiles(
                FaultyFiles.Plan(call: call, nth: n, errno: EIO, torn: n % 2 == 0))
            var promised: State?
            var attempted: State?
            do {
                let rig = try Rig(directory, files: files)
                let life = Life(rig)
                life.run(60, &dice)
                (promised, attempted) = (life.promised, life.attempted)
                contradictions += life.contradictions
                checkpoints += life.checkpoints
                files.die()
                rig.close()
            } catch is StorageError {}
            try files.crash(mode, &dice)
            let next = try Rig(directory)
            if let promised, let attempted {
                let found = State(next.recovery.log)
                #expect(
                    found.agrees(with: promised) || found.agrees(with: attempted),
                    "\(call) \(n) \(mode)")
            }
            // It goes on from there.
            let life = Life(next)
            life.run(10, &dice)
            #expect(next.told.monitor.withLock { $0.fault } == nil)
            next.close()
            if !files.hasFailed { break }
            n += 5
        }
        #expect(n > 1 && n < 300)
        #expect(contradictions > 3 && checkpoints > 3)
    }
}
