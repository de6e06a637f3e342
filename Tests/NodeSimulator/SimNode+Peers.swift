// SimNode+Peers.swift - what peers say is taken, what is for them is sent; bodies on their way.
//
// Like      NodePeers, NodeBodies, NodeHolding.

import Cluster
import MailQueue
import Primitives
import Raft
import SMTP
import Spool

extension SimNode {
    // MARK: Links.

    func linkUp(_ peer: Int, _ disk: MemberID, _ kind: SimLinkKind) {
        if self.known[peer] != disk {
            self.hasControl[peer] = false
            self.hasBulk[peer] = false
            self.known[peer] = disk
            self.standings[peer] = (false, false)
        }
        self.heard(peer)
        switch kind {
        case .control:
            self.hasControl[peer] = true
            self.compareClocks()
            self.machine.commandsMayBeLost()
            // It may be given work again.
            self.dispatch()
        case .bulk:
            self.hasBulk[peer] = true
            self.joined(peer)
            self.planRepairsSoon()
        }
        self.isTurnPlanned = true
    }

    /// See `Node.holderJoined`.
    func joined(_ peer: Int) {
        guard let holder = self.holder(of: peer), self.machine.queue.members.contains(holder)
        else { return }
        let now = self.clock
        for tag in self.placings.map(\.tag) { self.change(tag) { $0.joined(holder, now: now) } }
    }

    func linkDown(_ peer: Int, _ kind: SimLinkKind) {
        guard let holder = self.holder(of: peer) else { return }
        self.sendingFailed(holder)
        switch kind {
        case .control:
            self.hasControl[peer] = false
            self.machine.linkBroke(to: holder.incarnation)
            self.compareClocks()
        case .bulk:
            self.hasBulk[peer] = false
            let now = self.clock
            for tag in self.placings.map(\.tag) {
                self.change(tag) { $0.lost(holder, .link, now: now) }
            }
            self.incoming.removeAll { $0.from == peer }
            for fetch in self.fetches.filter({ $0.from == peer }) {
                self.fetchFailed(fetch.number)
            }
        }
        self.isTurnPlanned = true
    }

    /// Like NodeClock. The wall clocks of this world are right.
    private func compareClocks() {
        self.machine.compareWallClocks(
            agreeing: self.known.indices.filter { self.hasControl[$0] }
                .compactMap { self.known[$0] },
            differing: [])
    }

    @discardableResult
    func send(_ load: SimLoad, _ kind: SimLinkKind, to peer: Int) -> Bool {
        // Over the link to the disk before nothing goes any more, whether its end is known or not.
        guard self.world.nodes[peer].id == self.known[peer] else { return false }
        return self.world.network.send(load, kind, from: self.place, to: peer)
    }

    func send(_ message: Message) {
        if case .snapshot(let snapshot) = message.body {
            return self.sendSnapshot(message, snapshot)
        }
        self.sendDirectly(message)
    }

    func sendDirectly(_ message: Message) {
        guard let peer = self.place(of: message.to) else { return }
        var writer = ByteWriter(capacity: 256)
        message.encode(into: &writer)
        self.send(.agreement(writer.bytes), .control, to: peer)
    }

    func sendPosts() {
        self.machine.takePosts(&self.posts)
        for post in self.posts { self.send(post) }
        self.posts.removeAll(keepingCapacity: true)
    }

    private func send(_ post: Post) {
        if case .renewed(_, let session, let sentAt) = post, post.to == self.id {
            self.answerOwnRenewal(session, Instant(nanoseconds: sentAt))
            return
        }
        guard let peer = self.place(of: post.to) else { return }
        let load: SimLoad =
            switch post {
            case .forward(_, let command): .forward(command)
            case .declined: .declined
            case .renew(_, let session, let sentAt):
                .renew(self.renewal(of: session, Instant(nanoseconds: sentAt)))
            case .renewed(_, let session, let sentAt):
                .renewed(self.renewalAnswer(to: session, Instant(nanoseconds: sentAt)))
            }
        if !self.send(load, .control, to: peer) { self.machine.commandsMayBeLost() }
    }

    func renewed(_ answer: RenewalAnswer) {
        guard answer.session == self.machine.session else { return }
        self.leaseClock.renewed(sentAt: answer.sentAt)
        self.world.truth.checkLease(of: self)
        self.takeShares(answer)
    }

    func receive(_ load: SimLoad, _ kind: SimLinkKind, from peer: Int) {
        guard let disk = self.known[peer] else {
            unreachable("a link begins with the word whose disk it is")
        }
        self.heard(peer)
        do {
            try self.take(load, from: peer, disk)
            if case .agreement = load { self.takeSnapshotIfReady() }
        } catch NodeMachine.PeerError.noSnapshot {
            return
        } catch NodeMachine.PeerError.agreement(.unknownPeer) {
            // It was a member, or is about to be one.
            return
        } catch {
            self.world.fail(4, "\(self.name) refuses what n\(peer) says: \(error)")
        }
        self.isTurnPlanned = true
    }

