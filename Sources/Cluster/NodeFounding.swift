// NodeFounding.swift - how a node of several begins: founds with the others, or is taken in.
//
// Takes     letters of peers, ticks, the news that the founding record is synced.
// Gives     letters; the machine of the founding configuration, once.
// Durable   the founding record is synced off the loop before anything is answered or begun.
// See       Founding (the rules), Docs/Decisions/0015.

import Logging
import MailQueue
import NIOCore
import Networking
import OpenSSL
import Primitives
import Raft
import Settings
import Storage

extension Node {
    /// Begins to look for the others. On the loop, once.
    func beginFounding(_ founding: Founding) {
        self.founding = founding
        self.carryOut(self.changeFounding { $0.begin() })
        self.timers.append(
            self.loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(100)) { _ in
                self.foundingTick()
            })
    }

    private func changeFounding(
        _ body: (inout Founding) -> [Founding.Action]
    ) -> [Founding.Action] {
        guard var founding = self.founding else { return [] }
        let actions = body(&founding)
        self.founding = founding
        return actions
    }

    private func foundingTick() {
        let now = SystemClock.bootTime()
        if self.phase == .starting { self.updateObstacle() }
        guard let founding, founding.nextTick <= now else { return }
        self.carryOut(self.changeFounding { $0.tick(now: now) })
    }

    /// A node of a cluster of several: its links, which `begin` opens.
    func join(_ cluster: Settings.Cluster, _ recovery: Recovery) throws {
        self.seeds = SeedList(cluster)
        self.foundingOwn = recovery.founding(random: Secrets.randomWord())
        self.mesh = try PeerMesh(
            settings: cluster, node: self.identity.node, loop: self.loop, logger: self.logger,
            hello: { [unowned self] in self.hello() }, events: self)
        if let record = recovery.founding { self.cluster = record.cluster }
    }

    /// Opens the port for peers and looks for them.
    func beginAmongOthers() {
        guard let mesh, let seeds, let foundingOwn else {
            unreachable("a node of several has links and seeds")
        }
        self.leaderlessSince = SystemClock.bootTime()
        let founding = Founding(foundingOwn, seeds: seeds, now: SystemClock.bootTime())
        mesh.start().assumeIsolated().whenComplete { result in
            switch result {
            case .success(let port):
                self.peerPort = port
                self.logger.notice("listening for peers", metadata: ["port": "\(port)"])
                self.beginFounding(founding)
            case .failure(let error): self.whenReady?(.failure(error))
            }
        }
    }

    /// The session is closed in the log, if there is a leader who takes that; then the links.
    func endAmongOthers(_ ended: @escaping () -> Void) {
        let bound = NIOLoopBound(ended, eventLoop: self.loop)
        let close: () -> Void = {
            guard let mesh = self.mesh, self.phase != .stopped else { return }
            mesh.stop().assumeIsolated().whenComplete { _ in bound.value() }
        }
        let closing = NIOLoopBound(close, eventLoop: self.loop)
        guard self.machine.hasLeader else { return close() }
        self.closeSession { closing.value() }
        // Without an answer the others let the session expire.
        self.loop.scheduleTask(in: .seconds(2)) { closing.value() }
    }

    func foundingPeerUp(_ peer: Hello) { self.foundingTick() }

    func foundingPeerDown(_ name: NodeName) { self.founding?.lost(name) }

    func receiveFounding(_ bytes: [UInt8], from node: NodeName) {
        self.attempt(node) { own throws(NodeMachine.PeerError) in
            let letter: FoundingLetter
            do throws(CodecError) {
                letter = try FoundingLetter(bytes)
            } catch {
                throw .malformed(error)
            }
            guard letter.from == node else { throw .notYours }
            own.carryOut(own.changeFounding { $0.receive(letter) })
        }
    }

    /// There is a leader: the cluster works, and invites who comes later.
    func clusterWorks() {
        guard self.founding != nil, !self.saidWorks else { return }
        self.saidWorks = true
        self.founding?.clusterWorks()
    }

    private func carryOut(_ actions: [Founding.Action]) {
        for action in actions {
            switch action {
            case .store(let record): self.keep(record)
            case .send(let name, let letter):
                var writer = ByteWriter(capacity: 256)
                letter.encode(into: &writer)
                _ = self.mesh?.send(.founding(writer.bytes), to: name)
            case .start(let record): self.startAgreeing(record)
            case .join(let record, _): self.join(record)
            case .say(let wait):
                self.logger.notice("waiting for the cluster", metadata: ["why": "\(wait.sentence)"])
            case .refuse(let name, let refusal):
                self.metrics.foundingRefused(refusal.label)
                self.logger.warning(
                    "what a node asks is refused",
                    metadata: ["peer": "\(name)", "why": "\(refusal.sentence)"])
            case .refused(let name, let refusal):
                self.logger.warning(
                    "a node refuses to found with us",
                    metadata: ["peer": "\(name)", "why": "\(refusal.sentence)"])
            }
        }
    }

    /// Syncs the record, on a thread of the storage's; when that fails the process ends.
    private func keep(_ record: FoundingRecord) {
        let loop = self.loop
        self.storage.keepFounding(record) {
            loop.execute { self.carryOut(self.changeFounding { $0.stored() }) }
        }
    }

    /// The leader takes this node in when a link of it names the cluster: those that are there were
    /// made before it belonged to one.
    private func join(_ record: FoundingRecord) {
        let wasOfNone = self.cluster.raw == 0
        self.startAgreeing(record)
        guard wasOfNone, let mesh else { return }
        for line in self.directory.lines { mesh.disconnect(line.name) }
    }

    /// This node votes by the founding configuration, or by what its checkpoint says.
    private func startAgreeing(_ record: FoundingRecord) {
        self.cluster = record.cluster
        self.record = record
        if self.machine.isUnfounded {
            let now = SystemClock.bootTime()
            self.machine = NodeMachine(
                queue: MailQueue(), options: Options(id: self.identity.incarnation),
                start: Start(configuration: record.configuration), known: [],
                clock: QueueClock(last: .zero, stopped: .zero, now: now),
                random: Secrets.randomWord())
        }
        self.startTicks()
        self.startTimers()
    }
}
