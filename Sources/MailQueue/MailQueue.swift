// MailQueue.swift - the queue as a replicated, deterministic machine: its state and its entrance.
//
// Takes     committed commands in log order, each with its index and the leader's stamp.
// Gives     one result per command, effects for drivers, work for the dispatcher, views, rows.
// Never     clocks, dice, disks; order of hash tables never reaches a result, an effect or a row.
// See       Command, CommandResult, Dispatch (what the leader proposes), Checkpoint (rows).

import Primitives
import SMTP
import Spool

/// All mail of the cluster that is not finished, and who may deliver it.
///
/// One owner: it cannot be copied. Rows of messages and deliveries lie in two slabs, indexed by
/// `UInt32` slots; `Slot.none` is no slot.
package struct MailQueue: ~Copyable {
    // Replicated state: part of rows, meta blob and state hash.
    package internal(set) var settings = ClusterSettings()
    /// The index of the entry that was applied last; 0: none.
    package internal(set) var applied: UInt64 = 0
    /// The greatest stamp so far.
    package internal(set) var time = QueueTime.zero
    package internal(set) var totals = QueueTotals()
    var messages = MessageSlab()
    var deliveries = DeliverySlab()
    var destinations = DestinationTable()
    var sessions: [Session] = []
    var nodes: [NodeRow] = []
    /// Its numbers stand in the rows of messages.
    var holderSets = HolderTable()
    /// By slot, few: copies that lie under tags of their own; also those of holders that are gone.
    var copyRows: [UInt32: [CopyRow]] = [:]

    // Indexes and sums, made again from the state after a restart.
    var tags = TagTable()
    var due = DueHeap()
    var verdicts = VerdictTable()
    /// By the tag of the command that added it: the message whose copy lies under it. Looked up
    /// only.
    var copies: [Tag: Tag] = [:]
    /// Verdicts for what an operator asked of deliveries in flight, by slot; looked up only.
    var reasons: [UInt32: UInt32] = [:]
    var owed = RingBuffer<ReportID>()
    var sums = Sums()
    /// The sum of all counted rows' hashes.
    var rowHashes: UInt64 = 0
    /// Messages whose row is for the next checkpoint, each once.
    var dirty: [UInt32] = []
    var deleted: [Tag] = []
    /// What marks those in `dirty`.
    var listing = Listing.even
    var work = CheckpointWork()
    var scratch = ByteWriter()
    /// What the meta blob promised, while rows are restored.
    var restoredCount = 0
    var restoredHashes: UInt64 = 0

    /// An empty queue before the first entry.
    package init() {}

    /// Applies one committed entry. Same state and entry, same new state, on every node.
    ///
    /// - Parameters:
    ///   - index: greater than that of every entry before.
    ///   - stamp: the leader's queue time; one below an earlier one counts as that.
    ///   - effects: appended to, in the order in which things happened.
    /// - Returns: the answer to the command; for one that was sent before, its first answer.
    package mutating func apply(
        _ command: Command, index: UInt64, stamp: QueueTime, effects: inout [Effect]
    ) -> CommandResult {
        invariant(index > self.applied, "entries are applied once and in order")
        self.applied = index
        if stamp > self.time { self.time = stamp }
        self.settleTime(&effects)
        guard let origin = command.origin else {
            return self.applyUnasked(command.action, &effects)
        }
        guard let place = self.openPlace(of: origin.session) else {
            return self.applyFact(command.action, &effects)
        }
        self.sessions[place].results.acknowledge(origin.acknowledged)
        switch self.sessions[place].results.lookup(origin.sequence) {
        case .known(let result): return result
        case .acknowledged: return .refused(.acknowledged)
        case .outside: return .refused(.tooFarAhead)
        case .fresh: break
        }
        let result = self.applyAsked(command.action, by: origin, &effects)
        // The command may have closed its own session.
        if let place = self.openPlace(of: origin.session) {
            self.sessions[place].results.note(origin.sequence, result)
        }
        return result
    }

    /// The entry at `index` has no command for the queue: it counts as applied all the same, so
    /// that a checkpoint is of the log's index.
    package mutating func pass(_ index: UInt64) {
        invariant(index > self.applied, "entries are applied once and in order")
        self.applied = index
    }

    /// Commands of an open session.
    private mutating func applyAsked(
        _ action: Command.Action, by origin: Origin, _ effects: inout [Effect]
    ) -> CommandResult {
        let session = origin.session
        switch action {
        case .enqueue(let message):
            let tag = Tag(session: session, sequence: origin.sequence)
            return self.enqueue(message, tag: tag, flags: [], &effects)
        case .outcome(let outcome):
            return self.settle(outcome, by: session, &effects)
        case .release(let deliveries, let reports):
            return self.release(deliveries, reports, by: session, &effects)
        case .suspend(let destination, let reply):
            return self.suspend(destination, reply)
        case .clearSuspension(let destination):
            return self.clearSuspension(destination)
        case .report(let report, let message):
            let tag = Tag(session: session, sequence: origin.sequence)
            return self.report(report, message, tag: tag, &effects)
        case .waiveReport(let report):
            return self.waive(report, by: session, &effects)
        case .closeSession:
            self.close(session, freeAt: self.time, mayRepeat: false, &effects)
            return .done
        case .replicaAdded(let message, let holder):
            let tag = Tag(session: session, sequence: origin.sequence)
            return self.replicaAdded(message, holder, copy: tag)
        case .replicasLost(let holder, let tags):
            return self.replicasLost(holder, tags, by: session)
        case .openSession, .expireSession, .cancel, .grant, .admin, .expire, .bodyLost, .tick,
            .settings, .drain, .removeNode, .admit, .wish:
            return self.applyUnasked(action, from: session, &effects)
        }
    }

    /// What needs no session to be right.
    private mutating func applyUnasked(
        _ action: Command.Action, from session: SessionID = .none, _ effects: inout [Effect]
    ) -> CommandResult {
        switch action {
        case .openSession(let open): return self.open(open, &effects)
        case .expireSession(let session): return self.expire(session, &effects)
        case .grant(let grant): return self.grant(grant, &effects)
        case .cancel(let tag): return self.cancel(tag, &effects)
        case .admin(let admin): return self.administer(admin, from: session, &effects)
        case .expire(let deliveries): return self.expire(deliveries, &effects)
        case .bodyLost(let tag): return self.bodyLost(tag, from: session, &effects)
        case .tick: return .done
        case .settings(let settings): return self.replace(settings)
        case .drain(let node, let draining): return self.drain(node, draining)
        case .removeNode(let removal): return self.remove(removal, &effects)
        case .admit(let admission): return self.admit(admission)
        case .wish(let node, let wish): return self.wish(node, wish)
        case .closeSession, .enqueue, .outcome, .release, .suspend, .clearSuspension, .report,
            .waiveReport, .replicaAdded, .replicasLost:
            return .refused(.sessionClosed)
        }
    }

    /// From a closed session only facts are taken: somebody has the mail, somebody was told no.
    private mutating func applyFact(
        _ action: Command.Action, _ effects: inout [Effect]
    ) -> CommandResult {
        switch action {
        case .outcome(let outcome): return self.settle(outcome, by: nil, &effects)
        case .cancel(let tag): return self.cancel(tag, &effects)
        case .openSession, .closeSession, .expireSession, .enqueue, .release, .grant, .suspend,
            .clearSuspension, .report, .waiveReport, .admin, .expire, .bodyLost, .tick, .settings,
            .drain, .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            return .refused(.sessionClosed)
        }
    }

    private mutating func replace(_ settings: ClusterSettings) -> CommandResult {
        guard !settings.retry.isEmpty else { return .refused(.malformed) }
        self.settings = settings
        self.rebuildDueHeap()
        for slot in self.destinations.slots { self.updateRing(slot) }
        return .done
    }
}

/// Numbers that only grow; replicated. Recipients, but for `accepted`.
package struct QueueTotals: Hashable, Sendable {
    /// Messages that came in by Enqueue; reports are not counted.
    package var accepted: UInt64 = 0
    package var delivered: UInt64 = 0
    /// Attempts that ended in "later".
    package var deferred: UInt64 = 0
    package var failed: UInt64 = 0
    /// By `DuplicateCause.takeover`.
    package var takeoverDuplicates: UInt64 = 0
    /// By `DuplicateCause.reply`.
    package var replyDuplicates: UInt64 = 0
    package var possibleDuplicates: UInt64 { self.takeoverDuplicates + self.replyDuplicates }
    package init() {}
}
