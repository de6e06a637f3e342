// NodeStart.swift - from a data directory to a node that takes mail, and back.
//
// Start     1 storage finds what is there. 2 The queue is made of the newest checkpoint; the log
//           behind it is read. 3 The node stands for election; its vote and the first entry of its
//           term are stored. With that entry all before it are committed, and applied. 4 The
//           session is opened as replayed: leases of the one before are free, and count as
//           possible duplicates when they are granted again; after damage, which may have cost
//           notes of attempts, they wait for the hold-down first. 5 Ready.
// Stop      new mail is refused, deliveries end, the session is closed (its leases need no
//           hold-down) unless one has no known end, a checkpoint is made, the journal is closed
//           (Docs/Decisions/0025).

package import Logging
import MailQueue
package import NIOCore
import Networking
package import OpenSSL
package import Primitives
import Raft
package import Settings
import Spool
package import Storage
import Synchronization

/// Why a node cannot start; the operator reads `remedy`.
package enum NodeStartError: Error {
    case storage(StorageError)
    /// What storage gave back whole is not what the queue wrote: a fault of ours.
    case state(CodecError)
    /// The cluster's certificates or its port; the text says what to do.
    case peers(String)

    package var remedy: String {
        switch self {
        case .storage(let error): error.remedy
        case .state(let error):
            "The queue's state on disk cannot be read (\(error)). Keep the data directory and"
                + " report this; start with an empty one."
        case .peers(let text): text
        }
    }
}

/// A started node and its doors.
package struct RunningNode: Sendable {
    package let intake: Intake
    package let desk: LeaseDesk
    package let view: ClusterView
    let node: Node
}

extension RunningNode {
    /// Opens the data directory and brings the queue back. Blocks: not on an event loop.
    ///
    /// - Parameters:
    ///   - loops: of all sessions; the first carries the node.
    ///   - wallClock: the machine's; a test has its own.
    ///   - fault: the disk has failed; nothing is acknowledged any more, end the process with 70.
    package static func open(
        _ settings: Settings, loops: any EventLoopGroup, logger: Logger,
        options: StorageOptions = StorageOptions(),
        wallClock: @escaping WallClock = { SystemClock.wallTime() },
        fault: @escaping @Sendable (StorageError) -> Void
    ) throws(NodeStartError) -> RunningNode {
        let storage: Storage
        let recovery: Recovery
        do {
            (storage, recovery) = try Storage.open(
                directory: settings.node.data, node: settings.node.name,
                incarnation: Incarnation(raw: Secrets.randomWord() | 1),
                cluster: ClusterID(new: settings, random: Secrets.randomWord()), options: options)
        } catch {
            throw .storage(error)
        }
        let restored: Restored
        do {
            restored = try Restored(recovery)
        } catch let error as CodecError {
            throw .state(error)
        } catch let error as StorageError {
            throw .storage(error)
        } catch {
            unreachable("an error of another kind: \(error)")
        }
        let facts = restored.facts
        let node = Node(
            loop: loops.next(), storage: storage, identity: recovery.identity, settings: settings,
            clusterSettings: ClusterSettings(settings),
            machine: restored.machine(recovery, wall: wallClock()), logger: logger,
            wallClock: wallClock)
        for fact in facts { node.machine.resume(fact: fact) }
        if settings.isSeveral, let cluster = settings.cluster {
            do {
                try node.join(cluster, recovery)
            } catch {
                throw .peers("\(error)")
            }
        }
        for damage in recovery.damage {
            logger.warning(
                "damage found at start",
                metadata: [
                    "file": "\(damage.file)", "offset": "\(damage.offset)",
                    "kind": "\(damage.kind)",
                ])
        }
        node.foundDamage(recovery.damage)
        node.fault = fault
        storage.start(node.storageEvents(fault: fault))
        return RunningNode(
            intake: Intake(node: node, loops: loops), desk: LeaseDesk(node: node),
            view: ClusterView(node: node, settings: settings), node: node)
    }
}

extension ClusterID {
    /// Of a directory that is made now: several seeds found their cluster together (`Founding`), a
    /// node without others is one by itself.
    init(new settings: Settings, random: UInt64) {
        self.init(raw: settings.isSeveral ? 0 : random | 1)
    }
}

