// BodySteps.swift - the world after an event: the drivers' part, around the product's machines.
//
// What a node does with what its machines say is done here as the node will do it: store, sync,
// confirm, propose; delete what `bodyState` proves garbage on the log that this node has applied.

import MailQueue
import Primitives
import Spool

extension BodySearch {
    func node(_ world: BodyWorld, _ place: Int) -> BodyNode { self.nodes[world.nodes[place]] }

    func put(_ node: BodyNode, _ world: inout BodyWorld) {
        world.nodes[node.place] = self.nodes.number(node)
    }

    func propose(_ command: Command, from place: Int, _ world: inout BodyWorld) {
        let number = self.book.number(of: command)
        world.propose(self.proposals.number(BodyProposal(from: place, command: number)))
    }

    private func send(_ mail: BodyMail, _ world: inout BodyWorld) {
        let (from, to) = mail.ends
        if world.areLinked(from, to) { world.send(self.mails.number(mail)) }
    }

    /// Judges by an R of its own.
    func judgesAlone(_ place: Int) -> Bool {
        self.scope.mistake == .ownCopies && place == self.scope.acceptors[0]
    }

    // MARK: All events.

    /// - Returns: false if nothing came of it.
    func follow(_ event: BodyEvent, _ world: inout BodyWorld) -> Bool {
        guard self.take(event, &world) else { return false }
        self.dropSpent(&world)
        if self.scope.collectsAtOnce { for place in 0..<3 { _ = self.collect(place, &world) } }
        return true
    }

    /// What can never again change anything is taken away: an answer that nobody waits for, and a
    /// command that the queue refuses since its session or its node is no more.
    private func dropSpent(_ world: inout BodyWorld) {
        let nodes = (0..<3).map { self.node(world, $0) }
        world.dropMail { number in
            guard case .answer(_, let to, let tag, _) = self.mails[number] else { return false }
            return !nodes[to].placings.contains { $0.tag == tag && $0.machine.isOpen }
        }
        for number in world.proposals {
            let log = self.book.append(self.proposals[number].command, to: world.log)
            switch self.book.facts(log).result {
            case .refused(.sessionClosed), .refused(.staleBoot), .refused(.notMember):
                world.take(proposal: number)
            case _: continue
            }
        }
    }

    private func take(_ event: BodyEvent, _ world: inout BodyWorld) -> Bool {
        let place = event.place
        switch event.kind {
        case .accept: self.accept(Int(event.argument), at: place, &world)
        case .deliver: self.deliver(event.argument, &world)
        case .sync: self.sync(place, &world)
        case .crash: self.crash(place, keeping: event.argument == 1, &world)
        case .wipe: self.wipe(place, &world)
        case .apply: return self.apply(place, &world)
        case .commit, .commitTwice:
            if event.kind == .commit {
                world.take(proposal: event.argument)
            } else {
                world.use(.repeats)
            }
            let command = self.proposals[event.argument].command
            world.log = self.book.append(command, to: world.log)
        case .collect: return self.collect(place, &world)
        case .tick: self.tick(Int(event.argument), at: place, &world)
        case .repair: return self.repair(place, &world)
        case .end:
            guard let tag = self.tag(of: Int(event.argument), world) else { return false }
            let delivery = DeliveryID(message: tag, index: 0)
            let drop = Admin(verb: .drop, deliveries: [delivery], reason: "")
            world.log = self.book.append(Command(.admin(drop)), to: world.log)
        case .expire:
            world.use(.expiries)
            let session = SessionID(raw: self.book.facts(world.log).sessions[place])
            world.log = self.book.append(Command(.expireSession(session)), to: world.log)
        case .giveUp: self.giveUp(Int(event.argument), at: place, &world)
        case .cut: self.cut(place, &world)
        case .heal: self.heal(&world)
        case .lead:
            world.use(.leaders)
            world.leader = place
        case .rot: self.rot(Int(event.argument), at: place, &world)
        }
        return true
    }

    /// Of an unfinished message.
    private func tag(of content: Int, _ world: BodyWorld) -> Tag? {
        self.book.facts(world.log).messages.first { $0.content == content }?.tag
    }

    // MARK: One message comes.

    private func accept(_ content: Int, at place: Int, _ world: inout BodyWorld) {
        world.begin(content)
        var node = self.node(world, place)
        let tag = node.drawTag()
        let peers = (0..<3).filter { $0 != place }.map {
            BodyPeer(holder: self.node(world, $0).holder, isUp: world.areLinked(place, $0))
        }
        let order = BodyCandidates.order(peers, own: node.holder, stream: UInt64(content))
        let copies = self.judgesAlone(place) ? 1 : LogBook.copies
        var machine = BodyPlacement(copies: copies, own: node.holder, candidates: order)
        node.store(BodyCopy(tag: tag, content: content, isSynced: false))
        let actions =
            machine.start(now: .zero) + machine.appended(now: .zero) + machine.ended(now: .zero)
        let placing = BodyNode.Placing(content: content, tag: tag, machine: machine)
        node.placings.append(placing)
        self.put(node, &world)
        self.obey(actions, placing, at: place, &world)
    }

