// Observing.swift - what is checked of a member at each of its turns and promises.
//
// See       Checker (the promises), Truth (what is known of all).

import Primitives
import Raft

extension World {
    /// After a turn: terms, commits, roles.
    func observe(_ host: Host) {
        let term = host.replica!.raft.term
        if term != host.seen.term {
            self.truth.check(
                .term, term > host.seen.term,
                "host \(host.index) goes from term \(host.seen.term) to \(term)")
            host.seen.term = term
        }
        let role = host.replica!.raft.role
        if role == .leader, self.truth.leader(of: term) != host.member || host.seen.role != .leader
        {
            self.elected(host, term: term)
        }
        if role != host.seen.role, role == .preCandidate || role == .candidate {
            self.checkCampaign(host)
        }
        host.seen.role = role
        let commit = host.replica!.raft.commit
        if commit != host.seen.commit { self.observeCommit(host, commit: commit, role: role) }
    }

    /// Nobody stands by a configuration that it knows to be outdated.
    private func checkCampaign(_ host: Host) {
        let first = host.replica!.raft.applied + 1
        let last = host.replica!.raft.commit
        let isOutdated =
            first <= last
            && host.replica!.raft.log.slice(first...last, bytesMax: .max)
                .contains { $0.kind != .normal }
        self.truth.check(
            .configuration, !isOutdated,
            "host \(host.index) stands for election before it applies what changes the members")
    }

    private func elected(_ host: Host, term: UInt64) {
        if self.truth.leads(host.member, life: host.epoch, term: term) {
            self.truth.counters.leaders += 1
        }
        host.contactFloor = host.ticks
        self.note("\(host.index) leads in term \(term)")
        let last = self.truth.lastCommitted(before: term)
        let own = host.replica!.raft.log.term(at: last.index)
        self.truth.check(
            .completeness,
            own == last.term || (own == nil && host.replica!.raft.firstIndex > last.index),
            "host \(host.index) leads in term \(term) without \(last.text)")
        let result = host.replica!.raft.configuration.result { id in
            self.hasVoted(id, for: host.member, term: term)
        }
        self.truth.check(
            .election, result == .won,
            "host \(host.index) leads in term \(term) without durable votes of a majority")
    }

    private func observeCommit(_ host: Host, commit: UInt64, role: Role) {
        self.truth.check(
            .commit, commit > host.seen.commit,
            "host \(host.index) goes from commit \(host.seen.commit) to \(commit)")
        let first = max(host.seen.commit + 1, host.replica!.raft.firstIndex - 1)
        host.seen.commit = commit
        guard first <= commit else { return }
        var isNews = false
        for index in first...commit {
            let term = host.replica!.raft.log.term(at: index) ?? 0
            if self.truth.commits(
                host.member, in: host.seen.term, LogPosition(term: term, index: index))
            {
                isNews = true
            }
        }
        if isNews { self.checkLeaders(host) }
        guard role == .leader else { return }
        let term = host.replica!.raft.log.term(at: commit) ?? 0
        self.truth.check(
            .ownTerm, term == host.seen.term,
            "leader \(host.index) of term \(host.seen.term) commits \(commit)/t\(term)")
        self.checkQuorum(host, LogPosition(term: term, index: commit))
    }

    /// Something is committed: leaders of later terms must have it.
    private func checkLeaders(_ host: Host) {
        for other in self.hosts where other.isLeading && other.seen.term > host.seen.term {
            let last = self.truth.lastCommitted(before: other.seen.term)
            guard self.truth.leader(of: other.seen.term) == other.member else { continue }
            let own = other.replica!.raft.log.term(at: last.index)
            self.truth.check(
                .completeness,
                own == last.term || (own == nil && other.replica!.raft.firstIndex > last.index),
                "\(last.text) is committed; leader \(other.index) of term \(other.seen.term) "
                    + "has not got it")
        }
    }

    private func checkQuorum(_ host: Host, _ position: LogPosition) {
        let result = host.replica!.raft.configuration.result { self.holds($0, position) }
        self.truth.check(
            .quorum, result == .won,
            "leader \(host.index) commits \(position.text), which no majority of "
                + "\(host.replica!.raft.configuration.text) has on disk")
    }

    private func holds(_ id: MemberID, _ position: LogPosition) -> Bool {
        let at = self.route[Int(id.raw)]
        guard at >= 0 else {
            return self.records[Int(id.raw)].lastView?.holds(position) ?? false
        }
        return self.hosts[at].disk.view.holds(position)
    }

