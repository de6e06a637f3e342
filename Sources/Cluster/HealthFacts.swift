// HealthFacts.swift - from what a node knows of its cluster to health, reasons and notes.
//
// Takes     plain values; NodeReasons gathers them.
// Gives     reasons, the gravest first: the cluster is healthy exactly when there is none. Notes:
//           what an operator has begun or should look at, while nothing is missing.
// Never     a node, links, clocks.
// See       Docs/Operations.md (what each means), HealthFactsTests.

import MailQueue
import Primitives

struct HealthFacts {
    /// A voter of the configuration, or of the one that it replaces.
    struct Voter {
        enum Presence { case reached, absent, replaced }
        /// Nil: of this disk no name is known.
        var name: NodeName?
        var presence: Presence
        var wish = MemberWish.none
        var lastError: String?
    }
    /// Anybody who belongs to the cluster.
    struct Member {
        var name: NodeName
        var isVoter: Bool
        var isReached = true
        var lastError: String?
        var wish = MemberWish.none
        /// As an operator wants.
        var isDraining = false
        /// It has said so, and no operator wants it.
        var isStopping = false
        /// Low on space.
        var refusesBodies = false
        /// Entries behind the newest that is known.
        var lag: UInt64 = 0
    }
    /// Of the unfinished messages; there is at least one.
    struct Copies {
        /// Of the message that has the fewest: within reach, and in all.
        var reached: Int
        var placed: Int
        /// R in force.
        var wanted: Int
        /// What is needed so that as many nodes may fail as the voters would bear.
        var needed: Int
        /// Holders that are not reached.
        var absent: [NodeName]
        /// Nodes that are reached and take copies.
        var takers: Int
    }

    /// Who answers.
    var node: NodeName
    /// No other node is there by its settings.
    var isAlone = false
    var hasQuorum = true
    /// Of a node that belongs to no cluster yet, or to none that works.
    var waitsFor: String?
    /// Empty: not founded.
    var voters: [Voter] = []
    var copies: Copies?
    /// As `ClusterStatus.alarms`.
    var alarms: [String] = []
    /// Whose state is another one.
    var stateDiffers: [NodeName] = []
    var members: [Member] = []
    /// Whose settings file is another than what is in force.
    var settingsDiffer: [NodeName] = []

    /// A node that has to apply more than this is named (`posthouse_commit_lag` alerts there too).
    static let lagEntriesMax: UInt64 = 10_000

    var health: ClusterStatus.Health {
        guard self.hasQuorum else { return .noQuorum }
        return self.reasons.isEmpty ? .healthy : .degraded
    }

    var reasons: [StatusReason] {
        guard !self.isAlone else { return StatusReason.limited(self.alarmReasons) }
        return StatusReason.limited(
            self.quorumReasons + self.voterReasons + self.copyReasons + self.alarmReasons)
    }

    var notes: [StatusReason] {
        guard !self.isAlone else { return [] }
        return StatusReason.limited(self.settingsNotes + self.members.flatMap(self.notes(on:)))
    }

    private func names(_ list: [NodeName], _ word: String = "and") -> String {
        guard list.count > 1, let last = list.last else { return list.first ?? "" }
        return list.dropLast().joined(separator: ", ") + " \(word) \(last)"
    }

    private func cause(_ error: String?) -> String {
        guard let error, !error.isEmpty else { return "" }
        return ": " + error.prefix(StatusReason.errorCharactersMax)
    }

    // MARK: Voters.

    private var quorumReasons: [StatusReason] {
        guard !self.hasQuorum else { return [] }
        guard !self.voters.isEmpty else {
            return [
                StatusReason(
                    .notFounded, on: self.node,
                    "\(self.node) \(self.waitsFor ?? "belongs to no cluster yet")",
                    remedy: "start all nodes of cluster.seeds, with equal lists")
            ]
        }
        let absent = self.voters.filter { $0.presence != .reached }
        let names = absent.compactMap(\.name)
        return [
            StatusReason(
                .noQuorum,
                "no leader that can act: \(self.voters.count - absent.count) of "
                    + "\(self.voters.count) voters are reached by \(self.node)",
                remedy: names.isEmpty
                    ? "wait for the election; if it does not end, look at the nodes' logs"
                    : "start \(self.names(names, "or"))")
        ]
    }

