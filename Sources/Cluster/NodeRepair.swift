// NodeRepair.swift - copies that are missing are made again; copies that are gone are told.
//
// Copying   1 RepairPlanner names a message and a holder. 2 The body comes from the holder, piece
//           by piece, into the own journal, its digest checked. 3 With the last piece a tag of the
//           own session is drawn, under which it lies: a slow holder keeps no number back, behind
//           which results would have to be remembered (ResultWindow). 4 The journal has synced it.
//           5 Only then `replicaAdded` is proposed as the command of that very tag: until its fate
//           is known the tag is not resolved, and the copy no garbage (Docs/Decisions/0014).
// Losing    what is proven to be no copy any more is taken out of the placement (`replicasLost`);
//           told until the log has it.
// Limits    RepairPlanner's; `window` pieces of one copy under way, and none while the journal has
//           too many bytes to write.
// Durable   nothing but the journal: a start makes the plan again of the state.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Spool
import Storage

/// What a node knows of copies that are missing.
struct Repairs {
    var planner: RepairPlanner
    var isPlanned = false
    /// Copies that are coming, one a message.
    var copies: [BodyCopy] = []
    /// Bodies of the own disk that are no copies any more, by their tags there: to be told, in
    /// the order in which they were found.
    var lost = RingBuffer<Tag>()
    var knownLost: Set<Tag> = []
    /// Of these, so many of the first are in a command that has no result.
    var lostUnderWay = 0
    /// Own copies of messages that lie under other tags, by message.
    var copyTags: [Tag: Tag] = [:]
    var knowsCopies = false
    /// Messages that this leader has given up, and when it has said so.
    var givenUp: [Tag: Instant] = [:]
    /// All own bodies are compared with the state: damage may have hit any of them.
    var census: QueueCursor?

    init(own: Holder) { self.planner = RepairPlanner(own: own) }
}

/// One copy on its way to the own journal. Confined to the node's loop.
final class BodyCopy {
    /// Pieces that may be under way.
    static let window: UInt32 = 8

    private let node: Node
    let message: Tag
    /// Of the `replicaAdded` to be; nil: all of the body has not come yet.
    private(set) var tag: Tag?
    private var fetch: BodyFetch?
    private var seal: BodySeal?
    private var stream: BodyStream?
    private var blockCount = 0
    /// Pieces that are asked for when the journal takes more.
    private var owed: UInt32 = 0

    init(_ node: Node, _ message: Tag) {
        self.node = node
        self.message = message
    }

    /// False: the holder cannot be asked.
    func begin(from holder: Holder) -> Bool {
        self.fetch = self.node.fetch(self.message, of: holder, pieces: Self.window) {
            self.took($0)
        }
        return self.fetch != nil
    }

    /// The session is closed: no command of it makes the copy live.
    func end() {
        self.fetch?.end()
        self.fetch = nil
        self.drop()
    }

    private func drop() {
        if let stream { self.node.storage.abandon(stream) }
        self.stream = nil
    }

    /// The journal may take more.
    func goOn() {
        guard self.owed > 0, self.node.storage.mayTakeBytes else { return }
        self.fetch?.more(self.owed)
        self.owed = 0
    }

    private func took(_ news: BodyFetch.News) {
        switch news {
        case .head(let seal): self.seal = seal
        case .failed:
            self.fetch = nil
            self.drop()
            self.node.copyFailed(self)
        case .piece(let piece): self.came(piece)
        }
    }

    private func came(_ piece: FetchedPiece) {
        guard let seal else { unreachable("a piece comes behind its head") }
        self.blockCount += Int(piece.blockCount)
        guard !piece.isLast else { return self.cameWhole(piece, seal) }
        self.append(piece)
        self.owed += 1
        self.goOn()
    }

    private func append(_ piece: FetchedPiece) {
        let stream = self.stream ?? self.node.storage.openStream()
        self.stream = stream
        guard piece.blockCount > 0 else { return }
        self.node.storage.appendChunk(stream, blocks: Array(buffer: piece.blocks))
    }

    private func cameWhole(_ piece: FetchedPiece, _ seal: BodySeal) {
        self.fetch = nil
        guard self.node.isWanted(self), let tag = self.node.machine.drawTag() else {
            return self.node.copyUnwanted(self)
        }
        self.tag = tag
        let position: UInt64
        if self.stream == nil {
            position = piece.blocks.withUnsafeReadableBytes { blocks in
                seal.head.withUnsafeBytes { head in
                    self.node.storage.appendBody(
                        tag: tag, head: head, blocks: blocks, blockCount: self.blockCount,
                        contentBytes: seal.contentBytes, digest: seal.digest)
                }
            }
        } else {
            self.append(piece)
            position = self.end(as: tag, seal)
        }
        self.node.copyAppended(self, at: position)
    }