    private func obey(
        _ actions: [BodyPlacement.Action], _ placing: BodyNode.Placing, at place: Int,
        _ world: inout BodyWorld
    ) {
        for action in actions {
            switch action {
            case .stream(let holder, _):
                let to = LogBook.place(holder)
                guard self.node(world, to).holder == holder else { continue }
                self.send(
                    .body(from: place, to: to, content: placing.content, tag: placing.tag), &world)
            case .placed(let holders):
                let command = LogBook.enqueue(
                    placing.tag, content: placing.content, holders: holders)
                self.propose(command, from: place, &world)
            case .abandon, .short: continue
            }
        }
    }

    /// Tells one machine of a node something, and obeys it.
    private func tell(
        _ place: Int, _ tag: Tag, _ world: inout BodyWorld,
        _ body: (inout BodyNode.Placing) -> [BodyPlacement.Action]
    ) {
        var node = self.node(world, place)
        guard let i = node.placings.firstIndex(where: { $0.tag == tag }) else { return }
        let actions = body(&node.placings[i])
        self.put(node, &world)
        self.obey(actions, node.placings[i], at: place, &world)
    }

    private static func now(_ placing: BodyNode.Placing) -> Instant {
        .zero + BodyPlacement.patience * placing.ticks
    }

    private func tick(_ content: Int, at place: Int, _ world: inout BodyWorld) {
        let placing = self.node(world, place).placings.first { $0.content == content }
        guard let placing else { return }
        self.tell(place, placing.tag, &world) {
            $0.ticks += 1
            return $0.machine.tick(now: Self.now($0))
        }
    }

    private func deliver(_ number: UInt32, _ world: inout BodyWorld) {
        world.take(mail: number)
        switch self.mails[number] {
        case .body(let from, let to, let content, let tag):
            self.receive(content, tag, from: from, at: to, &world)
        case .answer(let from, let to, let tag, let isStored):
            let holder = self.node(world, from).holder
            self.tell(to, tag, &world) {
                isStored
                    ? $0.machine.confirmed(holder)
                    : $0.machine.refused(holder, now: Self.now($0))
            }
        }
    }

    private func receive(
        _ content: Int, _ tag: Tag, from: Int, at place: Int, _ world: inout BodyWorld
    ) {
        var node = self.node(world, place)
        var machine = BodyHolding()
        invariant(machine.chunk(0, blocks: 1) == .append, "the first chunk is taken")
        let header = BodyHeader(
            stream: 1, tag: tag, digest: .zero, contentBytes: 1, headBytes: 0, blockCount: 1,
            chunkCount: 1)
        let session = self.book.standing(
            node.applied, own: self.judgesAlone(place), session: tag.session,
            peer: self.node(world, from).holder)
        guard machine.end(header, blocks: 0, session: session) == .finish else {
            self.send(.answer(from: place, to: from, tag: tag, isStored: false), &world)
            return
        }
        if !node.disk.contains(where: { $0.tag == tag }) {
            node.store(BodyCopy(tag: tag, content: content, isSynced: false))
        }
        node.holdings.removeAll { $0.tag == tag }
        node.holdings.append(BodyNode.Holding(from: from, tag: tag, machine: machine))
        self.put(node, &world)
        if self.scope.mistake == .confirmsUnsynced {
            self.send(.answer(from: place, to: from, tag: tag, isStored: true), &world)
        }
    }

    private func sync(_ place: Int, _ world: inout BodyWorld) {
        var node = self.node(world, place)
        for i in node.disk.indices { node.disk[i].isSynced = true }
        let holdings = node.holdings
        node.holdings = []
        let repairs = node.repairs
        node.repairs = []
        self.put(node, &world)
        for var holding in holdings {
            guard case .confirm(let tag) = holding.machine.synced() else { continue }
            self.send(.answer(from: place, to: holding.from, tag: tag, isStored: true), &world)
        }
        for repair in repairs { self.add(repair, node, &world) }
        for placing in node.placings {
            self.tell(place, placing.tag, &world) { $0.machine.confirmed(node.holder) }
        }
    }

    private func add(_ repair: BodyNode.Repair, _ node: BodyNode, _ world: inout BodyWorld) {
        let command = Command(
            LogBook.origin(repair.copy), .replicaAdded(repair.message, node.holder))
        self.propose(command, from: node.place, &world)
    }

