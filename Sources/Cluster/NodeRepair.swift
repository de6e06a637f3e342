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
// Decides   nothing: Machine/Repairs does, for this driver and the node simulator's.
// Limits    `BodyCopy.window` pieces of one copy under way, and none while the journal has too many
//           bytes to write.
// Durable   nothing but the journal: a start makes the plan again of the state.

import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import Spool
import Storage

/// What the driver has beside the decisions.
struct RepairWork {
    var isPlanned = false
    /// Copies that are coming.
    var copies: [BodyCopy] = []
    /// Own copies of messages that lie under other tags, by message.
    var copyTags: [Tag: Tag] = [:]
    var knowsCopies = false
}

/// One copy on its way to the own journal. Confined to the node's loop.
final class BodyCopy {
    /// Pieces that may be under way.
    static let window: UInt32 = 8

    private let node: Node
    let copy: Repairs.Copy
    /// Of the `replicaAdded` to be; nil: all of the body has not come yet.
    private(set) var tag: Tag?
    private var fetch: BodyFetch?
    private var seal: BodySeal?
    private var stream: BodyStream?
    private var blockCount = 0
    /// Pieces that are asked for when the journal takes more.
    private var owed: UInt32 = 0

    init(_ node: Node, _ copy: Repairs.Copy) {
        self.node = node
        self.copy = copy
    }

    /// False: the holder cannot be asked.
    func begin(from holder: Holder) -> Bool {
        self.fetch = self.node.fetch(self.copy.message, of: holder, pieces: Self.window) {
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
        guard let tag = self.node.tag(for: self) else { return self.drop() }
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
    /// Messages that one step of a census looks at.
    private static let censusSlice = 1000

    // MARK: Planning.

    /// The members as this node sees them now.
    private var bodyMembers: [BodyPeer] {
        self.machine.bodyMembers(
            own: self.ownHolder, isLowOnDisk: self.storage.level != .normal,
            isDraining: self.phase != .ready, peers: self.directory.bodyPeers)
    }

    /// Once a second, and soon after anything that may have changed the plan.
    func planRepairsSoon() {
        guard self.mesh != nil, !self.repairWork.isPlanned else { return }
        self.repairWork.isPlanned = true
        self.loop.execute { self.planRepairs() }
    }

    func planRepairs() {
        self.repairWork.isPlanned = false
        guard self.mesh != nil, self.phase == .ready, self.machine.session != .none else { return }
        self.knowCopies()
        self.takeCensus()
        self.tellLosses()
        self.carryOut(
            self.repairs.plan(
                self.machine, members: self.bodyMembers, now: SystemClock.bootTime()))
    }

    private func carryOut(_ actions: [Repairs.Action]) {
        for action in actions {
            switch action {
            case .copy(let copy, let holder): self.copy(copy, from: holder)
            case .giveUp(let message):
                self.sayLost(message, "no copy is left")
                self.proposeAsLeader(Command(.bodyLost(message)))
            }
        }
    }

    // MARK: Copying.

    private func copy(_ which: Repairs.Copy, from holder: Holder) {
        let copy = BodyCopy(self, which)
        self.repairWork.copies.append(copy)
        // Never inside the planner's own step.
        if !copy.begin(from: holder) { self.loop.execute { self.copyFailed(copy) } }
    }

    private func forget(_ copy: BodyCopy) { self.repairWork.copies.removeAll { $0 === copy } }

    /// That holder has not given it: the next one may.
    func copyFailed(_ copy: BodyCopy) {
        self.forget(copy)
        self.carryOut(
            self.repairs.failed(
                copy.copy, self.machine, members: self.bodyMembers, now: SystemClock.bootTime()))
    }

    /// All of it has come.
    ///
    /// - Returns: under which tag it ends; nil: nobody wants it any more.
    func tag(for copy: BodyCopy) -> Tag? {
        switch self.repairs.whole(copy.copy, &self.machine) {
        case .store(let tag): return tag
        case .ignored: return nil
        case .unwanted:
            self.forget(copy)
            self.planRepairsSoon()
            return nil
        }
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
            tag, self.repairs.addition(of: copy.copy),
            .answer { result in
                if self.repairs.added(copy.copy, result) {
                    self.metrics.bodyRepaired()
                    self.repairWork.copyTags[copy.copy.message] = tag
                }
                self.forget(copy)
                self.planRepairsSoon()
            })
    }

    /// The own session is closed: copies under its tags are garbage from now on.
    func endRepairs() {
        let copies = self.repairWork.copies
        self.repairWork.copies = []
        for copy in copies { copy.end() }
        self.repairs.end()
    }

    /// What a start finds: copies of earlier starts.
    private func knowCopies() {
        guard !self.repairWork.knowsCopies else { return }
        self.repairWork.knowsCopies = true
        for (message, copy) in self.machine.queue.laterCopies(on: self.ownHolder) {
            self.repairWork.copyTags[message] = copy
        }
    }

    /// The message has ended: an old file with its copy is worth a look.
    func hintCopyEnded(_ message: Tag) {
        guard !self.repairWork.copyTags.isEmpty,
            let tag = self.repairWork.copyTags.removeValue(forKey: message)
        else { return }
        self.storage.hintEnded(tag)
    }

    // MARK: Losing.

    /// Bodies of the own disk, by their tags there, that are no copies any more.
    func loseCopies(_ tags: [Tag]) {
        guard self.mesh != nil else { return }
        for _ in 0..<self.repairs.lose(tags) { self.metrics.copyLost() }
        if self.phase == .ready { self.tellLosses() }
    }

    /// What a start has found, once: the bodies themselves are looked for when the state is there.
    func foundDamage(_ damage: [Damage]) {
        var tags: [Tag] = []
        self.mayLackNotes = damage.contains { $0.mayCostNotes }
        for found in damage {
            switch found.kind {
            case .body(let tag): tags.append(tag)
            case .unknownBodies: self.repairs.beginCensus()
            case .tornTail, .note, .batchHeader: continue
            }
        }
        self.loseCopies(tags)
    }

    private func tellLosses() {
        let tags = self.repairs.losses(self.machine)
        guard !tags.isEmpty else { return }
        self.logger.error(
            "copies of bodies on this node are lost; others have them or make them again",
            metadata: ["count": "\(tags.count)", "first": "\(tags[0].text)"])
        self.propose(
            .replicasLost(self.ownHolder, tags),
            .answer { result in
                guard let told = self.repairs.told(tags, result) else { return }
                for tag in told { self.storage.hintEnded(tag) }
                self.planRepairsSoon()
            })
    }

    /// Looks a slice of messages up on the own disk.
    private func takeCensus() {
        guard self.repairs.hasCensus else { return }
        let tags = self.repairs.nextOfCensus(self.machine, messages: Self.censusSlice)
        self.loseCopies(self.storage.lacking(tags))
        if self.repairs.hasCensus { self.planRepairsSoon() }
    }
}

extension Damage {
    /// Whether what was noted of attempts may be among what is lost. A disk that has lost one thing
    /// is not trusted to have kept the other.
    fileprivate var mayCostNotes: Bool {
        switch self.kind {
        case .tornTail, .body, .unknownBodies, .note: true
        case .batchHeader: false
        }
    }
}