    private func end(as tag: Tag, _ seal: BodySeal) -> UInt64 {
        guard let stream = self.stream.take() else { unreachable("a stream ends once") }
        return self.node.storage.endStream(
            stream, tag: tag, head: seal.head, blockCount: self.blockCount,
            contentBytes: seal.contentBytes, digest: seal.digest)
    }
}

extension Node {
    /// Messages that the planner looks at in one pass, fewest copies first.
    private static let shortagesMax = RepairPlanner.waitingMax
    /// A leader says again that a message is lost: its first word may not have come to anything.
    private static let giveUpAgainAfter = Duration.seconds(30)
    /// Messages that one step of a census looks at.
    private static let censusSlice = 1000

    // MARK: Planning.

    /// The members as this node sees them now.
    private var bodyMembers: [BodyPeer] {
        let peers = self.directory.bodyPeers
        let leaving = self.machine.queue.leavingHolders
        return self.machine.queue.members.map { member in
            let isDraining = self.machine.queue.isDraining(member.node)
            if member == self.ownHolder {
                return BodyPeer(
                    holder: member, isUp: true,
                    isLowOnDisk: self.storage.level != .normal || leaving.contains(member),
                    isDraining: isDraining || self.phase != .ready)
            }
            var peer = peers.first { $0.holder == member } ?? BodyPeer(holder: member, isUp: false)
            peer.isDraining = peer.isDraining || isDraining
            // It gives copies, and is to make none.
            peer.isLowOnDisk = peer.isLowOnDisk || leaving.contains(member)
            return peer
        }
    }

    /// Copies went with this command, or are about to go.
    func planRepairs(after command: Command) {
        switch command.action {
        case .replicasLost, .removeNode, .wish: self.planRepairsSoon()
        case .openSession, .closeSession, .expireSession, .enqueue, .outcome, .release, .grant,
            .suspend, .clearSuspension, .cancel, .report, .waiveReport, .admin, .expire, .bodyLost,
            .tick, .settings, .drain, .replicaAdded, .admit:
            return
        }
    }

    /// Once a second, and soon after anything that may have changed the plan.
    func planRepairsSoon() {
        guard self.mesh != nil, !self.repairs.isPlanned else { return }
        self.repairs.isPlanned = true
        self.loop.execute { self.planRepairs() }
    }

    func planRepairs() {
        self.repairs.isPlanned = false
        guard self.mesh != nil, self.phase == .ready, self.machine.session != .none else { return }
        self.knowCopies()
        self.takeCensus()
        self.tellLosses()
        let now = SystemClock.bootTime()
        let members = self.bodyMembers
        let absent = Self.union(
            self.repairs.planner.absent(members, now: now), self.machine.queue.leavingHolders)
        let queue = self.machine.queue.underReplicated(
            without: absent, from: members.filter(\.isUp).map(\.holder), limit: Self.shortagesMax)
        self.repairs.givenUp = self.repairs.givenUp.filter {
            now - $0.value < Self.giveUpAgainAfter
        }
        let actions = self.repairs.planner.plan(
            queue, members: members, absent: absent, copies: self.copies,
            isLeader: self.machine.isReadyLeader, now: now)
        self.carryOut(actions, now)
    }

    private static func union(_ a: [Holder], _ b: [Holder]) -> [Holder] {
        a + b.filter { !a.contains($0) }
    }

    private func carryOut(_ actions: [RepairPlanner.Action], _ now: Instant) {
        for action in actions {
            switch action {
            case .copy(let message, let holder): self.copy(message, from: holder)
            case .giveUp(let message): self.giveUp(message, now)
            }
        }
    }

    /// No copy is left and none has come: the recipients end, the sender is told.
    private func giveUp(_ message: Tag, _ now: Instant) {
        guard self.machine.queue.hasPending(message), self.repairs.givenUp[message] == nil else {
            return
        }
        self.repairs.givenUp[message] = now
        self.sayLost(message, "no copy is left")
        self.proposeAsLeader(Command(.bodyLost(message)))
    }

    // MARK: Copying.

    private func copy(_ message: Tag, from holder: Holder) {
        guard self.machine.session != .none else {
            return self.repairs.planner.settled(message)
        }
        let copy = BodyCopy(self, message)
        self.repairs.copies.append(copy)
        // Never inside the planner's own step.
        if !copy.begin(from: holder) { self.loop.execute { self.copyFailed(copy) } }
    }

    private func forget(_ copy: BodyCopy) { self.repairs.copies.removeAll { $0 === copy } }

