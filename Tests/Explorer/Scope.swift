// Scope.swift - how small the world is: what may happen in it, and how often.
//
// Limits    each budget <= 15: a world keeps them in four bits each.

import Primitives
import Raft

/// How often what may happen, and which shortcuts the search takes.
package struct Scope: Sendable {
    package static let budgetMax = 15

    package var proposals = 2
    /// Each with its restart. What was not synced is lost, kept, or torn behind any record.
    package var crashes = 1
    /// Times in which one member hears and is heard of by nobody.
    package var partitions = 1
    /// Election timeouts that end in a campaign; two make one change of leader.
    package var campaigns = 2
    package var heartbeats = 0
    /// Messages dropped one by one. Only a literal search counts them (`Network`).
    package var losses = 1
    package var duplicates = 1

    package var preVotes = false
    /// Leaders check their quorum and nobody votes while it hears a leader. Time is a tick then,
    /// out of the budget of heartbeats.
    package var checksQuorum = false
    /// Appends on their way to one follower.
    package var window = 2
    /// One entry an append, as if entries were large.
    package var hasLargeEntries = false
    /// Node 1 leads term 1 already, and all have stored and committed that.
    package var isElected = false
    package var network = Network.counted
    /// Renames members in the order in which something first happens to them.
    package var isSymmetric = true

    package init() {}

    /// What the search takes for one and the same.
    package enum Network: String, Sendable {
        /// Every loss and partition is an event with a budget; nothing is left out.
        case literal
        /// A loss is a message that never arrives, a partition many of them: neither needs an
        /// event. Duplicates have a budget.
        case counted
        /// What was once sent may arrive any number of times, or never.
        case boundless
    }

    /// All members are alike but for their names.
    func options(_ place: Int) -> Options {
        var options = Options(id: MemberID(raw: UInt64(place + 1)))
        options.electionTicks = self.checksQuorum ? 2 : 1 << 30
        options.electionSpreadTicks = 1
        options.heartbeatTicks = 1
        options.inFlightMessagesMax = self.window
        if self.hasLargeEntries { options.appendBytesMax = 1 }
        options.preVotes = self.preVotes
        options.checksQuorum = self.checksQuorum
        // Whoever hands proposals on may hand them on twice; that is for the layer above.
        options.forwardsProposals = false
        return options
    }

    static let configuration = Configuration(
        voters: (1...UInt64(World.size)).map { MemberID(raw: $0) })

    package var text: String {
        let budgets = [
            "\(self.campaigns) campaigns", "\(self.proposals) proposals",
            "\(self.crashes) crashes", "\(self.partitions) partitions",
            "\(self.heartbeats) heartbeats",
        ]
        let network =
            switch self.network {
            case .literal: ["\(self.losses) losses", "\(self.duplicates) duplicates"]
            case .counted: ["any losses", "\(self.duplicates) duplicates"]
            case .boundless: ["any losses", "any duplicates"]
            }
        let choices = [
            self.preVotes ? "pre-votes" : "no pre-votes",
            self.checksQuorum ? "checks of the quorum" : "no checks of the quorum",
            "a window of \(self.window)" + (self.hasLargeEntries ? ", one entry an append" : ""),
            self.isSymmetric && !self.isElected ? "up to renaming" : "no renaming",
        ]
        let start = self.isElected ? "3 nodes, 1 leads, " : "3 nodes, "
        return start + (budgets + network + choices).joined(separator: ", ")
    }
}