extension Recovery {
    /// The configuration in front of the log's first entry: of no members, if there is no cluster.
    var firstConfiguration: Configuration {
        if let founding = self.founding { return founding.configuration }
        let isAlone = self.identity.cluster.raw != 0
        return Configuration(voters: isAlone ? [self.identity.incarnation] : [])
    }

    /// What the founding of a cluster, or the way into one, starts from.
    ///
    /// - Parameter random: drawn in this start.
    func founding(random: UInt64) -> Founding.Own {
        Founding.Own(
            name: self.identity.node, incarnation: self.identity.incarnation,
            boot: self.identity.boot, cluster: self.identity.cluster, record: self.founding,
            hasLog: self.log.base != .zero || !self.log.entries.isEmpty,
            draw: ClusterID(raw: random | 1))
    }
}

extension SeedList {
    init(_ cluster: Settings.Cluster) {
        self.init(
            cluster.seeds.map { Seed(name: $0.name, address: $0.endpoint.description) })
    }
}

/// What the last process left.
private struct Restored: ~Copyable {
    var queue: MailQueue
    var log: Start
    /// The commands of the log's entries.
    var known: [LogEntry]
    /// What was noted of attempts.
    var facts: [Command]
    /// Of the newest entry or checkpoint; nil: there is none.
    var newest: NodeMeta?

    init(_ recovery: Recovery) throws {
        let queue = try Self.checkpointed(recovery)
        var newest = try recovery.checkpoint.map { try NodeMeta.decode($0.meta).0 }
        var log = recovery.log
        log.configuration = newest?.configuration ?? recovery.firstConfiguration
        var known: [LogEntry] = []
        for entry in log.entries where entry.kind == .normal && !entry.data.isEmpty {
            do {
                known.append(
                    try LogEntry(index: entry.index, term: entry.term, bytes: entry.data))
            } catch {
                // Its checksum is right: a later version has written it.
                throw StorageError.unknownFormat(file: "Entry \(entry.index) of the log")
            }
        }
        if let last = known.last {
            newest = NodeMeta(
                stamp: last.stamp, wall: last.wall, configuration: log.configuration)
        }
        let notes = try OutcomeNotes(
            recovery.notes, queue: queue, known: known, commit: log.hardState.commit)
        self.facts = notes.facts
        self.queue = queue
        self.log = log
        self.known = known
        self.newest = newest
    }

    /// The queue of the newest checkpoint; an empty one if there is none.
    private static func checkpointed(_ recovery: Recovery) throws -> MailQueue {
        guard let checkpoint = recovery.checkpoint else { return MailQueue() }
        return try RestoredQueue(meta: NodeMeta.decode(checkpoint.meta).queue) {
            try recovery.forEachRow($0)
        }.take()
    }

    /// The machine that goes on from here.
    consuming func machine(_ recovery: Recovery, wall: WallTime) -> NodeMachine {
        let now = SystemClock.bootTime()
        let stamp = max(self.queue.time, self.newest?.stamp ?? .zero)
        let stopped = self.newest.map { newest in newest.wall.map { wall - $0 } } ?? .zero
        let clock = QueueClock(last: stamp, stopped: stopped, now: now)
        return NodeMachine(
            queue: self.queue, options: Options(id: recovery.identity.incarnation),
            start: self.log, known: self.known, clock: clock, random: Secrets.randomWord())
    }
}

extension RunningNode {
    /// Opens the session; returns when the node is ready to take mail. A node of several waits for
    /// the others, and says so.
    package func start() async throws {
        try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<Void, any Error>) in
            self.node.onLoop { $0.begin { continuation.resume(with: $0) } }
        }
    }

    /// From now on new mail is refused with 421; what is under way goes on.
    package func refuseNewMail() {
        self.node.onLoop {
            $0.phase = .stopping
            $0.updateObstacle()
        }
    }

    /// Closes the session and the journal. Deliveries and receptions have ended before.
    package func stop() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            self.node.onLoop { $0.end { continuation.resume() } }
        }
        self.node.storage.close()
    }

    /// Replaces what may change at run time: retry, expiry, notices, limits. Others keep.
    package func reload(_ settings: Settings) {
        self.node.onLoop {
            $0.use(ClusterSettings(settings))
            $0.useQuota(settings.relay)
            $0.mesh?.reloadCertificates()
        }
        self.view.use(RouteTable(settings))
        self.node.shared.connectionsPerDestination.store(
            settings.delivery.connectionsPerDestination, ordering: .relaxed)
    }
}

