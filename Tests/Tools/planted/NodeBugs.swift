// NodeBugs.swift - the mistakes around bodies, leases, dedup, garbage and checkpoints that the
// simulator of whole nodes must find.
//
// Some are mistakes of the driver: those are made in the simulator's own, which does what Node's
// files do.

private let queue = "Sources/MailQueue/"
private let machine = "Sources/Cluster/Machine/"
private let world = "Tests/NodeSimulator/"

enum NodeBugs {
    static let all =
        Self.bodies + Self.leases + Self.shares + Self.once + Self.cancels + Self.debts
        + Self.checkpoints + Self.copies + Self.snapshots + Self.members

    // MARK: Bodies and garbage.

    private static let bodies = [
        Bug(
            "evacuation-live-only", "only live bodies are carried out of a segment",
            Edit(world + "SimDisk.swift", "state != .garbage", "state == .live")),
        Bug(
            "node-unknown-session", "a session above the applied index counts as closed",
            Edit(
                queue + "Work.swift",
                "guard tag.session.raw <= self.applied else { return false }", "")),
        Bug(
            "node-fresh-resolved", "a command that is still to come counts as resolved",
            Edit(
                queue + "Work.swift", "case .fresh, .outside: return false",
                "case .fresh, .outside: return true")),
        Bug(
            "confirmed-unsynced", "a peer's body is confirmed before the sync",
            Edit(
                world + "SimNode+Peers.swift",
                "self.bodyWaits.append(BodyWait(position: position, whose: .peer(peer, tag)))",
                "_ = position\n        self.send(.bodyStored(tag), .bulk, to: peer)")),
        Bug(
            "own-copy-unsynced", "the own copy counts before the sync",
            Edit(
                world + "SimNode+Peers.swift",
                "self.bodyWaits.append(BodyWait(position: position, whose: .own(tag)))",
                "_ = position\n        self.change(tag) { $0.confirmed(self.holder) }")),
        Bug(
            "own-copies", "an Enqueue is judged by R of the node that proposes it",
            Edit(queue + "Arrivals.swift", "max(1, Int(self.settings.copies))", "1"),
            Edit(
                world + "SimNode+Peers.swift",
                "let copies = Int(max(1, self.machine.queue.settings.copies))",
                "let copies = self.place == 0 ? 1 : self.world.scenario.copies")),
        Bug(
            "placed-by-send", "a holder counts as soon as it was sent the body",
            Edit(
                "Sources/Spool/BodyPlacement.swift",
                "self.parts.append(Part(holder: holder))",
                """
                var part = Part(holder: holder)
                            part.isConfirmed = true
                            self.parts.append(part)
                """)),
        Bug(
            "void-tag-untold", "a tag that is given up is told with the 64th command to come",
            Edit(
                machine + "NodeMachine.swift", "        self.isUrgent = true\n", "")),
    ]

    // MARK: Sessions and leases.

    private static let leases = [
        Bug(
            "renewed-while-expiring", "renewals are answered after the expiry was proposed",
            Edit(
                machine + "SessionKeeper.swift",
                "!self.isClosing(renewal.session), self.asked.count", "self.asked.count"),
            Edit(
                machine + "SessionKeeper.swift",
                """
                self.place(renewal.session) != nil, !self.isClosing(renewal.session),
                                    isOpen
                """, "self.place(renewal.session) != nil, isOpen")),
        Bug(
            "renewed-unproven", "a renewal is answered without a round of the quorum",
            Edit(
                machine + "NodeMachinePeers.swift", "try self.replica.requestRead(read)",
                """
                try self.replica.requestRead(read)
                            self.keeper.prove(read, index: 0)
                            self.answerRenewals()
                """)),
        Bug(
            "expired-early", "the leader counts less than the holder",
            Edit(
                machine + "SessionKeeper.swift", "now - $0.heardAt >= $0.limit &&",
                "now - $0.heardAt >= $0.limit.scaled(permille: 480) &&")),
        Bug(
            "new-leader-hasty", "a new leader does not begin T anew",
            Edit(
                machine + "SessionKeeper.swift", "limit: $0.limit, heardAt: now) }",
                "limit: $0.limit, heardAt: .zero) }")),
        Bug(
            "lease-from-answer", "a holder counts from the answer, not from what it sent",
            Edit(
                world + "SimNode+Peers.swift",
                "self.leaseClock.renewed(sentAt: answer.sentAt)",
                "self.leaseClock.renewed(sentAt: self.clock)")),
        Bug(
            "dot-unguarded", "a final dot goes without a look at the lease",
            Edit(
                world + "SimDelivery.swift",
                "&& self.node.leaseClock.mayFinish(at: self.node.clock)", "|| true")),
        Bug(
            "dot-of-old-session", "the time of the present session serves for leases of an old one",
            Edit(
                world + "SimDelivery.swift", "attempt.session == self.node.machine.session\n",
                "attempt.session != .none\n")),
        Bug(
            "no-credit", "more leases than the session's credit",
            Edit(
                queue + "Sessions.swift", "&& session.leases < session.credit", "")),
        Bug(
            "boot-not-greater", "a session is opened by a boot number that was there before",
            Edit(
                queue + "Sessions.swift",
                "guard !isSameDisk || open.boot > self.nodes[known].boot else {",
                "guard !isSameDisk || open.boot >= self.nodes[known].boot else {")),
        Bug(
            "takeover-uncounted", "a lease of a dead session is granted again and not counted",
            Edit(
                queue + "Sessions.swift", "if mayRepeat { self.markLeases(of: place) }", "")),
        Bug(
            "deferred-by-anybody", "a deferral ends a lease of another session",
            Edit(
                queue + "Outcomes.swift", "row.state == .leased && row.payload == session?.raw",
                "row.state == .leased")),
    ]

