// Demo.swift - posthouse demo: a cluster, a load and a ledger, from the first to the last line.
//
// Takes     options; wishes of the user (signals are the caller's).
// Gives     where things are on stdout, what happens on stderr, and the last line on stdout:
//           `accepted N, delivered N, lost N, duplicates N`.
// Limits    startSeconds, drainSeconds, stopSeconds.
// Never     starts a node again by itself: the user is to see what a dead node costs.

package import Console
import Glibc
import NIOCore
import NIOPosix
import Primitives

package enum Demo {
    /// - Returns: the exit code; 1 if mail was lost.
    package static func run(
        _ options: DemoOptions, wishes: AsyncStream<DemoWish>, terminal: Terminal
    ) async -> Int32 {
        var system = SystemRandomNumberGenerator()
        var dice = Generator(seed: system.next())
        do {
            var folder = try DemoFolder(options.directory)
            try folder.prepare(options.nodes, dice: &dice, terminal: terminal)
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let run = try await DemoRun(
                options, folder, id: dice.next(), group: group, terminal: terminal)
            let code = await run.live(wishes)
            return code
        } catch let failure as DemoFailure {
            terminal.tell("posthouse: \(failure.message)")
            return failure.status
        } catch {
            terminal.tell("posthouse: \(error)")
            return ExitStatus.inputOutput.rawValue
        }
    }
}

/// What happens in a demo.
enum DemoEvent: Sendable {
    case tick
    case wish(DemoWish)
    case ended(NodeProcesses.End)
}

/// One demo, used by one task.
final class DemoRun {
    /// The nodes find each other and open their journals in this time, also on a slow machine.
    static let startSeconds = 120.0
    /// Leases of a node that died are given to others after 7 s.
    static let drainSeconds = 60.0
    /// A drain of a node takes up to 10 s.
    static let stopSeconds = 20.0
    static let reportSeconds = 5.0
    private static let tick = TimeAmount.milliseconds(250)

    enum Phase {
        case starting
        case running
        case draining
        case stopping
    }

    let options: DemoOptions
    let folder: DemoFolder
    let id: UInt64
    let group: MultiThreadedEventLoopGroup
    let terminal: Terminal
    let processes: NodeProcesses
    let front: FrontPort
    let books: DemoBooks
    let frontPort: Int
    let events: AsyncStream<DemoEvent>
    let source: AsyncStream<DemoEvent>.Continuation
    var load: NIOLoopBoundBox<DemoLoad?>
    var phase = Phase.starting
    var phaseSince = secondsNow()
    var reportedAt = 0.0
    var leader: String?
    /// As the node that was asked last says; nil: none answers.
    var queued: Int?
    var possibleDuplicates = 0
    var isLoadOver = false
    var failure: DemoFailure?

    init(
        _ options: DemoOptions, _ folder: DemoFolder, id: UInt64,
        group: MultiThreadedEventLoopGroup, terminal: Terminal
    ) async throws {
        self.options = options
        self.folder = folder
        self.id = id
        self.group = group
        self.terminal = terminal
        let (events, source) = AsyncStream<DemoEvent>.makeStream()
        (self.events, self.source) = (events, source)
        let books = DemoBooks(run: id, terminal: terminal)
        self.books = books
        let sinkPort = try await SinkPort.start(on: group) { books.arrived($0) }
        try folder.writeSettings(sinkPort: sinkPort)
        self.front = FrontPort(folder.nodes.map(\.smtpPort))
        self.frontPort = try await self.front.start(on: group)
        self.processes = try NodeProcesses(folder.nodes) { source.yield(.ended($0)) }
        self.load = NIOLoopBoundBox.makeEmptyBox(valueType: DemoLoad.self, eventLoop: group.next())
    }

