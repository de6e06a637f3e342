// Trace.swift - a run of events in lines that people can read.

import Primitives
import Raft

extension Search {
    /// What each event was and what it led to.
    func trace(_ path: [Event]) -> [String] {
        var world = self.origin
        var lines: [String] = []
        for (i, event) in path.enumerated() {
            let before = world
            let followed = self.follow(event, &world)
            var line = "\(i + 1). " + self.text(of: event)
            if case .fault = followed { world.members = before.members }
            switch event.kind {
            case .lose, .cut, .heal: break
            case .deliver, .deliverDoubled, .sync, .crash, .campaign, .tick, .propose,
                .unreachable:
                let outcome = self.catalogue.outcome(
                    of: event, at: before.members[event.place])
                for i in outcome.sentStart..<outcome.sentStart + outcome.sentCount {
                    line += "\n      sends "
                    line += Self.text(of: self.catalogue.messages[Int(self.catalogue.sent[Int(i)])])
                }
                line += "\n      " + self.text(ofMember: outcome.member, event.place)
            }
            lines.append(line)
        }
        return lines
    }

    func text(of event: Event) -> String {
        let name = "\(event.place + 1)"
        let argument = event.argument
        switch event.kind {
        case .deliver: return "arrives: " + self.text(ofMessage: argument)
        case .deliverDoubled: return "arrives, doubled: " + self.text(ofMessage: argument)
        case .lose: return "is lost: " + self.text(ofMessage: argument)
        case .sync: return "node \(name): the oldest \(argument) stores are on disk"
        case .crash: return "node \(name) crashes, \(argument) unsynced records kept; restarts"
        case .campaign: return "node \(name): election timeout"
        case .tick: return "node \(name): tick"
        case .propose: return "node \(name): proposal p\(argument)"
        case .unreachable: return "node \(name): link to \((argument & 3) + 1) reported broken"
        case .cut: return "node \(name) is cut off"
        case .heal: return "the cut heals"
        }
    }

    private func text(ofMessage number: UInt32) -> String {
        Self.text(of: self.catalogue.messages[Int(number)])
    }

    private func text(ofMember number: UInt32, _ place: Int) -> String {
        let facts = self.catalogue.memberFacts[Int(number)]
        let raft = self.catalogue.member(number).replica.raft
        let vote = raft.vote == .none ? "-" : "\(raft.vote.raw)"
        let log = facts.log.map(\.entryText).joined(separator: " ")
        let synced = facts.synced.map(\.entryText).joined(separator: " ")
        return "node \(place + 1): \(facts.role), term \(facts.term), vote \(vote), "
            + "log [\(log)], commit \(facts.commit); disk: term \(facts.syncedTerm), [\(synced)]"
    }

    private static func text(of message: Message) -> String {
        "\(message.from.raw)→\(message.to.raw) term \(message.term) " + Self.text(of: message.body)
    }

    private static func text(of body: Message.Body) -> String {
        switch body {
        case .append(let previous, let entries, let commit):
            let list = entries.map(\.code.entryText).joined(separator: " ")
            return "append behind \(previous.index)@\(previous.term) [\(list)], commit \(commit)"
        case .vote(let last, _): return "vote, log ends \(last.index)@\(last.term)"
        case .preVote(let last, _): return "pre-vote, log ends \(last.index)@\(last.term)"
        case .preVoteAnswer, .voteAnswer, .appended, .appendRejected, .heartbeat,
            .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .propose, .read,
            .readAnswer:
            return "\(body)"
        }
    }
}