    private var voterReasons: [StatusReason] {
        self.voters.compactMap { voter in
            let name = voter.name.map { "voter \($0)" } ?? "a voter of an unknown name"
            switch voter.presence {
            case .reached: return nil
            case .replaced:
                return StatusReason(
                    .voterReplaced, on: voter.name,
                    "\(name) came back with another disk, which does not vote yet",
                    remedy: "wait: it takes the old one's place when it has caught up (LAG)")
            case .absent:
                return StatusReason(
                    .voterUnreachable, on: voter.name,
                    "\(name) is not reached\(self.cause(voter.lastError))",
                    remedy: self.remedy(for: voter))
            }
        }
    }

    private func remedy(for voter: Voter) -> String {
        guard let name = voter.name else { return "start the node that does not run" }
        guard !voter.wish.isLeaving else {
            return "wait: its removal is under way (posthouse cluster undrain \(name) ends that)"
        }
        return "start \(name), with an empty data directory if its disk is lost; if it is gone "
            + "for good: posthouse cluster remove \(name)"
    }

    // MARK: Copies.

    private var copyReasons: [StatusReason] {
        guard let copies, copies.needed > 1, copies.reached < copies.needed else { return [] }
        let few =
            switch copies.reached {
            case 0: "some mail has no copy within reach"
            case 1: "some mail has 1 copy within reach"
            case let count: "some mail has \(count) copies within reach"
            }
        if copies.placed >= copies.needed, !copies.absent.isEmpty {
            return [
                StatusReason(
                    .copiesUnreachable, on: copies.absent.count == 1 ? copies.absent[0] : nil,
                    "\(few), others are on \(self.names(copies.absent))",
                    remedy: "start \(self.names(copies.absent)); five minutes after a loss copies "
                        + "are made elsewhere by themselves")
            ]
        }
        if copies.wanted < copies.needed {
            return [
                StatusReason(
                    .copiesSetting, "\(few), since cluster.copies is \(copies.wanted)",
                    remedy: "set cluster.copies to \(copies.needed) on all nodes and reload them")
            ]
        }
        if copies.takers < copies.wanted {
            return [
                StatusReason(
                    .copiesNodes,
                    "\(few): each is to have \(copies.wanted), and nodes that take copies: "
                        + "\(copies.takers)",
                    remedy: "start more nodes, or free disk space where it is low")
            ]
        }
        return [
            StatusReason(
                .copiesUnderWay, "\(few) of \(copies.wanted); more are being made",
                remedy: "wait; if it lasts, look at posthouse_body_repairs_total and the logs")
        ]
    }

    // MARK: Notes.

    private var settingsNotes: [StatusReason] {
        guard !self.settingsDiffer.isEmpty else { return [] }
        let one = self.settingsDiffer.count == 1
        return [
            StatusReason(
                .settingsDiffer, on: one ? self.settingsDiffer[0] : nil,
                "settings differ on \(self.names(self.settingsDiffer)): what the leader's file "
                    + "says is in force, until \(one ? "it leads" : "one of them leads")",
                remedy: "make retry, expire, delay_notice and connections_per_destination of "
                    + "[delivery], copies and seeds of [cluster] alike in all files; then reload")
        ]
    }

