// StatusReason.swift - why a cluster is not healthy, and what is worth knowing besides: with names
// and with the next step.
//
// Limits    `listMax` in a list, `errorCharactersMax` of what a peer or the system said.
// See       HealthFacts (who makes them), Docs/Operations.md.

package import Primitives

/// One line of `cluster status`. As a reason it makes the cluster degraded, as a note it does not.
package struct StatusReason: Hashable, Sendable {
    /// Raw values stand in JSON.
    package enum Label: String, Hashable, Sendable, CaseIterable {
        // Reasons.
        case notFounded = "not_founded"
        case noQuorum = "no_quorum"
        case voterUnreachable = "voter_unreachable"
        /// The name is there with another disk, which is to take the voter's place.
        case voterReplaced = "voter_replaced"
        case copiesUnreachable = "copies_unreachable"
        /// `cluster.copies` is too small for what the voters could bear.
        case copiesSetting = "copies_setting"
        /// Fewer nodes take copies than each message is to have.
        case copiesNodes = "copies_nodes"
        case copiesUnderWay = "copies_under_way"
        case disk = "alarm_disk"
        case quota = "alarm_quota"
        case clock = "alarm_clock"
        case stateDiffers = "alarm_state_differs"
        case bodyLost = "alarm_body_lost"
        case bodyDamaged = "alarm_body_damaged"
        case garbageRefused = "alarm_garbage_refused"
        case removed = "alarm_removed"
        case sessionRefused = "alarm_session_refused"
        case noCopies = "alarm_no_copies"
        /// An alarm without a label of its own.
        case alarm
        // Notes.
        case settingsDiffer = "settings_differ"
        case workerUnreachable = "worker_unreachable"
        case draining
        case stopping
        case leaving
        case promotion
        case demotion
        case noBodies = "no_bodies"
        case behind
        // Either: what is beyond `listMax`.
        case more
    }

    package var label: Label
    /// Which node it is about; nil: about several, or none.
    package var node: NodeName?
    /// What is so, without a full stop.
    package var sentence: String
    /// The next step; with the command where there is one.
    package var remedy: String

    /// Of one list.
    package static let listMax = 32
    /// Of another's words in a sentence.
    static let errorCharactersMax = 200

    init(_ label: Label, on node: NodeName? = nil, _ sentence: String, remedy: String) {
        self.label = label
        self.node = node
        self.sentence = sentence
        self.remedy = remedy
    }

    /// The first ones; the last one tells how many are not shown.
    static func limited(_ list: [StatusReason]) -> [StatusReason] {
        guard list.count > Self.listMax else { return list }
        let rest = list.count - (Self.listMax - 1)
        return list.prefix(Self.listMax - 1) + [
            StatusReason(
                .more, "\(rest) more are not shown", remedy: "take care of the others first")
        ]
    }
}