    private func take(
        _ load: SimLoad, from peer: Int, _ disk: MemberID
    ) throws(NodeMachine.PeerError) {
        let holder = Holder(node: "n\(peer)", incarnation: disk)
        switch load {
        case .agreement(let bytes): try self.machine.step(bytes, from: disk)
        case .forward(let command):
            try self.machine.receiveCommand(command, from: disk, at: self.clocks)
        case .declined: self.machine.commandsMayBeLost()
        case .renew(let renewal):
            self.machine.receiveRenewal(
                renewal.session, sentAt: renewal.sentAt.nanoseconds, from: disk, self.clock)
            self.hearShares(renewal, of: peer)
        case .renewed(let answer): self.renewed(answer)
        case .bodyWhole(let tag, let body): self.hold(tag, body, peer)
        case .bodyOpen(let number):
            self.incoming.append(Incoming(from: peer, number: number))
        case .bodyChunk(let number, let ordinal): self.chunk(number, ordinal, peer)
        case .bodyEnd(let number, let tag, let body, let chunks):
            self.end(number, tag, body, chunks, peer)
        case .bodyStored(let tag): self.change(tag) { $0.confirmed(holder) }
        case .bodyRefused(let tag): self.refused(tag, holder)
        case .streamRefused: break
        case .fetchBody(let number, let tag): self.serve(number, tag, peer)
        case .fetched(let number, let body): self.fetched(number, body)
        case .fetchFailed(let number): self.fetchFailed(number)
        case .snapshotOffer(let offer): self.offered(offer, holder)
        case .snapshotPiece(let id, let number): self.took(id, number, holder)
        case .snapshotDone(let id, let checkpoint): self.isWhole(id, checkpoint, holder)
        case .snapshotAnswer(let id, let verdict, let taken):
            self.snapshotAnswered(id, verdict, taken, holder)
        case .standing(let refuses, let drains): self.stands(peer, refuses, drains)
        }
    }

    // MARK: Accepting.

    /// A complete message of a client, or a report.
    func enqueue(_ submission: SimSubmission, report: ReportID? = nil) {
        guard self.phase == .ready || self.phase == .stopping else {
            if report == nil { self.decide(submission, nil) }
            return
        }
        guard let tag = self.machine.drawTag() else {
            if report == nil { self.waitForSession(submission) }
            return
        }
        let position = self.disk.append(.body(tag, submission.body))
        let bytes = submission.body.contentBytes
        let message = Enqueue(
            envelope: submission.envelope, destinations: submission.destinations,
            receipt: BodyReceipt(
                originalBytes: bytes, storedBytes: bytes, digest: submission.body.digest,
                holders: [self.holder]),
            acceptedAt: self.wall, receivedFrom: "")
        self.placeBody(submission, tag, message, position, report)
    }

    private func placeBody(
        _ submission: SimSubmission, _ tag: Tag, _ enqueue: Enqueue, _ position: UInt64,
        _ report: ReportID?
    ) {
        let now = self.clock
        let copies = Int(max(1, self.machine.queue.settings.copies))
        var placing = Placing(
            tag: tag,
            placement: BodyPlacement(
                copies: copies, own: self.holder,
                candidates: BodyCandidates.order(
                    self.bodyHolders, own: self.holder, stream: tag.sequence)),
            submission: submission, enqueue: enqueue, report: report, body: submission.body,
            chunks: submission.body.contentBytes > 64_000
                ? UInt32(submission.body.contentBytes / 64_000) : 0, since: now)
        let actions = placing.placement.start(now: now) + placing.placement.ended(now: now)
        self.placings.append(placing)
        self.bodyWaits.append(BodyWait(position: position, whose: .own(tag)))
        self.sync()
        self.carryOut(actions, tag)
    }

    private func carryOut(_ actions: [BodyPlacement.Action], _ tag: Tag) {
        for action in actions {
            switch action {
            case .stream(let holder, _): self.sendBody(tag, to: holder)
            case .abandon, .short: continue
            case .placed(let holders): self.placed(tag, holders)
            }
        }
    }

    func change(_ tag: Tag, _ body: (inout BodyPlacement) -> [BodyPlacement.Action]) {
        guard let at = self.placings.firstIndex(where: { $0.tag == tag }) else { return }
        let actions = body(&self.placings[at].placement)
        self.carryOut(actions, tag)
    }

