// BodyBugs.swift - the mistakes in the machines of bodies that the explorer must find.
//
// Mistakes of the driver around them are switches of the explorer's own world: BodyMistake.

private let queue = "Sources/MailQueue/"
private let spool = "Sources/Spool/"

enum BodyBugs {
    static let all = [
        Bug(
            "unknown-session-closed", "a session above the applied index counts as closed",
            Edit(
                queue + "Work.swift",
                "guard tag.session.raw <= self.applied else { return false }", "")),
        Bug(
            "fresh-command-resolved", "a command that is still to come counts as resolved",
            Edit(
                queue + "Work.swift", "case .fresh, .outside: return false",
                "case .fresh, .outside: return true")),
        Bug(
            "enqueue-old-incarnation", "a copy of an incarnation that was replaced is counted",
            Edit(
                queue + "Replicas.swift",
                "$0.isMember && $0.name == holder.node && $0.incarnation == holder.incarnation",
                "$0.isMember && $0.name == holder.node")),
        Bug(
            "copies-outlive-disk", "a node that comes back empty keeps its copies",
            Edit(queue + "Sessions.swift", "if !isSameDisk { self.retire(known) }", "")),
        Bug(
            "enqueue-from-closed", "an Enqueue is taken from a closed session",
            Edit(
                queue + "MailQueue.swift",
                "return self.applyFact(command.action, &effects)",
                """
                if case .enqueue(let message) = command.action {
                                let tag = Tag(session: origin.session, sequence: origin.sequence)
                                return self.enqueue(message, tag: tag, flags: [], &effects)
                            }
                            return self.applyFact(command.action, &effects)
                """)),
        Bug(
            "added-by-old-incarnation",
            "a copy is added by a session that is closed, for a disk that is gone",
            Edit(
                queue + "MailQueue.swift",
                "return self.applyFact(command.action, &effects)",
                """
                if case .replicaAdded(let message, let holder) = command.action {
                                let tag = Tag(session: origin.session, sequence: origin.sequence)
                                return self.replicaAdded(message, holder, copy: tag)
                            }
                            return self.applyFact(command.action, &effects)
                """),
            Edit(
                queue + "Replicas.swift",
                """
                guard self.holder(of: copy.session) == holder else { return .refused(.notMember) }
                        let slot
                """, "let slot")),
        Bug(
            "copy-under-message-tag",
            "a repaired copy lies under its message's tag, not under its own command's",
            Edit(
                queue + "Replicas.swift",
                """
                self.copyRows[slot, default: []].append(CopyRow(holder: holder, tag: copy))
                        self.copies[copy] = message

                """, ""),
            Edit(
                "Tests/Explorer/Bodies/BodySteps.swift", "let tag = command\n",
                "let tag = message\n")),
        Bug(
            "loss-before-enqueue", "a copy that is lost before its Enqueue is counted by it",
            Edit(
                queue + "Replicas.swift",
                "self.sessions[place].results.note(tag.sequence, .refused(.tooFewHolders))",
                "_ = place")),
        Bug(
            "set-forgets-a-copy", "a copy that is added takes another one's place",
            Edit(
                queue + "Replicas.swift", "let after = (before + [holder]).sorted()",
                "let after = (before.dropLast() + [holder]).sorted()")),
        Bug(
            "placed-unsynced", "a body counts as stored by its holder before the sync",
            Edit(
                spool + "BodyHolding.swift",
                """
                self.state = .syncing(end.tag)
                        return .finish
                """,
                """
                self.state = .stored(end.tag)
                        return .confirm(end.tag)
                """),
            Edit(
                "Tests/Explorer/Bodies/BodySteps.swift",
                "session: session) == .finish else {",
                "session: session) == .confirm(tag) else {"),
            Edit(
                "Tests/Explorer/Bodies/BodySteps.swift",
                "if self.scope.mistake == .confirmsUnsynced {", "if true {")),
        Bug(
            "nobody-repairs", "no member takes a missing copy for its own to make",
            Edit(
                spool + "RepairPlanner.swift", "order.prefix(count).contains(self.own)",
                "order.prefix(count - 1).contains(self.own)")),
    ]
}