    /// From the start of the nodes to the last line.
    func live(_ wishes: AsyncStream<DemoWish>) async -> Int32 {
        let source = self.source
        source.yield(.tick)
        let wishing = Task { for await wish in wishes { source.yield(.wish(wish)) } }
        defer { wishing.cancel() }
        do {
            for place in self.folder.nodes.indices { try self.processes.start(place) }
        } catch {
            self.fail(error)
        }
        for await event in self.events {
            switch event {
            case .tick:
                await self.look()
                // One after the other: a slow machine must not heap them up.
                self.group.next().scheduleTask(in: Self.tick) { source.yield(.tick) }
            case .wish(let wish): self.take(wish)
            case .ended(let end): self.note(end)
            }
            if self.phase == .stopping && self.processes.running.allSatisfy({ $0 == nil }) { break }
        }
        return await self.finish()
    }

    func enter(_ phase: Phase) {
        self.phase = phase
        self.phaseSince = secondsNow()
    }

    var phaseSeconds: Double { secondsNow() - self.phaseSince }

    /// The demo cannot go on: the nodes are stopped.
    func fail(_ failure: DemoFailure) {
        if self.failure == nil { self.failure = failure }
        self.stopNodes()
    }

    private func take(_ wish: DemoWish) {
        switch (wish, self.phase) {
        case (.restart, .running):
            let dead = self.folder.nodes.indices.filter { self.processes.running[$0] == nil }
            if dead.isEmpty { self.terminal.tell("all nodes run") }
            for place in dead {
                do {
                    try self.processes.start(place)
                    self.terminal.tell("node \(self.folder.nodes[place].name) is started again")
                } catch {
                    self.terminal.tell(error.message)
                }
            }
        case (.restart, .starting), (.restart, .draining), (.restart, .stopping): break
        case (.end, .starting): self.stopNodes()
        case (.end, .running): self.drain()
        case (.end, .draining):
            self.terminal.tell("ends at once")
            self.stopNodes()
        case (.end, .stopping): self.processes.signal(SIGKILL)
        }
    }

    private func note(_ end: NodeProcesses.End) {
        let node = self.folder.nodes[end.place]
        self.front.note(end.place, isReady: false)
        switch self.phase {
        case .starting:
            self.fail(
                DemoFailure(
                    ExitStatus.internalFault.rawValue,
                    "node \(node.name) does not start (\(end.text)); the end of its log:\n"
                        + self.folder.lastLines(of: node)))
        case .running, .draining:
            self.terminal.tell(
                "node \(node.name) (pid \(end.pid)) is gone: \(end.text). It stays away; start it "
                    + "again with: kill -USR1 \(getpid())")
        case .stopping: break
        }
    }

    /// The load ends; then what is queued has its time.
    func drain() {
        self.enter(.draining)
        self.reportedAt = secondsNow()
        let loop = self.group.next()
        let load = self.load
        self.terminal.tell("the load ends")
        loop.execute { load.value?.stop() }
    }

    func stopNodes() {
        self.enter(.stopping)
        self.processes.signal(SIGTERM)
    }

    /// Numbers, the last line, and the directory.
    private func finish() async -> Int32 {
        do {
            try await self.processes.shutdown()
            try await self.group.shutdownGracefully()
        } catch {
            self.terminal.tell("posthouse: \(error)")
        }
        if let failure = self.failure {
            self.terminal.tell("posthouse: \(failure.message)")
            self.leaveFolder(isNeeded: true)
            return failure.status
        }
        let lost = self.books.lost
        self.books.explain(possible: self.possibleDuplicates)
        self.leaveFolder(isNeeded: lost > 0)
        self.terminal.write(self.books.line + "\n")
        return lost > 0 ? 1 : ExitStatus.ok.rawValue
    }

    private func leaveFolder(isNeeded: Bool) {
        if !self.folder.isTemporary { return }
        if isNeeded {
            self.terminal.tell("logs and queues are kept in \(self.folder.path)")
        } else if !self.folder.remove() {
            self.terminal.tell("cannot remove all of \(self.folder.path)")
        }
    }
}

/// Seconds on the monotonic clock.
func secondsNow() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
