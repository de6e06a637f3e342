// SimNode+Repair.swift - copies that are missing are made again, copies that are gone are told;
// bodies for who has none.
//
// Like      NodeRepair, LostBodies, BodyFetch, BodySender, BodySupply, in their order; a body comes
//           in one piece.

import Cluster
import MailQueue
import Primitives
import SMTP
import Spool

/// What a node knows of copies that are missing; see `Repairs`.
struct SimRepairs {
    var planner: RepairPlanner
    var isPlanned = false
    var copies: [SimCopy] = []
    /// Bodies of the own disk that are no copies any more, to be told.
    var lost: [Tag] = []
    /// Of these, so many of the first are in a command that has no result.
    var lostUnderWay = 0
    /// Messages that this leader has given up, and when it has said so.
    var givenUp: [(message: Tag, at: Instant)] = []
    /// All own bodies are compared with the state.
    var census: QueueCursor?

    init(own: Holder, _ scenario: SimScenario) {
        self.planner = RepairPlanner(own: own)
        self.planner.waitsFor = scenario.repairAfter
    }
}

/// One copy on its way to the own journal; see `BodyCopy`.
final class SimCopy {
    let message: Tag
    /// Of the `replicaAdded` to be; nil: the body has not come yet.
    var tag: Tag?

    init(_ message: Tag) { self.message = message }
}

extension SimNode {
    // MARK: Members.

    /// See `PeerDirectory.bodyPeers`.
    private var bodyPeers: [BodyPeer] {
        self.world.nodes.indices.compactMap { place in
            guard place != self.place, let holder = self.holder(of: place) else { return nil }
            return BodyPeer(
                holder: holder, isUp: self.hasBulk[place],
                isLowOnDisk: self.standings[place].refusesBodies,
                isDraining: self.standings[place].isDraining)
        }
    }

    /// See `Node.bodyHolders`.
    var bodyHolders: [BodyPeer] {
        let members = self.machine.queue.members
        let leaving = self.machine.queue.leavingHolders
        var peers = self.bodyPeers.filter { members.contains($0.holder) }
        for at in peers.indices where leaving.contains(peers[at].holder) {
            peers[at].isDraining = true
        }
        return peers
    }

    /// See `Node.bodyMembers`.
    private var bodyMembers: [BodyPeer] {
        let peers = self.bodyPeers
        let leaving = self.machine.queue.leavingHolders
        return self.machine.queue.members.map { member in
            let isDraining = self.machine.queue.isDraining(member.node)
            if member == self.holder {
                return BodyPeer(
                    holder: member, isUp: true,
                    isLowOnDisk: self.isLowOnDisk || leaving.contains(member),
                    isDraining: isDraining || self.phase != .ready)
            }
            var peer = peers.first { $0.holder == member } ?? BodyPeer(holder: member, isUp: false)
            peer.isDraining = peer.isDraining || isDraining
            peer.isLowOnDisk = peer.isLowOnDisk || leaving.contains(member)
            return peer
        }
    }

    func sendStandings() {
        let load = SimLoad.standing(
            refusesBodies: self.isLowOnDisk, isDraining: self.drainingSince != nil)
        for peer in self.known.indices where self.hasControl[peer] {
            self.send(load, .control, to: peer)
        }
    }

    /// See `Node.stands`.
    func stands(_ peer: Int, _ refusesBodies: Bool, _ isDraining: Bool) {
        let refused = self.standings[peer].refusesBodies
        self.standings[peer] = (refusesBodies, isDraining)
        if refused, !refusesBodies, self.hasBulk[peer] { self.joined(peer) }
    }

    // MARK: Planning.

    func planRepairsSoon() {
        guard !self.repairs.isPlanned else { return }
        self.repairs.isPlanned = true
        self.world.after(0, on: self) { self.planRepairs() }
    }

    func planRepairs() {
        self.repairs.isPlanned = false
        guard self.phase == .ready, self.machine.session != .none else { return }
        self.takeCensus()
        self.tellLosses()
        let now = self.clock
        let members = self.bodyMembers
        var absent = self.repairs.planner.absent(members, now: now)
        absent += self.machine.queue.leavingHolders.filter { !absent.contains($0) }
        let queue = self.machine.queue.underReplicated(
            without: absent, from: members.filter(\.isUp).map(\.holder),
            limit: RepairPlanner.waitingMax)
        self.repairs.givenUp.removeAll { now - $0.at >= .seconds(30) }
        let copies = Int(max(1, self.machine.queue.settings.copies))
        let actions = self.repairs.planner.plan(
            queue, members: members, absent: absent, copies: copies,
            isLeader: self.machine.isReadyLeader, now: now)
        self.carryOut(actions, now)
    }