    private func notes(on member: Member) -> [StatusReason] {
        let name = member.name
        var notes: [StatusReason] = []
        func note(_ label: StatusReason.Label, _ sentence: String, remedy: String) {
            notes.append(StatusReason(label, on: name, "\(name) \(sentence)", remedy: remedy))
        }
        if !member.isReached, !member.isVoter {
            note(
                .workerUnreachable, "is not reached\(self.cause(member.lastError))",
                remedy: "start \(name); if it is gone for good: posthouse cluster remove \(name)")
        }
        switch member.wish {
        case .leaving, .dead:
            note(
                .leaving, "is being removed",
                remedy: "wait; to call it off: posthouse cluster undrain \(name)")
        case .promoted where !member.isVoter:
            note(
                .promotion, "is to become a voter",
                remedy: "wait: it does when it is reached and has caught up (LAG)")
        case .demoted where member.isVoter:
            note(.demotion, "is to become a worker", remedy: "wait")
        case .none, .promoted, .demoted, .removed: break
        }
        if member.isDraining, !member.wish.isLeaving {
            note(
                .draining, "is drained: no new deliveries and sessions there",
                remedy: "when its work is done: posthouse cluster undrain \(name)")
        } else if member.isStopping {
            note(.stopping, "is stopping", remedy: "start it again when it has ended")
        }
        if member.refusesBodies {
            note(
                .noBodies, "takes no mail and no copies: its disk is low on space",
                remedy: "free or add space on the file system of its node.data")
        }
        if member.isReached, member.lag > Self.lagEntriesMax {
            note(
                .behind, "is \(member.lag) log entries behind",
                remedy: "wait; if it grows, look at that node's disk, processor and network")
        }
        return notes
    }
}

// MARK: Alarms.

extension HealthFacts {
    private var alarmReasons: [StatusReason] { self.alarms.map(self.reason(for:)) }

    private func reason(for alarm: String) -> StatusReason {
        let node = self.node
        func make(_ label: StatusReason.Label, _ sentence: String, _ remedy: String)
            -> StatusReason
        {
            StatusReason(label, on: node, sentence, remedy: remedy)
        }
        switch alarm {
        case "disk":
            return make(
                .disk, "disk space on \(node) is low: it refuses new mail with 452",
                "free or add space on the file system of node.data; the alarm ends by itself")
        case "quota":
            return make(
                .quota, "the queue is at its limit: new mail is refused with 452",
                "look at what waits (posthouse queue list), or raise relay.max_queued_messages "
                    + "and relay.max_queued_bytes and reload")
        case "clock":
            return make(
                .clock, "the wall clocks of no majority agree with that of \(node)",
                "set the clocks of all nodes (chrony or ntp); the alarm ends by itself")
        case "state_differs":
            let others = self.stateDiffers.isEmpty ? "another node" : self.names(self.stateDiffers)
            return make(
                .stateDiffers,
                "the state of \(others) is another than that of \(node) at the same log entry",
                "stop the node that differs from the majority, keep its data directory, start it "
                    + "with an empty one, and report it")
        case "body_lost":
            return make(
                .bodyLost, "the only copy of a message is lost: its senders are told",
                "look at the disks and at the log of \(node) for its id")
        case "a body on this disk is damaged":
            return make(
                .bodyDamaged, "a body on the disk of \(node) is damaged",
                "it is copied again from another node; look at that disk before it gets worse")
        case "garbage pass refused: live bodies would go":
            return make(
                .garbageRefused, "\(node) would have deleted bodies that are needed, and did not",
                "keep its data directory and report it: it is a fault of this program")
        case "removed":
            return make(
                .removed, "\(node) was removed from the cluster",
                "stop it; with an empty data directory it can join again")
        case "session_refused":
            return make(
                .sessionRefused, "the data directory of \(node) was rolled back or copied",
                "stop it; start it again with an empty data directory")
        case "no_copies":
            return make(
                .noCopies, "too few nodes take copies of new mail: \(node) refuses it",
                "start nodes that are away, or free space on disks that are low")
        case let other:
            return make(.alarm, "alarm on \(node): \(other)", "look at the log of \(node)")
        }
    }
}
