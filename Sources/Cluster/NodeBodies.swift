// NodeBodies.swift - bodies on their way to R disks, and to nodes that have no copy.
//
// Accepting  1 the body goes into the own journal and to the peers that BodyPlacement names, while
//            it comes. 2 Each tells when it has synced it. 3 With R of them the Enqueue is
//            proposed; fewer are never enough, however long it takes (invariant 1).
// Holding    a peer's body is confirmed when the own journal has synced it, never before (8).
// See        BodyPlacement, BodyHolding, NodeRepair (copies that are lost), BodyFetch (bodies for
//            nodes that have no copy), Docs/PeerProtocol.md.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Spool
import Storage

/// A body on its way to R disks.
struct Placing {
    /// What is known when its last byte has come.
    struct Ended {
        var tag: Tag
        var submission: Submission
        var enqueue: Enqueue
        /// The report that this message is; nil: it came from a client.
        var report: ReportID?
        var memory: MessageBody?
        var seal: BodySeal
        var since: Instant
    }
    var placement: BodyPlacement
    /// Nil: the client still sends.
    var ended: Ended?
    /// All blocks of a body of one block; nil: they are read from the own journal.
    var blocks: ByteBuffer?
    /// Streams that peers were sent, by their numbers.
    var streams: [(number: UInt64, holder: Holder)] = []
}

/// Names a placing: a body that is streamed has no tag before its end.
enum PlacingKey: Hashable {
    case stream(BodyStream)
    case whole(Tag)
}

/// What waits for the own journal.
struct BodyWait {
    enum Whose {
        case own(Tag)
        case peer(Holder, Tag)
        /// A copy that is made again.
        case copy(BodyCopy)
    }
    var position: UInt64
    var whose: Whose
}

/// A stream of a peer that has not ended.
struct IncomingStream {
    var holder: Holder
    var number: UInt64
    var holding = BodyHolding()
    var chunks: UInt32 = 0
    var stream: BodyStream
}

extension Node {
    /// How long a peer that let a body wait is asked behind others: a disk that hangs costs each
    /// client the patience of a placement once in that time, not with every other message.
    private static let slowFor = Duration.seconds(5)

    // MARK: Accepting.

    var ownHolder: Holder { self.holders[0] }

    /// R, as the applied state has it.
    var copies: Int { Int(max(1, self.machine.queue.settings.copies)) }

    private func placing(_ number: UInt64, since now: Instant) -> Placing {
        Placing(
            placement: BodyPlacement(
                copies: self.copies, own: self.ownHolder,
                candidates: BodyCandidates.order(
                    self.bodyHolders(now), own: self.ownHolder, stream: number)))
    }

    /// A body of more than one block begins: peers are sent what comes of it.
    func openPlacing(_ stream: BodyStream) {
        guard self.mesh != nil else { return }
        let now = SystemClock.bootTime()
        self.placings[.stream(stream)] = self.placing(stream.raw, since: now)
        self.change(.stream(stream)) { $0.start(now: now) }
    }

    /// Its client has gone, or was told no.
    func abandonPlacing(_ stream: BodyStream) {
        self.change(.stream(stream)) { $0.giveUp() }
        self.placings[.stream(stream)] = nil
    }

    /// The body is in the own journal up to `position`: sends it, or its end, to others.
    func place(
        _ submission: Submission, tag: Tag, _ enqueue: Enqueue, head: ByteBuffer,
        memory: MessageBody?, position: UInt64, report: ReportID? = nil
    ) {
        let now = SystemClock.bootTime()
        func ended(_ blockCount: Int) -> Placing.Ended {
            Placing.Ended(
                tag: tag, submission: submission, enqueue: enqueue, report: report, memory: memory,
                seal: BodySeal(
                    head: Array(buffer: head), blockCount: UInt32(blockCount),
                    contentBytes: submission.contentBytes, digest: enqueue.receipt.digest),
                since: now)
        }
        self.bodyWaits.append(BodyWait(position: position, whose: .own(tag)))
        self.flushSoon()
        switch submission.content {
        case .whole(let whole):
            var placing = self.placing(tag.sequence, since: now)
            placing.blocks = ByteBuffer(bytes: whole.blocks)
            placing.ended = ended(whole.blockCount)
            self.placings[.whole(tag)] = placing
            self.change(.whole(tag)) { $0.start(now: now) + $0.ended(now: now) }
        case .streamed(let streamed):
            let key = PlacingKey.stream(streamed.stream)
            if self.placings[key] == nil { self.openPlacing(streamed.stream) }
            let ended = ended(streamed.blockCount)
            self.placings[key]?.ended = ended
            self.placingKeys[tag] = key
            self.change(key) { placement in
                // A chunk is a block. All of them are there to be sent now.
                while placement.chunkCount < streamed.blockCount {
                    _ = placement.appended(now: now)
                }
                return placement.ended(now: now)
            }
            for sender in self.streamSenders where sender.key == key { sender.goOn() }
        }
    }

