// Serve.swift - posthouse serve: one node, from its settings to its end.
//
// Start     settings, storage, node (the queue is back, its session open), delivery, listeners,
//           admin; then `ready` on standard error.
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
import UnixSignals

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a node in the foreground.",
        discussion: "SIGTERM drains and ends it, SIGHUP reloads the settings.")

    @Option(help: "The settings file.")
    var config = "/etc/posthouse/posthouse.toml"

    func run() async throws {
        let settings: Settings
        do {
            settings = try SettingsParser.load(self.config)
        } catch {
            say(error.description)
            throw ExitCode(ExitStatus.configuration.rawValue)
        }
        let notBuilt = settings.notBuilt
        for sentence in notBuilt { say("posthouse: \(sentence)") }
        if !notBuilt.isEmpty { throw ExitCode(ExitStatus.configuration.rawValue) }
        // A peer that has gone is an error of one write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        Self.raiseFileLimit()
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
        let house: House
        do {
            house = try await House.open(settings, loops: loops, sink: sink)
        } catch {
            say("posthouse: \(error.remedy)")
            return error.status
        }
        say("ready")
        for await signal in signals {
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

/// One line on standard error, at once.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    line.withUnsafeBytes { bytes in
        // Nobody reads standard error: there is nowhere else to say it.
        _ = write(2, bytes.baseAddress, bytes.count)
    }
}
