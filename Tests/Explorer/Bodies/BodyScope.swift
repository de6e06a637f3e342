// BodyScope.swift - how small the world of bodies is: what may happen in it, and how often.
//
// Three nodes, R = 2. Agreement is taken as given (the Raft world is explored by itself): there is
// one log, in which a command is committed if its proposer reaches the leader and the leader a
// majority; every node has applied some beginning of it.

/// A mistake of the driver around the machines, planted to see it found. Mistakes inside of the
/// machines are planted in a copy of the sources: see Tests/Tools/planted.
package enum BodyMistake: String, CaseIterable, Sendable {
    /// A session that is not known yet counts as closed.
    case unknownIsClosed
    /// A node judges an Enqueue by an R of its own.
    case ownCopies
    /// Evacuation carries live bodies forward and nothing else.
    case carriesOnlyLive
    /// A body is confirmed before its sync.
    case confirmsUnsynced
    /// What the queue does not list is deleted.
    case deletesAbsent
    /// A wiped node comes back under its old identity.
    case keepsIdentity
    /// The command that adds a copy is proposed before the copy's sync.
    case addsUnsynced
    /// What of a message was lost on disk is not told to the queue.
    case hidesLoss
}

package struct BodyScope: Sendable {
    package static let budgetMax = 3

    /// By message: the place of the node that accepts it. At most two.
    package var acceptors = [0, 0]
    /// Each with its restart; what was not synced is lost, or kept as a whole.
    package var crashes = 1
    /// Disks that are lost; the node comes back empty under a new incarnation.
    package var wipes = 1
    /// Times in which one node reaches nobody.
    package var cuts = 1
    /// Changes of the leader.
    package var leaders = 1
    /// Sessions that the leader declares dead, rightly or not.
    package var expiries = 0
    /// Clients that are told no while their command is under way.
    package var giveUps = 0
    /// Copies made by repair.
    package var repairs = 1
    /// Commands that are committed twice, since they were sent twice.
    package var repeats = 0
    /// Bodies that a disk loses by itself.
    package var rots = 0
    /// Repair counts an unreachable node as away for long.
    package var repairsAbsent = false
    /// Every node deletes what it takes for garbage at the first moment; else that is an event.
    /// Nothing is hidden by it, whatever a node takes for garbage: no check fails for a body too
    /// many, and nothing that can happen asks whether a body is there, but for a repair, which
    /// reads one that must be there. So of all times to delete it the first is the worst.
    package var collectsAtOnce = true
    package var mistake: BodyMistake?
    /// Of how many worlds one is brought to rest, to see that all is as it should be then.
    package var settleEvery = 1

    package init() {}

    package var text: String {
        let accepted = self.acceptors.map { "\($0 + 1)" }.joined(separator: " and ")
        let parts = [
            "\(self.acceptors.count) messages at node \(accepted)", "\(self.crashes) crashes",
            "\(self.wipes) wipes", "\(self.cuts) partitions", "\(self.leaders) changes of leader",
            "\(self.expiries) expiries", "\(self.giveUps) give up", "\(self.repairs) repairs",
            "\(self.repeats) repeats", "\(self.rots) rotten",
            self.repairsAbsent ? "absence is long" : "absence is short",
            self.collectsAtOnce ? "garbage goes at once" : "garbage goes at any time",
        ]
        let mistake = self.mistake.map { ", mistake: \($0.rawValue)" } ?? ""
        return "3 nodes, R = 2, " + parts.joined(separator: ", ") + mistake
    }
}