    private func key(_ tag: Tag) -> PlacingKey { self.placingKeys[tag] ?? .whole(tag) }

    private func carryOut(_ actions: [BodyPlacement.Action], _ key: PlacingKey) {
        for action in actions {
            switch action {
            case .stream(let holder, _): self.sendBody(key, to: holder)
            case .abandon(let holder):
                for sender in self.streamSenders where sender.key == key && sender.holder == holder
                {
                    sender.abandon()
                }
            case .short: continue
            case .placed(let holders): self.placed(key, holders)
            }
        }
    }

    private func change(
        _ key: PlacingKey, _ body: (inout BodyPlacement) -> [BodyPlacement.Action]
    ) {
        guard var placing = self.placings.removeValue(forKey: key) else { return }
        let actions = body(&placing.placement)
        self.placings[key] = placing
        self.carryOut(actions, key)
    }

    private func placed(_ key: PlacingKey, _ holders: [Holder]) {
        guard let ended = self.forget(key) else { unreachable("only what has ended is placed") }
        var enqueue = ended.enqueue
        enqueue.receipt.holders = holders
        if let report = ended.report {
            self.propose(ended.tag, .report(of: report, message: enqueue), .nothing)
        } else {
            self.propose(
                ended.tag, .enqueue(enqueue),
                .submission(ended.submission, ended.memory, ended.tag))
        }
    }

    @discardableResult
    private func forget(_ key: PlacingKey) -> Placing.Ended? {
        let ended = self.placings.removeValue(forKey: key)?.ended
        if let ended { self.placingKeys[ended.tag] = nil }
        return ended
    }

    private func sendBody(_ key: PlacingKey, to holder: Holder) {
        guard let placing = self.placings[key], let mesh else { return }
        switch key {
        case .whole(let tag):
            guard let blocks = placing.blocks, let ended = placing.ended else {
                unreachable("a whole body has its end")
            }
            let message = PeerMessage.bodyWhole(tag: tag, ended.seal, blocks: blocks)
            if !mesh.send(message, to: holder.node) { self.refused(key, holder) }
        case .stream(let stream):
            self.nextStream += 1
            self.placings[key]?.streams.append((number: self.nextStream, holder: holder))
            let sender = StreamSender(self, stream, to: holder, number: self.nextStream)
            self.streamSenders.append(sender)
            sender.goOn()
        }
    }

    /// A peer does not take it: never inside the machine's own step.
    func refused(_ key: PlacingKey, _ holder: Holder) {
        self.loop.execute {
            self.change(key) { $0.refused(holder, now: SystemClock.bootTime()) }
        }
    }

    /// A peer was sent so many chunks, which are in the own journal.
    func taken(_ key: PlacingKey, _ holder: Holder, chunks: UInt32) {
        let now = SystemClock.bootTime()
        self.change(key) { placement in
            while placement.chunkCount < chunks { _ = placement.appended(now: now) }
            return placement.taken(holder, chunks: chunks, now: now)
        }
    }

    /// Clients that wait too long for R copies: nothing was handed to a leader.
    private func giveUpPlacings(_ now: Instant) {
        for (key, placing) in self.placings {
            guard let ended = placing.ended,
                now - ended.since >= self.commitTimeout || self.machine.holdsOthersBack(ended.tag)
            else { continue }
            self.giveUp(key, ended)
        }
    }

    private func giveUp(_ key: PlacingKey, _ ended: Placing.Ended) {
        self.change(key) { $0.giveUp() }
        self.forget(key)
        self.machine.giveUp(ended.tag)
        if ended.report == nil { self.refuseVerdict(ended.submission, .noLeader) }
        // Tells that the tag is void: copies of the body may be on other disks. Nobody waits for a
        // report's verdict, but this session holds the lease of the debt.
        let reports = ended.report.map { [$0] } ?? []
        self.propose(.release(deliveries: [], reports: reports), .nothing)
    }

    /// Messages of clients that are whole and look for R disks.
    var placedOfClients: [(tag: Tag, submission: Submission)] {
        self.placings.values.compactMap { placing in
            placing.ended.flatMap { $0.report == nil ? ($0.tag, $0.submission) : nil }
        }
    }

    /// Its client was told no.
    ///
    /// - Returns: false: it is not on its way to disks now.
    func giveUpPlacing(_ tag: Tag) -> Bool {
        let key = self.key(tag)
        guard let ended = self.placings[key]?.ended else { return false }
        self.giveUp(key, ended)
        return true
    }