extension Node {
    func storageEvents(fault: @escaping @Sendable (StorageError) -> Void) -> StorageEvents {
        StorageEvents(
            progress: { self.journalProgressed(to: $0) },
            synced: { self.journalSynced(in: $0) },
            fault: fault,
            relieved: { self.resumePaused() },
            level: { level in
                self.loop.execute { self.spaceChanged(to: level) }
            },
            checkpointWanted: { self.checkpointWanted(upTo: $0) },
            alarm: { label in
                self.logger.error("storage alarm", metadata: ["alarm": "\(label)"])
                self.loop.execute { self.raise(label.text) }
            },
            prove: { tags, answer in
                self.loop.execute { answer(self.prove(tags)) }
            })
    }

    /// Which of these bodies are garbage by proof, on the applied state (invariant 3); and notes,
    /// whose facts are not to be lost with them.
    private func prove(_ tags: [Tag]) -> GarbageAnswer {
        let holder = self.holders[0]
        return GarbageAnswer(
            mayDelete: tags.map {
                self.machine.queue.bodyState($0, on: holder) == .garbage
                    && !self.machine.isFactUnderWay($0)
            },
            live: self.machine.queue.liveBodies(on: holder))
    }

    private func spaceChanged(to level: SpaceLevel) {
        self.updateObstacle()
        switch level {
        case .normal:
            self.logger.notice("disk space is enough again")
            self.alarms.removeAll { $0 == "disk" }
        case .low:
            self.logger.error("disk space is low: new mail is refused with 452")
            self.raise("disk")
        case .reserve:
            self.logger.error("disk is full: only outcomes are written, into the reserve")
            self.raise("disk")
        }
    }

    func raise(_ alarm: String) {
        if !self.alarms.contains(alarm) { self.alarms.append(alarm) }
    }

    fileprivate func begin(_ ready: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        self.checkpoint.index = self.machine.applied.index
        self.checkpoint.madeAt = SystemClock.bootTime()
        self.whenReady = ready
        guard self.mesh == nil else { return self.beginAmongOthers() }
        // Alone there is no other to wait for.
        self.machine.campaign()
        self.turn()
    }

    /// A new leader's settings stand in front of all that it takes into the log: no message is
    /// judged by the R of nobody.
    func doDuties() {
        guard self.machine.isReadyLeader, self.dutiesDoneIn != self.machine.term else { return }
        self.dutiesDoneIn = self.machine.term
        if let settings = self.newSettings { self.proposeAsLeader(Command(.settings(settings))) }
    }

    /// What the state is to have and has not.
    var newSettings: ClusterSettings? {
        let wanted = self.wantedSettings
        return self.machine.queue.settings == wanted ? nil : wanted
    }

    /// What this node's file says. Voters that came later count for R, those that have gone do not
    /// lower it below what the founders began with.
    var wantedSettings: ClusterSettings {
        var wanted = self.clusterSettings
        if self.copiesFollowVoters {
            let majority = self.machine.configuration.voters.count / 2 + 1
            wanted.copies = max(wanted.copies, UInt32(majority))
        }
        return wanted
    }

    /// After each turn: what is due as soon as somebody leads.
    func goOn() {
        guard self.phase == .starting || self.phase == .ready, self.machine.session == .none,
            !self.isReopening
        else { return }
        // Alone the node has applied all that was there before; else its OpenSession comes behind
        // all that, wherever the leader is.
        if self.mesh == nil ? self.machine.isReadyLeader : self.machine.hasLeader {
            if self.phase == .starting {
                self.openSession(replayed: !self.mayLackNotes)
            } else {
                self.reopenSession()
            }
        }
    }

    /// The leader is another, or nobody.
    func leaderChanged(_ state: SoftState) {
        if state.leader == .none {
            self.leaderlessSince = self.leaderlessSince ?? SystemClock.bootTime()
        } else {
            self.leaderlessSince = nil
            self.clusterWorks()
        }
    }