    // MARK: Votes.

    func durableVote(of id: MemberID, term: UInt64) -> MemberID {
        let votes = self.records[Int(id.raw)].votes
        for i in votes.indices.reversed() where votes[i].term <= term {
            return votes[i].term == term ? votes[i].vote : .none
        }
        return .none
    }

    /// Its disk holds that vote, or a later term, in which it can never give another.
    private func hasVoted(_ id: MemberID, for candidate: MemberID, term: UInt64) -> Bool {
        let vote = self.durableVote(of: id, term: term)
        return vote == candidate
            || (vote == .none && self.records[Int(id.raw)].durableTerm > term)
    }

    /// Hard states became durable.
    func recordVotes(_ host: Host) {
        let states = host.disk.takeHardStates()
        for state in states { self.record(state, of: host) }
    }

    private func record(_ state: HardState, of host: Host) {
        let before = self.records[Int(host.member.raw)].durableTerm
        self.truth.check(
            .term, state.term >= before,
            "the disk of host \(host.index) goes from term \(before) to \(state.term)")
        self.records[Int(host.member.raw)].durableTerm = state.term
        if state.vote == .none { return }
        let known = self.durableVote(of: host.member, term: state.term)
        self.truth.check(
            .vote, known == .none || known == state.vote,
            "member \(host.member.raw) votes for \(known.raw) and \(state.vote.raw) "
                + "in term \(state.term)")
        if known == .none {
            self.records[Int(host.member.raw)].votes.append((state.term, state.vote))
        }
    }

    // MARK: Promises.

    /// Before a message leaves.
    func checkPromise(_ message: Message, of host: Host) {
        switch message.body {
        case .voteAnswer(isGranted: true):
            self.promise(message.term, of: host)
            self.truth.check(
                .durability, self.hasVoted(host.member, for: message.to, term: message.term),
                "host \(host.index) grants a vote that is not on its disk: \(message.text)")
        case .appended(let index):
            self.promise(message.term, of: host)
            self.checkAppended(message, index: index, of: host)
        case .vote(let last, _): self.checkBallot(message, last: last, of: host)
        case .voteAnswer, .preVote, .preVoteAnswer, .append, .appendRejected, .heartbeat,
            .heartbeatAnswer, .snapshot, .timeoutNow, .transferLeader, .propose, .read,
            .readAnswer:
            break
        }
    }

    /// Who asks for votes has its own on disk, and the log that it boasts of: else it could ask
    /// twice in one term, or win with entries that a crash takes from it. A leader of the same
    /// term may have replaced some in the same sync.
    private func checkBallot(_ message: Message, last: LogPosition, of host: Host) {
        let durable = host.disk.view.hardState.term
        self.truth.check(
            .durability,
            durable > message.term
                || self.hasVoted(host.member, for: host.member, term: message.term)
                    && (host.disk.view.holds(last) || host.disk.view.last.term >= message.term),
            "host \(host.index) asks for votes with what is not on its disk: \(message.text)")
    }

    private func promise(_ term: UInt64, of host: Host) {
        let id = Int(host.member.raw)
        self.records[id].promisedTerm = max(self.records[id].promisedTerm, term)
    }

    private func checkAppended(_ message: Message, index: UInt64, of host: Host) {
        // An entry of a term proves the term: a start takes it from there.
        let durable = max(host.disk.view.hardState.term, host.disk.view.last.term)
        self.truth.check(
            .durability, durable >= message.term,
            "host \(host.index) acknowledges in term \(message.term), its disk is in \(durable)")
        // A later term may have replaced it in the same sync.
        if durable > message.term { return }
        let at = self.route[Int(message.to.raw)]
        guard at >= 0, self.truth.leader(of: message.term) == message.to,
            self.hosts[at].isLeading, self.hosts[at].seen.term == message.term,
            index >= self.hosts[at].replica!.raft.firstIndex
        else {
            return self.truth.check(
                .durability, host.disk.view.lastIndex >= index,
                "host \(host.index) has not got what it acknowledges: \(message.text)")
        }
        // 0: the leader does not have it itself.
        let term = self.hosts[at].replica!.raft.log.term(at: index) ?? 0
        self.truth.check(
            .durability, term > 0 && host.disk.view.holds(LogPosition(term: term, index: index)),
            "host \(host.index) acknowledges \(index)/t\(term): \(message.text); "
                + "on its disk is \(host.disk.view.term(at: index) ?? 0)")
    }

