// Truth.swift - what is known by nobody in the world: the one log, the one state, every disk.
//
// Takes     each applied entry, each stored and deleted body, each reply, each final dot.
// Gives     the first broken promise of Docs/Invariants.md, by its number.
// See       TruthQueue.swift (what each command may change), TruthMail.swift (dots and arrivals).

import Cluster
import MailQueue
import Primitives
import Raft
import SMTP
import Spool

/// Of one message, from its Enqueue on, for ever.
struct MailRecord {
    struct Recipient {
        var address: String
        var delivery: UInt16
        var notifies: Bool
        var isEnded = false
        /// How often a server has got it.
        var arrivals = 0
        /// Leases of it that were counted as possible repeats.
        var repeats = 0
        /// Arrivals of which the server's word did not reach us.
        var unsaid = 0
    }
    var tag: Tag
    var content: UInt64
    var recipients: [Recipient]
    var hasNullSender: Bool
    var isReport: Bool
    var isDoubleBounce: Bool
    var digest: BodyDigest
    var reportsOwed = 0
    /// An operator wanted something of a delivery in flight.
    var isMeddledWith = false
    var isFinished = false
    /// Recipients that were counted when the client had been told no.
    var late = 0
}

final class Truth {
    unowned var world: SimWorld!
    /// Every committed entry, applied once.
    var queue = MailQueue()
    var applied: UInt64 = 0
    /// By index - 1.
    private var terms: [UInt64] = []
    private var results: [CommandResult?] = []
    private var hashes: [UInt64: UInt64] = [:]
    var effects: [Effect] = []
    /// By the order of their Enqueue; `places` is looked up only.
    var mail: [MailRecord] = []
    var places: [Tag: Int] = [:]
    /// Messages that are not finished, by their place in `mail`.
    var live: [Int] = []
    var firstResults: [Tag: CommandResult] = [:]
    var boots: [MemberID: BootNumber] = [:]
    var cleared: Set<ReportID> = []
    /// Reports and waivers that have taken effect.
    var handled: Set<Tag> = []
    private var contents: UInt64 = 0
    /// Messages that a client was told 250 for, before the end.
    var promised: [Tag] = []
    /// Clients were told no; the Cancel is not in the log yet.
    var givenUp: [(tag: Tag, node: Int)] = []
    /// Their processes ended before.
    var lostCancels: Set<Tag> = []
    /// Messages that a client sends again without having been told no.
    var excused: Set<UInt64> = []
    // Dots; see TruthMail.
    var dots: [(delivery: DeliveryID, node: Int, until: Int64)] = []
    var connections: [(destination: String, counts: [Int])] = []

    private static let hashEvery: UInt64 = 8

    func nextContent() -> UInt64 {
        self.contents += 1
        return self.contents
    }

    var isEmpty: Bool { self.queue.counts.messages == 0 && self.queue.counts.reportsOwed == 0 }

    func hasAll(_ node: SimNode) -> Bool { node.machine.applied.index == self.applied }

    // MARK: The log.

    /// A node has applied this entry.
    func applied(_ node: SimNode, _ entry: Entry, _ result: CommandResult?) {
        if entry.index == self.applied + 1 {
            self.applied = entry.index
            self.terms.append(entry.term)
            self.results.append(self.apply(entry))
            self.world.counters[.entries] += 1
            if entry.index % Self.hashEvery == 0 {
                self.hashes[entry.index] = self.queue.stateHash()
            }
        }
        guard entry.index <= self.applied else {
            return self.world.fail(7, "\(node.name) is ahead of what is committed")
        }
        let place = Int(entry.index) - 1
        self.world.check(
            7, self.terms[place] == entry.term && self.results[place] == result,
            "\(node.name) at \(entry.index): \(String(describing: result)), others: "
                + String(describing: self.results[place]))
        self.world.hash.add(entry.index << 8 | UInt64(node.place))
        self.compare(node)
    }

    /// The state of a node against that of the others at its index (invariant 7).
    func compare(_ node: SimNode) {
        let index = node.machine.applied.index
        guard let expected = self.hashes[index] else { return }
        self.world.counters[.hashes] += 1
        let hash = node.machine.stateHash()
        self.world.check(
            7, hash == expected, "\(node.name) has another state at index \(index)")
        self.world.hash.add(hash)
    }

    /// A checkpoint's own hash, where the state's is known.
    func check(_ seal: CheckpointSeal, by node: SimNode) {
        guard let expected = self.hashes[seal.applied] else { return }
        self.world.check(
            7, seal.stateHash == expected,
            "\(node.name)'s checkpoint of \(seal.applied) is of another state")
    }

    /// A process begins with this log.
    func restarts(_ node: SimNode, _ start: Start) {
        let promised = node.disk.durableState
        let state = start.hardState
        self.world.check(
            8,
            state.term > promised.term
                || state.term == promised.term
                    && (promised.vote == .none || state.vote == promised.vote),
            "\(node.name) forgets term \(promised.term), vote \(promised.vote.raw)")
        // What is applied here was committed, and is what all have.
        let covered = Int(start.applied)
        self.world.check(
            7,
            covered <= self.terms.count
                && (covered == 0 || start.base.term == self.terms[covered - 1]),
            "\(node.name) starts from a checkpoint of another log")
    }

    /// A node has taken another's state in place of its own.
    func installed(_ node: SimNode, _ checkpoint: SimCheckpoint) {
        let position = checkpoint.position
        self.world.check(
            7,
            position.index <= self.applied
                && self.terms[Int(position.index) - 1] == position.term,
            "\(node.name) installs a snapshot of another log")
        self.world.check(
            7, node.machine.stateHash() == checkpoint.hash,
            "\(node.name) has another state than the snapshot of \(position.index)")
        self.compare(node)
    }

