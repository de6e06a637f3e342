// Text.swift - the core's values as the files print them.

import Primitives
import Raft

enum Text {
    static func id(_ id: MemberID) -> String {
        id == .none ? "None" : String(id.raw, radix: 16)
    }

    static func entry(_ entry: Entry) -> String {
        let place = "\(entry.term)/\(entry.index)"
        switch entry.kind {
        case .normal: return "\(place) EntryNormal \(Self.quoted(entry.data))"
        case .change, .changes:
            let type = entry.kind == .change ? "EntryConfChange" : "EntryConfChangeV2"
            do {
                let changes = Self.changes(try ConfigurationChange(entry).changes)
                return "\(place) \(type)" + (changes.isEmpty ? "" : " " + changes)
            } catch {
                return "\(place) \(type) \(error)"
            }
        }
    }

    static func changes(_ changes: [MemberChange]) -> String {
        changes.map { change in
            let letter =
                switch change.what {
                case .addVoter: "v"
                case .addLearner: "l"
                case .remove: "r"
                case .update: "u"
                }
            return "\(letter)\(change.member.raw)"
        }.joined(separator: " ")
    }

    static func snapshot(_ snapshot: Snapshot) -> String {
        let state = snapshot.configuration
        return "Index:\(snapshot.position.index) Term:\(snapshot.position.term)"
            + " ConfState:Voters:\(Self.list(state.voters))"
            + " VotersOutgoing:\(Self.list(state.outgoing))"
            + " Learners:\(Self.list(state.learners))"
            + " LearnersNext:\(Self.list(state.learnersNext)) AutoLeave:\(state.autoLeave)"
    }

    private static func list(_ ids: [MemberID]) -> String {
        "[" + ids.map { String($0.raw) }.joined(separator: " ") + "]"
    }

    /// `voters=(1 2)&&(1) learners=(3) learners_next=(4) autoleave`, what is empty left out.
    static func configuration(_ configuration: Configuration) -> String {
        func group(_ ids: [MemberID]) -> String {
            "(" + ids.map { String($0.raw) }.joined(separator: " ") + ")"
        }
        var text = "voters=" + group(configuration.voters)
        if !configuration.outgoing.isEmpty { text += "&&" + group(configuration.outgoing) }
        if !configuration.learners.isEmpty {
            text += " learners=" + group(configuration.learners)
        }
        if !configuration.learnersNext.isEmpty {
            text += " learners_next=" + group(configuration.learnersNext)
        }
        return text + (configuration.autoLeave ? " autoleave" : "")
    }

    static func role(_ role: Role) -> String {
        switch role {
        case .follower: "StateFollower"
        case .preCandidate: "StatePreCandidate"
        case .candidate: "StateCandidate"
        case .leader: "StateLeader"
        }
    }

    static func hardState(_ state: HardState) -> String {
        "Term:\(state.term)" + (state.vote == .none ? "" : " Vote:\(state.vote.raw)")
            + " Commit:\(state.commit)"
    }

    static func progress(_ progress: Progress) -> String {
        let state =
            switch progress.state {
            case .probe: "StateProbe"
            case .replicate: "StateReplicate"
            case .snapshot: "StateSnapshot"
            }
        var text = "\(state) match=\(progress.match) next=\(progress.next)"
        if progress.isLearner { text += " learner" }
        if progress.isPaused { text += " paused" }
        if progress.pendingSnapshot > 0 { text += " pendingSnap=\(progress.pendingSnapshot)" }
        if !progress.isRecentlyActive { text += " inactive" }
        if progress.inFlight.count > 0 {
            text += " inflight=\(progress.inFlight.count)"
            if progress.inFlight.isFull { text += "[full]" }
        }
        return text
    }

    /// - Parameter letters: its messages, and those to the node's own workers.
    static func ready(_ ready: Ready, letters: [Letter]) -> [String] {
        var lines: [String] = []
        if let state = ready.softState {
            lines.append("Lead:\(state.leader.raw) State:\(Self.role(state.role))")
        }
        if let state = ready.hardState { lines.append("HardState " + Self.hardState(state)) }
        if !ready.reads.isEmpty {
            let reads = ready.reads.map { "{\($0.index) \($0.request)}" }
            lines.append("ReadStates [" + reads.joined(separator: " ") + "]")
        }
        if !ready.entries.isEmpty { lines += ["Entries:"] + ready.entries.map(Self.entry) }
        if let snapshot = ready.snapshot { lines.append("Snapshot " + Self.snapshot(snapshot)) }
        if !ready.committed.isEmpty {
            lines += ["CommittedEntries:"] + ready.committed.map(Self.entry)
        }
        if !letters.isEmpty { lines += ["Messages:"] + letters.flatMap(\.lines) }
        if lines.isEmpty { return ["<empty Ready>"] }
        return ["Ready MustSync=\(ready.mustSync):"] + lines
    }

    // MARK: Quoted bytes.

    /// Bytes between quotation marks, what cannot be printed escaped.
    static func quoted(_ bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let all = bytes.map { $0 < 0x80 ? Self.escaped(Unicode.Scalar($0)) : Self.hex($0) }
            return "\"" + all.joined() + "\""
        }
        return "\"" + text.unicodeScalars.map(Self.escaped).joined() + "\""
    }

    private static func escaped(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\"": return "\\\""
        case "\\": return "\\\\"
        case "\u{07}": return "\\a"
        case "\u{08}": return "\\b"
        case "\t": return "\\t"
        case "\n": return "\\n"
        case "\u{0B}": return "\\v"
        case "\u{0C}": return "\\f"
        case "\r": return "\\r"
        case _ where scalar.value < 0x20 || scalar.value == 0x7F:
            return Self.hex(UInt8(scalar.value))
        case _: return String(scalar)
        }
    }

    private static func hex(_ byte: UInt8) -> String {
        "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
}