    /// That holder has not given it: the next one may.
    func copyFailed(_ copy: BodyCopy) {
        guard self.repairs.copies.contains(where: { $0 === copy }) else { return }
        self.forget(copy)
        let now = SystemClock.bootTime()
        let holders = self.isWanted(copy) ? self.machine.queue.holders(of: copy.message) : []
        let actions = self.repairs.planner.failed(
            copy.message, holders: holders ?? [], members: self.bodyMembers, now: now)
        self.carryOut(actions, now)
    }

    /// The message is there, and has no copy here.
    func isWanted(_ copy: BodyCopy) -> Bool {
        guard let holders = self.machine.queue.holders(of: copy.message) else { return false }
        return !holders.contains(self.ownHolder)
    }

    /// All of it came, and nobody wants it any more.
    func copyUnwanted(_ copy: BodyCopy) {
        copy.end()
        self.settled(copy)
    }

    /// The copy is in the journal, up to `position`.
    func copyAppended(_ copy: BodyCopy, at position: UInt64) {
        self.bodyWaits.append(BodyWait(position: position, whose: .copy(copy)))
        self.flushSoon()
    }

    /// The journal has synced the copy.
    func copyStored(_ copy: BodyCopy) {
        guard let tag = copy.tag else { unreachable("what is stored has its tag") }
        self.propose(
            tag, .replicaAdded(copy.message, self.ownHolder),
            .answer { result in
                if case .done = result {
                    self.metrics.bodyRepaired()
                    self.repairs.copyTags[copy.message] = tag
                }
                self.settled(copy)
            })
    }

    private func settled(_ copy: BodyCopy) {
        self.forget(copy)
        self.repairs.planner.settled(copy.message)
        self.planRepairsSoon()
    }

    /// The own session is closed: copies under its tags are garbage from now on.
    func endRepairs() {
        let copies = self.repairs.copies
        self.repairs.copies = []
        for copy in copies {
            copy.end()
            self.repairs.planner.settled(copy.message)
        }
        self.repairs.lostUnderWay = 0
    }

    /// What a start finds: copies of earlier starts.
    private func knowCopies() {
        guard !self.repairs.knowsCopies else { return }
        self.repairs.knowsCopies = true
        for (message, copy) in self.machine.queue.laterCopies(on: self.ownHolder) {
            self.repairs.copyTags[message] = copy
        }
    }

    /// The message has ended: an old file with its copy is worth a look.
    func hintCopyEnded(_ message: Tag) {
        guard !self.repairs.copyTags.isEmpty,
            let tag = self.repairs.copyTags.removeValue(forKey: message)
        else { return }
        self.storage.hintEnded(tag)
    }

    // MARK: Losing.

    /// Bodies of the own disk, by their tags there, that are no copies any more.
    func loseCopies(_ tags: [Tag]) {
        guard self.mesh != nil else { return }
        for tag in tags where self.repairs.knownLost.insert(tag).inserted {
            self.repairs.lost.append(tag)
            self.metrics.copyLost()
        }
        if self.phase == .ready { self.tellLosses() }
    }

    /// What a start has found, once: the bodies themselves are looked for when the state is there.
    func foundDamage(_ damage: [Damage]) {
        var tags: [Tag] = []
        for found in damage {
            switch found.kind {
            case .body(let tag): tags.append(tag)
            case .unknownBodies: self.repairs.census = QueueCursor()
            case .tornTail, .note, .batchHeader: continue
            }
        }
        self.loseCopies(tags)
    }

    /// Everything before the own session has been applied: what is told now is true of all of it.
    private func tellLosses() {
        guard !self.repairs.lost.isEmpty, self.repairs.lostUnderWay == 0,
            self.machine.session != .none
        else { return }
        let count = min(self.repairs.lost.count, Command.replicasLostMax)
        let tags = (0..<count).map { self.repairs.lost[$0] }
        self.repairs.lostUnderWay = tags.count
        self.logger.error(
            "copies of bodies on this node are lost; others have them or make them again",
            metadata: ["count": "\(tags.count)", "first": "\(tags[0].text)"])
        self.propose(
            .replicasLost(self.ownHolder, tags),
            .answer { result in
                guard self.repairs.lostUnderWay > 0 else { return }
                self.repairs.lostUnderWay = 0
                if case .done = result {
                    for tag in tags {
                        _ = self.repairs.lost.popFirst()
                        self.repairs.knownLost.remove(tag)
                        // What can be read of it is garbage now.
                        self.storage.hintEnded(tag)
                    }
                }
                self.planRepairsSoon()
            })
    }

    /// Looks a slice of messages up on the own disk.
    private func takeCensus() {
        guard var cursor = self.repairs.census else { return }
        let tags = self.machine.queue.bodyTags(
            on: self.ownHolder, cursor: &cursor, steps: Self.censusSlice)
        self.repairs.census = cursor.isDone ? nil : cursor
        self.loseCopies(self.storage.lacking(tags))
        if !cursor.isDone { self.planRepairsSoon() }
    }
}