    private func giveUp(_ content: Int, at place: Int, _ world: inout BodyWorld) {
        world.use(.giveUps)
        var node = self.node(world, place)
        guard let i = node.placings.firstIndex(where: { $0.content == content }) else { return }
        _ = node.placings[i].machine.giveUp()
        let tag = node.placings.remove(at: i).tag
        let command = Command(LogBook.origin(node.drawTag()), .cancel(tag))
        self.put(node, &world)
        self.propose(command, from: place, &world)
    }

    // MARK: The log.

    private func apply(_ place: Int, _ world: inout BodyWorld) -> Bool {
        var node = self.node(world, place)
        guard let next = self.book.next(after: node.applied, of: world.log) else { return false }
        node.applied = next
        let facts = self.book.facts(next, own: self.judgesAlone(place))
        let command = self.book.lastCommand(of: next)
        var wantsSession = false
        if case .openSession(let open) = command.action, open.node == node.holder.node,
            open.incarnation == node.holder.incarnation, open.boot == UInt64(node.boot),
            case .sessionOpened(let session) = facts.result
        {
            if node.session != session {
                node.session = session
                node.sequence = 0
            }
        } else if node.session != .none, facts.sessions[place] != node.session.raw {
            // Its clients are told no; what it has stored is garbage by the session's end.
            let losses = node.losses
            node.forget()
            node.losses = losses
            wantsSession = true
        }
        if let origin = command.origin, origin.session == node.session {
            self.hear(command, facts.result, &node, &world)
        }
        for message in node.planner.underWay
        where !facts.messages.contains(where: { $0.tag == message }) {
            node.planner.settled(message)
        }
        self.tellLosses(&node, &world)
        self.put(node, &world)
        if wantsSession {
            self.propose(LogBook.open(node.holder, boot: node.boot), from: place, &world)
        }
        return true
    }

    /// The result of a command of its own.
    private func hear(
        _ command: Command, _ result: CommandResult, _ node: inout BodyNode,
        _ world: inout BodyWorld
    ) {
        switch command.action {
        case .enqueue:
            guard let i = node.placings.firstIndex(where: { $0.tag == command.tag }) else { return }
            if case .enqueued = result { world.answer(node.placings[i].content) }
            node.placings.remove(at: i)
        case .replicaAdded(let message, _): node.planner.settled(message)
        case _: return
        }
    }

    private func collect(_ place: Int, _ world: inout BodyWorld) -> Bool {
        var node = self.node(world, place)
        let kept = node.disk.filter { !self.isTakenForGarbage($0.tag, node) }
        guard kept.count < node.disk.count else { return false }
        node.disk = kept
        self.put(node, &world)
        return true
    }

    private func isTakenForGarbage(_ tag: Tag, _ node: BodyNode) -> Bool {
        let own = self.judgesAlone(node.place)
        let state = self.book.state(node.applied, own: own, tag, on: node.holder)
        switch self.scope.mistake {
        case .unknownIsClosed where tag.session.raw > self.book.length(of: node.applied):
            return true
        case .carriesOnlyLive: return state != .live
        case .deletesAbsent: return !self.book.isListed(node.applied, own: own, tag)
        case _:
            let standing = TagStanding(isResolved: state != .unresolved, isLiveHere: state == .live)
            return GarbageRule.mayDelete(standing)
        }
    }

    // MARK: Repair.

    private func repair(_ place: Int, _ world: inout BodyWorld) -> Bool {
        var node = self.node(world, place)
        guard node.session != .none else { return false }
        let own = self.judgesAlone(place)
        let members = self.book.facts(node.applied, own: own).members.map { member in
            let at = LogBook.place(member)
            let isUp = world.areLinked(place, at) && self.node(world, at).holder == member
            return BodyPeer(holder: member, isUp: isUp)
        }
        var absent: [Holder] = []
        if self.scope.repairsAbsent {
            var clock = node.planner
            _ = clock.absent(members, now: .zero)
            absent = clock.absent(members, now: .zero + RepairPlanner.repairAfter)
        }
        let actions = node.planner.plan(
            self.book.shortages(node.applied, own: own, without: absent), members: members,
            absent: absent, copies: LogBook.copies, isLeader: false, now: .zero)
        var hasCopied = false
        for case .copy(let message, let source) in actions {
            guard let repair = self.copy(message, from: source, to: &node, world) else {
                node.planner.settled(message)
                continue
            }
            hasCopied = true
            if self.scope.mistake == .addsUnsynced {
                self.add(repair, node, &world)
            } else {
                node.repairs.append(repair)
            }
        }
        guard hasCopied else { return false }
        world.use(.repairs)
        self.put(node, &world)
        return true
    }