    /// The session has expired while the process lived on: another one is opened, with a boot
    /// number above the last one's. What the old one had leased waits for its hold-down: an attempt
    /// may still be on the wire.
    func reopenSession() {
        self.isReopening = true
        let loop = self.loop
        self.storage.countBoot { boot in
            loop.execute {
                self.boot = boot
                self.openSession(replayed: false)
            }
        }
    }

    /// - Parameter replayed: all that was noted of the attempts of the session before is in the
    ///   log, or sent ahead.
    private func openSession(replayed: Bool) {
        if self.phase == .starting { self.phase = .opening }
        let open = OpenSession(
            node: self.identity.node, incarnation: self.identity.incarnation,
            boot: self.boot, nonce: Secrets.randomWord(), credit: self.credit,
            replayed: replayed, delivers: self.delivers)
        self.machine.openSession(open)
        self.planTurn()
    }

    /// The answer to the own OpenSession.
    func sessionOpened(_ result: CommandResult) {
        self.isReopening = false
        guard case .sessionOpened = result else {
            invariant(self.mesh != nil, "the only node's session is refused: \(result)")
            self.sessionRefused(result)
            return
        }
        self.wants.sessionSince = nil
        self.useTiming(self.machine.timing)
        guard self.phase == .opening else {
            self.updateObstacle()
            self.enqueueSessionless()
            return
        }
        self.phase = .ready
        self.checkQuota()
        if self.mesh == nil { self.startTimers() }
        self.updateObstacle()
        self.whenReady?(.success(()))
        self.whenReady = nil
    }

    /// The own session is closed: nothing of it has an effect any more but facts.
    func sessionClosed() {
        for number in self.waiters.numbers {
            guard let waiter = self.waiters[number] else { continue }
            self.answer(waiter.purpose, .refused(.sessionClosed))
        }
        self.waiters.removeAll()
        self.withheld.removeAll()
        self.endPlacings()
        self.endRepairs()
        self.leaseClock.end()
        self.shared.lapsesAt.store(0, ordering: .relaxed)
        self.lapseShares()
        self.wants.sessionSince = SystemClock.bootTime()
        self.updateObstacle()
    }

    /// Another start of this disk has a session, with a boot number above ours: the disk was
    /// copied, or rolled back. Or it is no member any more.
    private func sessionRefused(_ result: CommandResult) {
        self.isReopening = true
        self.wants.isSessionRefused = true
        self.giveUpSessionless(nil)
        self.updateObstacle()
        guard result != .refused(.notMember) else {
            self.raise("removed")
            self.logger.error(
                "this node's session is refused: its disk is no member of the cluster any more",
                metadata: [
                    "remedy": "Stop it. With an empty data directory it can join again."
                ])
            return
        }
        self.logger.error(
            "this node's session is refused: its data directory was rolled back or copied",
            metadata: [
                "result": "\(result)",
                "remedy": "Stop it; start it again with an empty data directory.",
            ])
        self.raise("session_refused")
    }

    fileprivate func end(_ ended: @escaping @Sendable () -> Void) {
        self.phase = .stopping
        self.updateObstacle()
        self.giveUpSessionless(nil)
        self.wake?.cancel()
        guard self.mesh == nil else {
            return self.handOverFirst {
                self.giveUpRefused { self.endAmongOthers { self.close(ended) } }
            }
        }
        self.giveUpRefused { self.closeSession { self.close(ended) } }
    }

    private func close(_ ended: @escaping @Sendable () -> Void) {
        guard self.phase != .stopped else { return }
        self.phase = .stopped
        // Until now what was declined had to be sent again.
        for timer in self.timers { timer.cancel() }
        self.shared.lapsesAt.store(0, ordering: .relaxed)
        self.lastCheckpoint(ended)
    }

    /// The last checkpoint makes the next start quick; without room for it the journal serves.
    private func lastCheckpoint(_ ended: @escaping @Sendable () -> Void) {
        guard !self.checkpoint.isRunning else {
            self.loop.scheduleTask(in: .milliseconds(10)) { self.lastCheckpoint(ended) }
            return
        }
        self.makeCheckpoint { _ in ended() }
    }

    fileprivate func use(_ settings: ClusterSettings) {
        self.clusterSettings = settings
        if self.phase == .ready, let settings = self.newSettings {
            self.proposeAsLeader(Command(.settings(settings)))
        }
    }
}