    // MARK: Stores.

    func checkStore(_ request: StoreRequest, on host: Host) {
        self.truth.check(
            .store, request.ticket == host.lastTicket + 1,
            "host \(host.index): ticket \(request.ticket) behind \(host.lastTicket)")
        host.lastTicket = request.ticket
        guard let first = request.entries.first else { return }
        let last = request.snapshot?.position.index ?? host.disk.written.lastIndex
        if first.index <= last {
            self.truth.check(
                .store,
                first.index > host.disk.view.commit
                    && host.disk.written.term(at: first.index) != first.term
                    && host.disk.written.term(at: first.index)
                        != self.truth.committedTerm(at: first.index),
                "host \(host.index) replaces \(first.position.text) without a conflict")
        }
        var before =
            request.snapshot?.position.index == first.index - 1
            ? request.snapshot!.position.term
            : host.disk.written.term(at: first.index - 1) ?? .max
        for entry in request.entries {
            self.truth.stores(entry, termBefore: before)
            before = entry.term
            if entry.kind != .normal { self.checkOneChange(entry, on: host) }
        }
    }

    /// A leader puts no change of members behind one that it has not applied.
    private func checkOneChange(_ entry: Entry, on host: Host) {
        self.lastChange = max(self.lastChange, entry.index)
        guard host.isLeading, entry.term == host.replica!.raft.term else { return }
        let first = max(host.replica!.raft.applied + 1, host.replica!.raft.firstIndex)
        guard first < entry.index else { return }
        let open = host.replica!.raft.log.slice(first...entry.index - 1, bytesMax: .max)
            .contains { $0.kind != .normal }
        self.truth.check(
            .oneChange, !open,
            "leader \(host.index) puts a change at \(entry.position.text) behind an open one")
    }

    // MARK: Starts, reads, contact, pre-votes.

    func checkStart(_ start: Start, of host: Host) {
        var view = host.disk.view
        view.drop(to: host.disk.current.position)
        var isEqual =
            start.base == view.base && start.applied == view.base.index
            && start.base.index + UInt64(start.entries.count) == view.lastIndex
        var index = start.base.index
        for entry in start.entries {
            index += 1
            isEqual = isEqual && entry.index == index && view.term(at: index) == entry.term
        }
        self.truth.check(
            .restart, isEqual,
            "host \(host.index) starts with \(start.base.text)..+\(start.entries.count), "
                + "its disk holds \(view.base.text)..\(view.last.text)")
        let term = max(view.hardState.term, view.last.term)
        let vote = term > view.hardState.term ? MemberID.none : view.hardState.vote
        let promised = self.records[Int(host.member.raw)].promisedTerm
        self.truth.check(
            .restart,
            start.hardState.term == term && start.hardState.vote == vote && term >= promised,
            "host \(host.index) starts in term \(start.hardState.term) with vote "
                + "\(start.hardState.vote.raw), on disk is \(term) with \(vote.raw), "
                + "promised \(promised)")
        for entry in start.entries where entry.index <= start.hardState.commit {
            self.truth.check(
                .agreement, self.truth.committedTerm(at: entry.index) == entry.term,
                "host \(host.index) starts with \(entry.position.text) as committed")
        }
    }

    func checkRead(_ read: ReadState, at host: Host) {
        let since = self.readSince[Int(read.request)]
        self.truth.check(
            .read, read.index >= since,
            "host \(host.index) may answer at \(read.index); \(since) was committed when "
                + "request \(read.request) came")
    }

    /// Every ten ticks: a leader must have heard of a majority within two election timeouts.
    func checkContact(_ host: Host) {
        guard host.ticks % 10 == 0, host.isLeading else { return }
        let span = UInt64(2 * self.scenario.options.electionTicks + 2)
        guard host.ticks > host.contactFloor + span else { return }
        let oldest = host.ticks - span
        let result = host.replica!.raft.configuration.result { id in
            id == host.member || host.heard[Int(id.raw)] >= oldest
        }
        self.truth.check(
            .contact, result == .won,
            "leader \(host.index) has not heard of a majority for \(span) ticks")
    }

    func checkPreVote(_ message: Message, before: HardState, at host: Host) {
        let after = host.replica!.raft.hardState
        self.truth.check(
            .preVote, before.term == after.term && before.vote == after.vote,
            "host \(host.index) changes its word at \(message.text)")
    }
}