    /// The session is closed: none of its tags can make a body live any more. What still comes of
    /// clients will get a tag of the next one.
    func endPlacings() {
        for (key, placing) in self.placings {
            guard let ended = placing.ended else { continue }
            self.change(key) { $0.giveUp() }
            self.forget(key)
            self.refuseVerdict(ended.submission, .noLeader)
        }
    }

    // MARK: Journal and time.

    /// The own journal is durable up to `position`.
    func bodiesDurable(upTo position: UInt64) {
        while let first = self.bodyWaits.first, first.position <= position {
            _ = self.bodyWaits.popFirst()
            switch first.whose {
            case .own(let tag): self.change(self.key(tag)) { $0.confirmed(self.ownHolder) }
            case .peer(let holder, let tag):
                _ = self.mesh?.send(.bodyStored(tag: tag), to: holder.node)
            case .copy(let copy): self.copyStored(copy)
            }
        }
    }

    func tickBodies(_ now: Instant) {
        for (key, placing) in self.placings {
            if let wake = placing.placement.wake, wake <= now {
                self.change(key) { $0.tick(now: now) }
                for holder in self.placings[key]?.placement.slow ?? [] {
                    self.directory.isSlow(holder, until: now + Self.slowFor)
                }
            }
        }
        self.giveUpPlacings(now)
        self.tickFetches(now)
        self.resumeLinks()
        for copy in self.repairWork.copies { copy.goOn() }
    }

    func holderJoined(_ holder: Holder) {
        guard self.machine.queue.members.contains(holder) else { return }
        let now = SystemClock.bootTime()
        for key in self.placings.keys { self.change(key) { $0.joined(holder, now: now) } }
    }

    /// What a peer says of itself once a second. One that has space again is asked again.
    func stands(_ node: NodeName, _ standing: Standing) {
        self.compare(node, standing.state)
        let refused = self.directory[node]?.standing?.refusesBodies ?? false
        let drained = self.directory[node]?.standing?.isDraining ?? false
        self.directory.stands(node, standing, wall: self.wallClock())
        self.compareClocks()
        if drained, !standing.isDraining { self.dispatch() }
        guard refused, !standing.refusesBodies, let line = self.directory[node], line.hasBulk else {
            return
        }
        self.holderJoined(line.holder)
    }

    /// It is no member any more: what it has confirmed counts for nothing.
    func holderRemoved(_ holder: Holder) {
        let now = SystemClock.bootTime()
        for key in self.placings.keys {
            self.change(key) { $0.lost(holder, .incarnation, now: now) }
        }
    }

    func holderLost(_ holder: Holder) {
        let now = SystemClock.bootTime()
        for sender in self.streamSenders where sender.holder == holder { sender.end() }
        for key in self.placings.keys { self.change(key) { $0.lost(holder, .link, now: now) } }
        for stream in self.incoming where stream.holder == holder {
            self.storage.abandon(stream.stream)
        }
        self.incoming.removeAll { $0.holder == holder }
        for sender in self.senders where sender.holder == holder { sender.end() }
        self.fetchesLost(holder)
    }

    private func streamRefused(_ number: UInt64, _ holder: Holder) {
        for sender in self.streamSenders where sender.number == number { sender.end() }
        let key = self.placings.first { _, placing in
            placing.streams.contains { $0.number == number && $0.holder == holder }
        }?.key
        if let key { self.refused(key, holder) }
    }

    // MARK: Messages.

    func receiveBody(_ message: PeerMessage, from holder: Holder) {
        switch message {
        case .bodyStored(let tag): self.change(self.key(tag)) { $0.confirmed(holder) }
        case .bodyRefused(.tag(let tag), _): self.refused(self.key(tag), holder)
        case .bodyRefused(.stream(let number), _): self.streamRefused(number, holder)
        case .bodyWhole(let tag, let seal, let blocks): self.hold(tag, seal, blocks, holder)
        case .bodyOpen(let number): self.openIncoming(number, holder)
        case .bodyChunk(let number, let ordinal, let blocks):
            self.chunk(number, ordinal, blocks, holder)
        case .bodyEnd(let number, let tag, let seal): self.end(number, tag, seal, holder)
        case .bodyAbandoned(let number): self.dropIncoming(number, holder)
        case .fetchBody, .fetchMore, .fetchEnded, .fetchedHead, .fetchedPiece, .fetchFailed:
            self.receiveFetch(message, from: holder)
        case .raft, .forward, .forwardRefused, .renew, .renewed,
            .founding, .standing, .snapshotOffer, .snapshotPiece, .snapshotDone,
            .snapshotAnswer:
            return
        }
    }
}
