// Serve.swift - posthouse serve: one node, from its settings to its end.
//
// Start     settings, storage, delivery, admin, node (among others: it waits for them; the queue
//           is back, its session open), listeners; then `ready` on standard error.
// Stop      SIGTERM or SIGINT: readiness goes, new sessions get 421, transactions end, deliveries
//           end or are given back, the session is closed, a checkpoint is made.
// Reload    SIGHUP: settings, users, routes, relay rules, certificates, listeners; all or nothing.

import ArgumentParser
import Console
import Glibc
import Logging
import Metrics
import NIOCore
import NIOPosix
import Primitives
import Settings
import Synchronization
import UnixSignals

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a node in the foreground.",
        discussion: "SIGTERM drains and ends it, SIGHUP reloads the settings.")

    @Option(help: "The settings file.")
    var config = "/etc/posthouse/posthouse.toml"

    @Flag(
        help: ArgumentHelp(
            "End at once, as by a crash, when standard input ends.",
            discussion: "For programs that run nodes, so that none survives them."))
    var untilInputEnds = false

    func run() async throws {
        let settings: Settings
        do {
            settings = try SettingsParser.load(self.config)
        } catch {
            say(error.description)
            throw ExitCode(ExitStatus.configuration.rawValue)
        }
        // A peer that has gone is an error of one write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        Self.raiseFileLimit()
        if self.untilInputEnds { Self.watchInput() }
        let sink = LogSink()
        let level = Logger.Level(rawValue: settings.node.log.rawValue) ?? .info
        LoggingSystem.bootstrap { label in
            LogLines(label: label, sink: sink, logLevel: level)
        }
        let log = Logger(label: "posthouse")
        for warning in settings.warnings { log.warning("\(warning)") }
        let status = await Self.serve(settings, path: self.config, sink: sink)
        sink.stop()
        if status != .ok { throw ExitCode(status.rawValue) }
    }

    /// A session or connection is a file: as many as the system lets this process have.
    private static func raiseFileLimit() {
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        if setrlimit(files, &limit) != 0 { say("posthouse: the limit of open files stays low") }
    }

    /// A thread waits for the end of standard input for as long as the process lives.
    private static func watchInput() {
        let thread = NIOThreadPool(numberOfThreads: 1)
        thread.start()
        thread.submit { _ in
            // The pool must outlive this job, which never returns.
            withExtendedLifetime(thread) {
                var bytes = [UInt8](repeating: 0, count: 512)
                var count = 1
                while count > 0 || count < 0 && errno == EINTR {
                    count = read(STDIN_FILENO, &bytes, bytes.count)
                }
                // Nobody is there to wait for a drain; the disk has what was promised.
                _exit(ExitStatus.ok.rawValue)
            }
        }
    }

    /// Event loops: what is set, else one less than the cores (the journal needs one too).
    private static func loopCount(_ settings: Settings) -> Int {
        settings.node.loops > 0 ? settings.node.loops : max(1, System.coreCount - 1)
    }

    private static func serve(
        _ settings: Settings, path: String, sink: LogSink
    ) async -> ExitStatus {
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: Self.loopCount(settings))
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
        sink.start()
        let (later, source) = AsyncStream<UnixSignal>.makeStream()
        let opened = Opened()
        Task {
            for await signal in signals {
                if opened.isOpen.load(ordering: .acquiring) {
                    source.yield(signal)
                } else if signal != .sighup {
                    // Nothing was promised yet, and what is on the disk needs no farewell. A node
                    // that waits for others may wait for ever.
                    sink.flush()
                    say("stopped before it was ready")
                    _exit(ExitStatus.ok.rawValue)
                }
            }
        }
        let house: House
        do {
            house = try await House.open(settings, loops: loops, sink: sink)
        } catch {
            say("posthouse: \(error.remedy)")
            return error.status
        }
        opened.isOpen.store(true, ordering: .releasing)
        say("ready")
        for await signal in later {
            if signal == .sighup {
                await house.reload(path: path)
                continue
            }
            await house.stop()
            break
        }
        return .ok
    }
}

/// Whether the node has come up.
private final class Opened: Sendable {
    let isOpen = Atomic<Bool>(false)
}

/// One line on standard error, at once.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    line.withUnsafeBytes { bytes in
        // Nobody reads standard error: there is nowhere else to say it.
        _ = write(2, bytes.baseAddress, bytes.count)
    }
}