    /// The body over the link, onto the disk, under the tag of a command to come.
    private func copy(
        _ message: Tag, from source: Holder, to node: inout BodyNode, _ world: BodyWorld
    ) -> BodyNode.Repair? {
        let facts = self.book.facts(node.applied, own: self.judgesAlone(node.place))
        guard let known = facts.messages.first(where: { $0.tag == message }),
            let at = known.holders.firstIndex(of: source),
            let body = self.node(world, LogBook.place(source)).disk
                .first(where: { $0.tag == known.bodyTags[at] })
        else { return nil }
        let command = node.drawTag()
        let tag = command
        node.disk.removeAll { $0.tag == tag }
        node.store(BodyCopy(tag: tag, content: body.content, isSynced: false))
        return BodyNode.Repair(message: message, copy: command)
    }

    // MARK: Faults.

    /// The links of a node break, and are there again if `isBack`.
    private func breakLinks(
        of place: Int, was: Holder, isBack: Bool, _ world: inout BodyWorld
    ) {
        world.dropMail {
            let (from, to) = self.mails[$0].ends
            return from == place || to == place
        }
        let holder = self.node(world, place).holder
        for other in 0..<3 where other != place {
            self.lose(was, at: other, &world)
            if isBack, world.areLinked(place, other) { self.join(holder, at: other, &world) }
        }
    }

    private func lose(_ holder: Holder, at place: Int, _ world: inout BodyWorld) {
        var node = self.node(world, place)
        let from = LogBook.place(holder)
        for i in node.holdings.indices where node.holdings[i].from == from {
            invariant(node.holdings[i].machine.lost() == .ignore, "what has an end stays")
        }
        node.holdings.removeAll { $0.from == from }
        self.put(node, &world)
        for placing in node.placings {
            self.tell(place, placing.tag, &world) {
                $0.machine.lost(holder, .link, now: Self.now($0))
            }
        }
    }

    private func join(_ holder: Holder, at place: Int, _ world: inout BodyWorld) {
        for placing in self.node(world, place).placings {
            self.tell(place, placing.tag, &world) {
                $0.machine.joined(holder, now: Self.now($0))
            }
        }
    }

    private func crash(_ place: Int, keeping: Bool, _ world: inout BodyWorld) {
        world.use(.crashes)
        var node = self.node(world, place)
        if keeping {
            for i in node.disk.indices { node.disk[i].isSynced = true }
        } else {
            node.disk.removeAll { !$0.isSynced }
        }
        let losses = node.losses
        node.forget()
        // Its disk is read again, and what is missing is found again.
        node.losses = losses
        self.put(node, &world)
        self.breakLinks(of: place, was: node.holder, isBack: true, &world)
        self.propose(LogBook.open(node.holder, boot: node.boot), from: place, &world)
    }

    private func wipe(_ place: Int, _ world: inout BodyWorld) {
        world.use(.wipes)
        var node = self.node(world, place)
        let was = node.holder
        node.disks += 1
        node.disk = []
        if self.scope.mistake != .keepsIdentity {
            node.incarnation += 1
            node.boot = 0
        }
        node.applied = self.book.root
        node.forget()
        self.put(node, &world)
        if world.leader == place {
            world.leader = (0..<3).first { $0 != place && world.cut != $0 } ?? 0
        }
        self.breakLinks(of: place, was: was, isBack: true, &world)
        self.propose(LogBook.open(node.holder, boot: node.boot), from: place, &world)
    }

    private func cut(_ place: Int, _ world: inout BodyWorld) {
        world.use(.cuts)
        world.cut = place
        self.breakLinks(
            of: place, was: self.node(world, place).holder, isBack: false, &world)
        for other in 0..<3 where other != place {
            self.lose(self.node(world, other).holder, at: place, &world)
        }
    }

    private func heal(_ world: inout BodyWorld) {
        guard let place = world.cut else { return }
        world.cut = nil
        for other in 0..<3 where other != place {
            self.join(self.node(world, place).holder, at: other, &world)
            self.join(self.node(world, other).holder, at: place, &world)
        }
    }

    private func rot(_ index: Int, at place: Int, _ world: inout BodyWorld) {
        world.use(.rots)
        var node = self.node(world, place)
        node.losses.append(node.disk.remove(at: index).tag)
        self.tellLosses(&node, &world)
        self.put(node, &world)
    }

    private func tellLosses(_ node: inout BodyNode, _ world: inout BodyWorld) {
        guard !node.losses.isEmpty, node.session != .none, self.scope.mistake != .hidesLoss else {
            return
        }
        let command = Command(
            LogBook.origin(node.drawTag()), .replicasLost(node.holder, node.losses))
        node.losses = []
        self.propose(command, from: node.place, &world)
    }
}