    // MARK: Bodies.

    func record(_ tag: Tag) -> Int? { self.places[tag] }

    /// The copies that the state speaks of are on disks, but for those that the world has
    /// destroyed, and that is never all of them (invariants 1, 2).
    func checkCopies(_ tag: Tag, _ when: String) {
        guard let holders = self.queue.holders(of: tag) else { return }
        var valid = 0
        for holder in holders {
            guard let node = self.world.node(of: holder.incarnation),
                let copy = self.queue.bodyTag(of: tag, on: holder)
            else { continue }
            if node.disk.hasDurable(copy) {
                valid += 1
            } else {
                self.world.check(
                    2, node.disk.damaged.contains(copy),
                    "\(node.name) lacks \(tag.text) \(when)")
            }
        }
        self.world.check(2, valid > 0, "\(tag.text) has no copy \(when), of \(holders.count)")
    }

    /// Copies that can be read.
    func validCopies(of tag: Tag) -> [SimNode] {
        (self.queue.holders(of: tag) ?? []).compactMap { holder in
            guard let node = self.world.node(of: holder.incarnation),
                let copy = self.queue.bodyTag(of: tag, on: holder), node.disk.hasDurable(copy)
            else { return nil }
            return node
        }
    }

    /// A node tells that it has stored a body (invariant 8).
    func confirms(_ tag: Tag, by node: SimNode) {
        // What no command can make live any more may be gone by now.
        self.world.check(
            8,
            node.disk.hasDurable(tag)
                || self.queue.bodyState(tag, on: node.holder) == .garbage,
            "\(node.name) confirms \(tag.text) unsynced")
    }

    /// A node has deleted a body (invariant 3).
    func deleted(_ tag: Tag, on node: SimNode) {
        // Another copy of it may lie elsewhere on the same disk.
        guard !node.disk.hasDurable(tag) else { return }
        let state = self.queue.bodyState(tag, on: node.holder)
        self.world.check(
            3, state == .garbage, "\(node.name) deletes \(tag.text), which is \(state)")
    }

    /// A disk has lost what was not synced.
    func crashed(_ node: SimNode) {
        for place in self.live { self.checkCopies(self.mail[place].tag, "after a crash") }
        self.losesCancels(of: node)
        for i in self.dots.indices where self.dots[i].node == node.place {
            // What is on the wire arrives soon, or never.
            self.dots[i].until = min(
                self.dots[i].until, self.world.now + 50 * SimWorld.millisecond)
        }
    }

    /// A Cancel whose note is gone is not said any more.
    func losesCancels(of node: SimNode) {
        var noted: Set<Tag> = []
        for note in node.disk.notes {
            if case .cancel(let tag) = note.command.action { noted.insert(tag) }
        }
        let lost = self.givenUp.filter { $0.node == node.place && !noted.contains($0.tag) }
        for (tag, _) in lost {
            if let place = self.places[tag] { self.excused.insert(self.mail[place].content) }
            self.lostCancels.insert(tag)
        }
        self.givenUp.removeAll { $0.node == node.place && !noted.contains($0.tag) }
    }

    /// A deliverer has got the body of a message.
    func read(_ tag: Tag, _ body: SimBody) {
        guard let place = self.places[tag] else { return }
        self.world.check(
            1, body.digest == self.mail[place].digest, "another body for \(tag.text)")
    }

    /// A client is told 250 (invariant 1).
    func accepted(_ tag: Tag, _ submission: SimSubmission, by node: SimNode) {
        guard let place = self.places[tag] else {
            return self.world.fail(1, "250 for \(tag.text), which is not in the queue")
        }
        self.world.check(
            1, self.mail[place].digest == submission.body.digest,
            "250 for another message under \(tag.text)")
        self.promised.append(tag)
        self.checkCopies(tag, "at its 250")
    }

    // MARK: Now and then, and at the end.

    func sweep() {
        for node in self.world.nodes { self.checkLease(of: node) }
        for place in self.live { self.checkCopies(self.mail[place].tag, "in passing") }
        for session in self.queue.openSessions {
            let count =
                self.queue.leases(of: session).count + self.queue.reportLeases(of: session).count
            self.world.check(
                6, count <= Int(self.world.scenario.credit),
                "session \(session.raw) holds \(count) leases")
        }
    }

    var unrest: [String] {
        var words: [String] = []
        for place in self.live.prefix(5) {
            let tag = self.mail[place].tag
            guard let view = self.queue.view(tag) else { continue }
            let states = view.deliveries.map {
                "\($0.destination) \($0.state) \($0.attempts) \($0.node ?? "-")"
            }
            words.append(
                "\(tag.text) \(states.joined(separator: "; ")) owes \(view.reportsOwed)")
        }
        return words
    }

    func checkEnd() {
        self.world.check(5, self.live.isEmpty, "messages without an end")
        var counted = 0
        for record in self.mail {
            for recipient in record.recipients {
                let again = max(0, recipient.arrivals - 1)
                let excused = recipient.repeats + recipient.unsaid
                self.world.check(
                    6, again <= excused,
                    "\(record.tag.text) \(recipient.address) came \(recipient.arrivals) times, "
                        + "\(recipient.repeats) counted, \(recipient.unsaid) unsaid")
                self.world.counters[.duplicates] += again
                counted += recipient.repeats
            }
        }
        self.checkContents()
        for tag in self.promised {
            let isEnded = self.places[tag].map { self.mail[$0].isFinished } ?? false
            self.world.check(1, isEnded, "\(tag.text) was promised and has no end")
        }
        let hash = self.queue.stateHash()
        for node in self.world.nodes {
            self.world.check(
                7, node.machine.stateHash() == hash, "\(node.name) ends with another state")
        }
    }
}