    // MARK: Shares of connections.

    private static let shares = [
        Bug(
            "share-raised-early", "a share is raised before the others have confirmed less",
            Edit(
                machine + "ShareDealer.swift", "dealt: dealt, bound: max(share.bound, dealt))",
                "dealt: dealt, bound: dealt)"),
            Edit(
                machine + "ShareDealer.swift",
                "dealt: table.base, bound: max(seat.base.bound, table.base))",
                "dealt: table.base, bound: table.base)"))
    ]

    // MARK: Once.

    private static let once = [
        Bug(
            "result-forgotten", "a command that comes again takes effect again",
            Edit(
                queue + "MailQueue.swift", "case .known(let result): return result",
                "case .known: break")),
        Bug(
            "results-not-saved", "a checkpoint forgets the results that sessions are owed",
            Edit(
                queue + "SessionCodec.swift",
                "self.results = try ResultWindow(from: &reader)",
                "_ = try ResultWindow(from: &reader)")),
        Bug(
            "command-not-sent-again", "what was lost on the way to the leader is not sent again",
            Edit(
                machine + "Courier.swift",
                "mutating func sendAgain() {\n        self.handed = 0\n",
                "mutating func sendAgain() {\n")),
        Bug(
            "opened-twice", "each copy of an OpenSession is taken for an answer",
            Edit(
                machine + "NodeMachine.swift",
                "self.openNonce else { return }\n            self.openNonce = nil\n",
                "self.openNonce else { return }\n")),
    ]

    // MARK: Debts.

    private static let debts = [
        Bug(
            "debt-cleared-anyway", "a report that is refused clears its debt",
            Edit(
                queue + "Reports.swift",
                "self.makeOwed(id)\n            return result",
                "self.clear(id, &effects)\n            return result"),
            Edit(
                world + "SimNode+Peers.swift", "if let report = placing.report {\n",
                """
                if let report = placing.report {
                            placing.enqueue.receipt.holders = [self.holder]

                """)),
        Bug(
            "debt-not-made", "what expires owes no report",
            Edit(
                queue + "Operator.swift",
                "self.endOnAccount(slot, .expired, &debt, from: .none, &effects)",
                "self.endOnAccount(slot, .dropped, &debt, from: .none, &effects)")),
        Bug(
            "debt-of-the-dead", "a debt that a closed session had leased is leased by nobody else",
            Edit(
                queue + "Sessions.swift",
                "for report in self.sessions[place].reports { self.unleaseReport(report) }", "")),
        Bug(
            "debt-kept", "a report that finds no disks keeps the lease of its debt",
            Edit(
                world + "SimNode+Peers.swift",
                "let reports = placing.report.map { [$0] } ?? []", "let reports: [ReportID] = []")),
        Bug(
            "refused-is-delivered", "what a server defers behind the dot is called delivered",
            Edit(
                world + "SimDelivery.swift", "case 4: .deferred\n", "case 4: .delivered\n")),
    ]

    // MARK: Checkpoints and the journal.

    private static let checkpoints = [
        Bug(
            "hard-state-forgotten", "a new segment begins without the hard state",
            Edit(world + "SimDisk.swift", "self.put(.hardState(self.hardState))", "")),
        Bug(
            "dropped-uncovered", "a segment goes before a checkpoint covers its entries",
            Edit(
                world + "SimDisk.swift", "self.segments[0].lastIndex <= covered",
                "self.segments[0].lastIndex <= max(covered, 1 << 40)")),
        Bug(
            "row-not-preserved", "a row that changes while a checkpoint is made goes in as changed",
            Edit(queue + "CheckpointSlices.swift", "            self.preserve(message)\n", "")),
        Bug(
            "deletion-forgotten", "a message that has ended stays in the checkpoint",
            Edit(
                queue + "Leases.swift",
                "if self.messages[slot].flags.contains(.stored) { self.deleted.append(tag) }",
                "")),
        Bug(
            "failed-not-given-back", "rows of a checkpoint that was not saved are in no other",
            Edit(
                queue + "CheckpointSlices.swift",
                "if self.messages[slot].isUsed {\n                self.touch(slot)\n            } else",
                "if self.messages[slot].isUsed {\n            } else")),
    ]