    private func carryOut(_ actions: [RepairPlanner.Action], _ now: Instant) {
        for action in actions {
            switch action {
            case .copy(let message, let holder): self.copy(message, from: holder)
            case .giveUp(let message): self.giveUp(message, now)
            }
        }
    }

    private func giveUp(_ message: Tag, _ now: Instant) {
        guard self.machine.queue.hasPending(message),
            !self.repairs.givenUp.contains(where: { $0.message == message })
        else { return }
        self.repairs.givenUp.append((message, now))
        self.proposeAsLeader(Command(.bodyLost(message)))
    }

    // MARK: Copying.

    private func copy(_ message: Tag, from holder: Holder) {
        guard self.machine.session != .none else {
            return self.repairs.planner.settled(message)
        }
        let copy = SimCopy(message)
        self.repairs.copies.append(copy)
        let isAsked = self.fetch(message, of: holder) { body in
            if let body { self.came(copy, body) } else { self.copyFailed(copy) }
        }
        if !isAsked { self.world.after(0, on: self) { self.copyFailed(copy) } }
    }

    private func isUnderWay(_ copy: SimCopy) -> Bool {
        self.repairs.copies.contains { $0 === copy }
    }

    private func copyFailed(_ copy: SimCopy) {
        guard self.isUnderWay(copy) else { return }
        self.repairs.copies.removeAll { $0 === copy }
        let now = self.clock
        let holders = self.isWanted(copy) ? self.machine.queue.holders(of: copy.message) : []
        let actions = self.repairs.planner.failed(
            copy.message, holders: holders ?? [], members: self.bodyMembers, now: now)
        self.carryOut(actions, now)
    }

    private func isWanted(_ copy: SimCopy) -> Bool {
        guard let holders = self.machine.queue.holders(of: copy.message) else { return false }
        return !holders.contains(self.holder)
    }

    private func came(_ copy: SimCopy, _ body: SimBody) {
        guard self.isUnderWay(copy) else { return }
        guard self.isWanted(copy), let tag = self.machine.drawTag() else {
            return self.settled(copy)
        }
        copy.tag = tag
        let position = self.disk.append(.body(tag, body))
        self.bodyWaits.append(BodyWait(position: position, whose: .copy(copy)))
        self.sync()
    }

    /// The journal has synced the copy.
    func copyStored(_ copy: SimCopy) {
        guard let tag = copy.tag else { unreachable("what is stored has its tag") }
        self.propose(
            tag, .replicaAdded(copy.message, self.holder),
            .answer { result in
                if case .done = result { self.world.counters[.repairs] += 1 }
                self.settled(copy)
            })
    }

    private func settled(_ copy: SimCopy) {
        self.repairs.copies.removeAll { $0 === copy }
        self.repairs.planner.settled(copy.message)
        self.planRepairsSoon()
    }

    /// The own session is closed.
    func endRepairs() {
        let copies = self.repairs.copies
        self.repairs.copies = []
        for copy in copies { self.repairs.planner.settled(copy.message) }
        self.repairs.lostUnderWay = 0
    }

    // MARK: Losing.

    private func loseCopies(_ tags: [Tag]) {
        for tag in tags where !self.repairs.lost.contains(tag) { self.repairs.lost.append(tag) }
        if self.phase == .ready { self.tellLosses() }
    }

    /// What a start has found: which bodies, or only that there are some.
    func findDamage() {
        guard !self.disk.damaged.isEmpty else { return }
        if self.world.chance(500) {
            self.loseCopies(self.disk.damaged.sorted())
        } else {
            self.repairs.census = QueueCursor()
        }
    }

    private func tellLosses() {
        guard !self.repairs.lost.isEmpty, self.repairs.lostUnderWay == 0,
            self.machine.session != .none
        else { return }
        let tags = Array(self.repairs.lost.prefix(Command.replicasLostMax))
        self.repairs.lostUnderWay = tags.count
        self.propose(
            .replicasLost(self.holder, tags),
            .answer { result in
                guard self.repairs.lostUnderWay > 0 else { return }
                self.repairs.lostUnderWay = 0
                if case .done = result { self.repairs.lost.removeFirst(tags.count) }
                self.planRepairsSoon()
            })
    }