    private func placed(_ tag: Tag, _ holders: [Holder]) {
        guard let at = self.placings.firstIndex(where: { $0.tag == tag }) else { return }
        var placing = self.placings.remove(at: at)
        placing.enqueue.receipt.holders = holders
        if let report = placing.report {
            self.propose(tag, .report(of: report, message: placing.enqueue), .nothing)
        } else {
            self.propose(
                tag, .enqueue(placing.enqueue), .submission(placing.submission, tag))
        }
    }

    private func sendBody(_ tag: Tag, to holder: Holder) {
        guard let placing = self.placings.first(where: { $0.tag == tag }) else { return }
        guard let peer = self.place(of: holder.incarnation) else {
            return self.refused(tag, holder)
        }
        guard placing.chunks > 0 else {
            if !self.send(.bodyWhole(tag, placing.body), .bulk, to: peer) {
                self.refused(tag, holder)
            }
            return
        }
        self.nextStream += 1
        let number = self.nextStream
        self.send(.bodyOpen(number), .bulk, to: peer)
        for chunk in 0..<placing.chunks { self.send(.bodyChunk(number, chunk), .bulk, to: peer) }
        self.send(
            .bodyEnd(number, tag, placing.body, chunks: placing.chunks), .bulk, to: peer)
    }

    private func refused(_ tag: Tag, _ holder: Holder) {
        self.world.after(0, on: self) {
            self.change(tag) { $0.refused(holder, now: self.clock) }
        }
    }

    func endPlacings() {
        let all = self.placings
        self.placings = []
        for placing in all where placing.report == nil { self.decide(placing.submission, nil) }
    }

    func bodiesDurable() {
        while let first = self.bodyWaits.first, first.position <= self.disk.durable {
            self.bodyWaits.removeFirst()
            switch first.whose {
            case .own(let tag):
                let holder = self.holder
                self.change(tag) { $0.confirmed(holder) }
            case .peer(let peer, let tag):
                self.world.truth.confirms(tag, by: self)
                self.send(.bodyStored(tag), .bulk, to: peer)
            case .copy(let copy): self.copyStored(copy)
            }
        }
    }

    func tickBodies() {
        let now = self.clock
        for placing in self.placings {
            if let wake = placing.placement.wake, wake <= now {
                self.change(placing.tag) { $0.tick(now: now) }
            }
        }
        for placing in self.placings
        where now - placing.since >= self.world.scenario.commitTimeout { self.giveUp(placing) }
    }

    func giveUp(_ placing: Placing) {
        self.placings.removeAll { $0.tag == placing.tag }
        self.machine.giveUp(placing.tag)
        if placing.report == nil { self.decide(placing.submission, nil) }
        let reports = placing.report.map { [$0] } ?? []
        self.propose(.release(deliveries: [], reports: reports), .nothing)
    }

    // MARK: Holding.

    private func standing(of tag: Tag, _ peer: Int) -> PeerSession {
        if self.machine.queue.session(of: "n\(peer)") == tag.session { return .ofPeer }
        return tag.session.raw > self.machine.applied.index ? .unknown : .foreign
    }

    private func hold(_ tag: Tag, _ body: SimBody, _ peer: Int) {
        guard !self.isLowOnDisk, self.phase != .stopping, self.standing(of: tag, peer) != .foreign
        else {
            self.send(.bodyRefused(tag), .bulk, to: peer)
            return
        }
        self.confirm(tag, body, peer)
    }

    private func confirm(_ tag: Tag, _ body: SimBody, _ peer: Int) {
        let position = self.disk.append(.body(tag, body))
        self.bodyWaits.append(BodyWait(position: position, whose: .peer(peer, tag)))
        self.sync()
    }

    private func incomingPlace(_ number: UInt64, _ peer: Int) -> Int? {
        self.incoming.firstIndex { $0.from == peer && $0.number == number }
    }

    private func chunk(_ number: UInt64, _ ordinal: UInt32, _ peer: Int) {
        guard let at = self.incomingPlace(number, peer) else { return }
        guard case .append = self.incoming[at].holding.chunk(ordinal, blocks: 1) else {
            self.incoming.remove(at: at)
            return
        }
        self.incoming[at].chunks += 1
    }

    private func end(
        _ number: UInt64, _ tag: Tag, _ body: SimBody, _ chunks: UInt32, _ peer: Int
    ) {
        guard let at = self.incomingPlace(number, peer) else { return }
        let header = BodyHeader(
            stream: number, tag: tag, digest: body.digest, contentBytes: body.contentBytes,
            headBytes: 0, blockCount: chunks, chunkCount: self.incoming[at].chunks)
        let action = self.incoming[at].holding.end(
            header, blocks: 0, session: self.standing(of: tag, peer))
        self.incoming.remove(at: at)
        guard case .finish = action, !self.isLowOnDisk else {
            self.send(.bodyRefused(tag), .bulk, to: peer)
            return
        }
        self.confirm(tag, body, peer)
    }
}
