// SimNode+Repair.swift - copies that are missing are made again, copies that are gone are told;
// bodies for who has none.
//
// Like      NodeRepair, LostBodies, BodyFetch, BodySender, BodySupply, in their order: what
//           Repairs, BodySearch and BodyRules decide is done here to bodies that come in one piece.

import Cluster
import MailQueue
import Primitives
import SMTP
import Spool

extension Repairs {
    init(own: Holder, _ scenario: SimScenario) {
        self.init(own: own)
        self.planner.waitsFor = scenario.repairAfter
    }
}

/// One copy on its way to the own journal; see `BodyCopy`.
final class SimCopy {
    let copy: Repairs.Copy
    /// Of the `replicaAdded` to be; nil: the body has not come yet.
    var tag: Tag?

    init(_ copy: Repairs.Copy) { self.copy = copy }
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

    private var bodyMembers: [BodyPeer] {
        self.machine.bodyMembers(
            own: self.holder, isLowOnDisk: self.isLowOnDisk, isDraining: self.phase != .ready,
            peers: self.bodyPeers)
    }

    func sendStandings() {
        let load = SimLoad.standing(
            refusesBodies: self.isLowOnDisk, isDraining: self.isLeaving || self.drainingSince != nil
        )
        for peer in self.known.indices where self.hasControl[peer] {
            self.send(load, .control, to: peer)
        }
    }

    /// See `Node.stands`.
    func stands(_ peer: Int, _ refusesBodies: Bool, _ isDraining: Bool) {
        let refused = self.standings[peer].refusesBodies
        let drained = self.standings[peer].isDraining
        self.standings[peer] = (refusesBodies, isDraining)
        if drained, !isDraining { self.dispatch() }
        if refused, !refusesBodies, self.hasBulk[peer] { self.joined(peer) }
    }

    // MARK: Planning.

    func planRepairsSoon() {
        guard !self.isRepairPlanned else { return }
        self.isRepairPlanned = true
        self.world.after(0, on: self) { self.planRepairs() }
    }

    func planRepairs() {
        self.isRepairPlanned = false
        guard self.phase == .ready, self.machine.session != .none else { return }
        self.takeCensus()
        self.tellLosses()
        self.carryOut(
            self.repairs.plan(self.machine, members: self.bodyMembers, now: self.clock))
    }

    private func carryOut(_ actions: [Repairs.Action]) {
        for action in actions {
            switch action {
            case .copy(let copy, let holder): self.copy(copy, from: holder)
            case .giveUp(let message): self.proposeAsLeader(Command(.bodyLost(message)))
            }
        }
    }

    // MARK: Copying.

    private func copy(_ which: Repairs.Copy, from holder: Holder) {
        let copy = SimCopy(which)
        let isAsked = self.fetch(which.message, of: holder) { body in
            if let body { self.came(copy, body) } else { self.copyFailed(copy) }
        }
        if !isAsked { self.world.after(0, on: self) { self.copyFailed(copy) } }
    }

    private func copyFailed(_ copy: SimCopy) {
        self.carryOut(
            self.repairs.failed(
                copy.copy, self.machine, members: self.bodyMembers, now: self.clock))
    }

    private func came(_ copy: SimCopy, _ body: SimBody) {
        switch self.repairs.whole(copy.copy, &self.machine) {
        case .ignored: return
        case .unwanted: self.planRepairsSoon()
        case .store(let tag):
            copy.tag = tag
            let position = self.disk.append(.body(tag, body))
            self.bodyWaits.append(BodyWait(position: position, whose: .copy(copy)))
            self.sync()
        }
    }

    /// The journal has synced the copy.
    func copyStored(_ copy: SimCopy) {
        guard let tag = copy.tag else { unreachable("what is stored has its tag") }
        self.propose(
            tag, self.repairs.addition(of: copy.copy),
            .answer { result in
                if self.repairs.added(copy.copy, result) { self.world.counters[.repairs] += 1 }
                self.planRepairsSoon()
            })
    }

    // MARK: Losing.

    private func loseCopies(_ tags: [Tag]) {
        _ = self.repairs.lose(tags)
        if self.phase == .ready { self.tellLosses() }
    }

    /// What a start has found: which bodies, or only that there are some.
    func findDamage() {
        guard !self.disk.damaged.isEmpty else { return }
        if self.world.chance(500) {
            self.loseCopies(self.disk.damaged.sorted())
        } else {
            self.repairs.beginCensus()
        }
    }

    private func tellLosses() {
        let tags = self.repairs.losses(self.machine)
        guard !tags.isEmpty else { return }
        self.propose(
            .replicasLost(self.holder, tags),
            .answer { result in
                if self.repairs.told(tags, result) != nil { self.planRepairsSoon() }
            })
    }

    private func takeCensus() {
        guard self.repairs.hasCensus else { return }
        let tags = self.repairs.nextOfCensus(self.machine, messages: 4)
        self.loseCopies(tags.filter { self.disk.body($0) == nil })
        if self.repairs.hasCensus { self.planRepairsSoon() }
    }

    /// Proven on this node; see `Node.bodyLost`.
    ///
    /// - Returns: false: others are asked for it.
    private func bodyLost(_ message: Tag, _ tag: Tag) -> Bool {
        switch self.machine.loss(of: message, under: tag, on: self.holder) {
        case .over, .told: return true
        case .elsewhere: return false
        case .copy:
            self.loseCopies([tag])
            return false
        case .message:
            self.propose(.bodyLost(message), .nothing)
            return true
        }
    }

    // MARK: Reading and fetching.

    /// The body of a message, from the own disk or a holder's; nil: not now, or never.
    func readBody(_ message: Tag, _ answer: @escaping (SimBody?) -> Void) {
        self.readBody(message, BodySearch(message, own: self.holder), answer)
    }

    private func readBody(
        _ message: Tag, _ search: BodySearch, _ answer: @escaping (SimBody?) -> Void
    ) {
        var search = search
        while true {
            switch search.next(self.machine, peers: self.bodyPeers) {
            case .over, .nobody: return answer(nil)
            case .own(let tag):
                if let body = self.disk.body(tag) { return answer(body) }
                self.world.check(
                    1, self.disk.damaged.contains(tag),
                    "\(self.name) holds \(message.text) and cannot read it")
                if self.bodyLost(message, tag) { return answer(nil) }
            case .ask(let holder):
                let soFar = search
                let isAsked = self.fetch(message, of: holder) { body in
                    if let body { return answer(body) }
                    self.readBody(message, soFar, answer)
                }
                if isAsked { return }
            }
        }
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
        if self.machine.isCopy(tag, of: self.holder) { self.loseCopies([tag]) }
    }

    func fetched(_ number: UInt64, _ body: SimBody) {
        guard let at = self.fetches.firstIndex(where: { $0.number == number }) else { return }
        let fetch = self.fetches.remove(at: at)
        let isAccepted = self.machine.accepts(
            fetch.message, digest: body.digest, originalBytes: body.contentBytes)
        fetch.answer(isAccepted ? body : nil)
    }

    func fetchFailed(_ number: UInt64) {
        guard let at = self.fetches.firstIndex(where: { $0.number == number }) else { return }
        self.fetches.remove(at: at).answer(nil)
    }

    func tickFetches() {
        let now = self.clock
        for fetch in self.fetches where now - fetch.since >= FetchLimits.silence {
            self.fetchFailed(fetch.number)
        }
    }
}
