// NodeBodies.swift - bodies on their way to R disks, and to nodes that have no copy.
//
// Accepting  1 the body goes into the own journal and to the peers that BodyPlacement names, at
//            once. 2 Each tells when it has synced it. 3 With R of them the Enqueue is proposed;
//            fewer are never enough, however long it takes (invariant 1).
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

/// A message whose body is not on R disks yet.
struct Placing {
    var placement: BodyPlacement
    var submission: Submission
    var enqueue: Enqueue
    /// The report that this message is; nil: it came from a client.
    var report: ReportID?
    var memory: MessageBody?
    var seal: BodySeal
    /// All blocks of a body of one block; nil: they are read from the own journal.
    var blocks: ByteBuffer?
    var since: Instant
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
    // MARK: Accepting.

    var ownHolder: Holder { self.holders[0] }

    /// R, as the applied state has it.
    var copies: Int { Int(max(1, self.machine.queue.settings.copies)) }

    /// The body is in the own journal up to `position`: sends it to others.
    func place(
        _ submission: Submission, tag: Tag, _ enqueue: Enqueue, head: ByteBuffer,
        memory: MessageBody?, position: UInt64, report: ReportID? = nil
    ) {
        let now = SystemClock.bootTime()
        let blocks: ByteBuffer?
        let blockCount: Int
        switch submission.content {
        case .whole(let whole):
            blocks = ByteBuffer(bytes: whole.blocks)
            blockCount = whole.blockCount
        case .streamed(let streamed):
            blocks = nil
            blockCount = streamed.blockCount
        }
        var placing = Placing(
            placement: BodyPlacement(
                copies: self.copies, own: self.ownHolder,
                candidates: BodyCandidates.order(
                    self.directory.bodyPeers, own: self.ownHolder, stream: tag.sequence)),
            submission: submission, enqueue: enqueue, report: report, memory: memory,
            seal: BodySeal(
                head: Array(buffer: head), blockCount: UInt32(blockCount),
                contentBytes: submission.contentBytes, digest: enqueue.receipt.digest),
            blocks: blocks, since: now)
        let actions =
            placing.placement.start(now: now) + placing.placement.ended(now: now)
        self.placings[tag] = placing
        self.bodyWaits.append(BodyWait(position: position, whose: .own(tag)))
        self.storage.flush()
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

    private func change(_ tag: Tag, _ body: (inout BodyPlacement) -> [BodyPlacement.Action]) {
        guard var placing = self.placings.removeValue(forKey: tag) else { return }
        let actions = body(&placing.placement)
        self.placings[tag] = placing
        self.carryOut(actions, tag)
    }

    private func placed(_ tag: Tag, _ holders: [Holder]) {
        guard var placing = self.placings.removeValue(forKey: tag) else { return }
        placing.enqueue.receipt.holders = holders
        if let report = placing.report {
            self.propose(tag, .report(of: report, message: placing.enqueue), .nothing)
        } else {
            self.propose(
                tag, .enqueue(placing.enqueue),
                .submission(placing.submission, placing.memory, tag))
        }
    }

    private func sendBody(_ tag: Tag, to holder: Holder) {
        guard let placing = self.placings[tag], let mesh else { return }
        if let blocks = placing.blocks {
            let message = PeerMessage.bodyWhole(tag: tag, placing.seal, blocks: blocks)
            if !mesh.send(message, to: holder.node) { self.refused(tag, holder) }
            return
        }
        self.nextStream += 1
        let sender = BodySender(
            node: self, tag: tag, to: holder, way: .stream(self.nextStream))
        self.senders.append(sender)
        sender.begin()
    }

    /// A peer does not take it: never inside the machine's own step.
    private func refused(_ tag: Tag, _ holder: Holder) {
        self.loop.execute {
            self.change(tag) { $0.refused(holder, now: SystemClock.bootTime()) }
        }
    }

    /// Clients that wait too long for R copies: nothing was handed to a leader.
    private func giveUpPlacings(_ now: Instant) {
        for (tag, placing) in self.placings where now - placing.since >= self.commitTimeout {
            self.placings[tag] = nil
            self.machine.giveUp(tag)
            self.refuseVerdict(placing.submission, .noLeader)
        }
    }

    /// The session is closed: none of its tags can make a body live any more.
    func endPlacings() {
        for placing in self.placings.values { self.refuseVerdict(placing.submission, .noLeader) }
        self.placings.removeAll()
    }

    // MARK: Journal and time.

    /// The own journal is durable up to `position`.
    func bodiesDurable(upTo position: UInt64) {
        while let first = self.bodyWaits.first, first.position <= position {
            _ = self.bodyWaits.popFirst()
            switch first.whose {
            case .own(let tag): self.change(tag) { $0.confirmed(self.ownHolder) }
            case .peer(let holder, let tag):
                _ = self.mesh?.send(.bodyStored(tag: tag), to: holder.node)
            case .copy(let copy): self.copyStored(copy)
            }
        }
    }

    func tickBodies(_ now: Instant) {
        for (tag, placing) in self.placings {
            if let wake = placing.placement.wake, wake <= now {
                self.change(tag) { $0.tick(now: now) }
            }
        }
        self.giveUpPlacings(now)
        self.tickFetches(now)
        for copy in self.repairs.copies { copy.goOn() }
    }

    func holderJoined(_ holder: Holder) {
        let now = SystemClock.bootTime()
        for tag in self.placings.keys { self.change(tag) { $0.joined(holder, now: now) } }
    }

    func holderLost(_ holder: Holder) {
        let now = SystemClock.bootTime()
        for tag in self.placings.keys { self.change(tag) { $0.lost(holder, .link, now: now) } }
        for stream in self.incoming where stream.holder == holder {
            self.storage.abandon(stream.stream)
        }
        self.incoming.removeAll { $0.holder == holder }
        for sender in self.senders where sender.holder == holder { sender.end() }
        self.fetchesLost(holder)
    }

    // MARK: Messages.

    func receiveBody(_ message: PeerMessage, from holder: Holder) {
        switch message {
        case .bodyStored(let tag): self.change(tag) { $0.confirmed(holder) }
        case .bodyRefused(.tag(let tag), _): self.refused(tag, holder)
        case .bodyRefused(.stream(let number), _):
            for sender in self.senders where sender.isStream(number) {
                sender.end()
                self.refused(sender.tag, holder)
            }
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