    private func takeCensus() {
        guard var cursor = self.repairs.census else { return }
        let tags = self.machine.queue.bodyTags(on: self.holder, cursor: &cursor, steps: 4)
        self.repairs.census = cursor.isDone ? nil : cursor
        self.loseCopies(tags.filter { self.disk.body($0) == nil })
        if !cursor.isDone { self.planRepairsSoon() }
    }

    /// Proven on this node. Only the last copy's loss is the message's; see `Node.bodyLost`.
    private func bodyLost(_ message: Tag, _ tag: Tag) -> Bool {
        guard let holders = self.machine.queue.holders(of: message) else { return true }
        let own = self.machine.queue.bodyTag(of: message, on: self.holder)
        guard holders == [self.holder] else {
            if own == tag { self.loseCopies([tag]) }
            return false
        }
        guard own == tag else { return false }
        guard self.machine.queue.hasPending(message) else { return true }
        self.propose(.bodyLost(message), .nothing)
        return true
    }

    // MARK: Reading and fetching.

    /// The body of a message, from the own disk or a holder's; nil: not now, or never.
    func readBody(_ message: Tag, _ answer: @escaping (SimBody?) -> Void) {
        self.readBody(message, tried: [], answer)
    }

    private func readBody(
        _ message: Tag, tried: [Holder], _ answer: @escaping (SimBody?) -> Void
    ) {
        guard let holders = self.machine.queue.holders(of: message) else { return answer(nil) }
        if holders.contains(self.holder), !tried.contains(self.holder),
            let tag = self.machine.queue.bodyTag(of: message, on: self.holder)
        {
            if let body = self.disk.body(tag) { return answer(body) }
            self.world.check(
                1, self.disk.damaged.contains(tag),
                "\(self.name) holds \(message.text) and cannot read it")
            if self.bodyLost(message, tag) { return answer(nil) }
            return self.readBody(message, tried: tried + [self.holder], answer)
        }
        let peers = self.bodyPeers.filter { holders.contains($0.holder) }
            .map { BodyPeer(holder: $0.holder, isUp: $0.isUp) }
        let order = BodyCandidates.order(peers, own: self.holder, stream: message.sequence)
        var tried = tried
        for holder in order where !tried.contains(holder) {
            tried.append(holder)
            let so = tried
            let isAsked = self.fetch(message, of: holder) { body in
                if let body { return answer(body) }
                self.readBody(message, tried: so, answer)
            }
            if isAsked { return }
        }
        answer(nil)
    }

    /// - Returns: false: it cannot be asked. `answer` is never called inside this.
    private func fetch(
        _ message: Tag, of holder: Holder, _ answer: @escaping (SimBody?) -> Void
    ) -> Bool {
        guard let tag = self.machine.queue.bodyTag(of: message, on: holder),
            let peer = self.place(of: holder.incarnation)
        else { return false }
        self.nextFetch += 1
        guard self.send(.fetchBody(self.nextFetch, tag), .bulk, to: peer) else { return false }
        self.world.counters[.fetches] += 1
        self.fetches.append(
            Fetch(
                number: self.nextFetch, from: peer, message: message, since: self.clock,
                answer: answer))
        return true
    }

    func serve(_ number: UInt64, _ tag: Tag, _ peer: Int) {
        if let body = self.disk.body(tag) {
            self.send(.fetched(number, body), .bulk, to: peer)
            return
        }
        self.send(.fetchFailed(number), .bulk, to: peer)
        if self.machine.queue.bodyState(tag, on: self.holder) == .live { self.loseCopies([tag]) }
    }

    func fetched(_ number: UInt64, _ body: SimBody) {
        guard let at = self.fetches.firstIndex(where: { $0.number == number }) else { return }
        let fetch = self.fetches.remove(at: at)
        let accepted = self.machine.queue.accepted(fetch.message)
        fetch.answer(accepted == nil || accepted?.digest == body.digest ? body : nil)
    }

    func fetchFailed(_ number: UInt64) {
        guard let at = self.fetches.firstIndex(where: { $0.number == number }) else { return }
        self.fetches.remove(at: at).answer(nil)
    }

    func tickFetches() {
        let now = self.clock
        for fetch in self.fetches where now - fetch.since >= .seconds(10) {
            self.fetchFailed(fetch.number)
        }
    }
}