    // MARK: Copies that are lost and made again.

    private static let copies = [
        Bug(
            "copy-unsynced", "a copy that is made again is told before it is synced",
            Edit(
                world + "SimNode+Repair.swift",
                "self.bodyWaits.append(BodyWait(position: position, whose: .copy(copy)))",
                "_ = position\n        self.copyStored(copy)")),
        Bug(
            "wiped-copies-count", "a node that comes back empty keeps its copies",
            Edit(queue + "Sessions.swift", "if !isSameDisk { self.retire(known) }", "")),
        Bug(
            "node-nobody-repairs", "no member takes a missing copy for its own to make",
            Edit(
                "Sources/Spool/RepairPlanner.swift", "order.prefix(count).contains(self.own)",
                "order.prefix(count - 1).contains(self.own)")),
        Bug(
            "node-set-forgets", "a copy that is added takes another one's place",
            Edit(
                queue + "Replicas.swift", "let after = (before + [holder]).sorted()",
                "let after = (before.dropLast() + [holder]).sorted()")),
        Bug(
            "copy-is-no-garbage-rule", "a body is judged by its message's tag, not by its own",
            Edit(
                queue + "Replicas.swift", "return self.tag(of: slot, on: holder) == tag ? slot",
                "return self.messages[slot].tag == tag ? slot")),
        Bug(
            "loss-untold", "a copy that cannot be read is told to nobody",
            Edit(
                machine + "Repairs.swift", "            self.lost.append(tag)\n", "")),
    ]

    // MARK: Snapshots.

    private static let snapshots = [
        Bug(
            "installed-leases-lost", "leases that a snapshot brings are given to nobody",
            Edit(
                world + "SimNode+Snapshots.swift",
                "for lease in found.leases { self.handOut(lease, &news) }", "")),
        Bug(
            "installed-results-lost", "results that a snapshot brings are told to nobody",
            Edit(
                machine + "NodeMachine.swift", "installed.results.append((number, result))",
                "_ = result")),
        Bug(
            "installed-session-kept", "a session that a snapshot has closed goes on",
            Edit(
                machine + "NodeMachine.swift",
                "installed.closed = self.session\n                self.closed(self.session)",
                "installed.closed = nil")),
    ]

    // MARK: Messages whose clients were told no.

    private static let cancels = [
        Bug(
            "unsettled-forgotten", "of a closed session nothing is remembered for its Cancels",
            Edit(
                queue + "Sessions.swift",
                "UnsettledEnqueues(of: id, self.sessions[place].results)", "UnsettledEnqueues()")),
        Bug(
            "ended-uncounted", "what has ended before its Cancel is not counted",
            Edit(
                queue + "Cancels.swift", "return self.countLate(enqueued ?? 0, &effects)",
                "return .cancelled")),
        Bug(
            "cancel-with-the-result", "the Cancel waits for the Enqueue's result",
            Edit(
                world + "SimNode+Turn.swift", "self.place))\n        self.cancel(tag)\n",
                "self.place))\n"),
            Edit(
                world + "SimNode+Turn.swift", "case .givenUp: break\n",
                "case .givenUp(let tag): if case .enqueued = result { self.cancel(tag) }\n")),
        Bug(
            "cancelled-too-late", "an Enqueue that comes behind its Cancel takes effect",
            Edit(
                queue + "Cancels.swift", "case .fresh, .known(.enqueued):\n",
                "case .known(.enqueued):\n"),
            Edit(
                queue + "Cancels.swift", "case .known, .acknowledged, .outside: break",
                "case .fresh, .known, .acknowledged, .outside: break")),
        Bug(
            "closed-in-front", "the CloseSession goes behind the sending of outcomes, not results",
            Edit(
                machine + "Courier.swift",
                "self.items.numbers.allSatisfy({ self.items[$0] == nil })\n        else { return nil }",
                "self.closing != nil\n        else { return nil }")),
        Bug(
            "closed-behind-a-dot", "a session that has let a delivery go is closed at a stop",
            Edit(
                machine + "ShareKeeper.swift",
                "mayClose(_ own: SessionID) -> Bool { own != self.abandoned }",
                "mayClose(_ own: SessionID) -> Bool { true }")),
        Bug(
            "told-421-and-kept", "who was told 421 at a stop is not cancelled",
            Edit(
                world + "SimNode+Stopping.swift", "            self.giveUpRefused()\n", "")),
    ]

    // MARK: Members.

    private static let members = [
        Bug(
            "same-name-of-a-wiped-disk", "an empty disk keeps the incarnation of the one before",
            Edit(
                world + "SimNode.swift", "        self.id = id\n        self.disk = SimDisk",
                "        _ = id\n        self.disk = SimDisk"))
    ]
}
