// AllocationTests.swift - allocations per message stay within what a file says.
//
// Takes     Thresholds/VERSION.json, by the compiler that built these tests; debug or release, by
//           the program's path; Tests/Tools/allocations/count.c, compiled here.
// Method    mail of one size through one kept connection: every message is a batch of its own, the
//           dearest case, which a busy machine does not change. A run of 2,000 messages is taken
//           off one of 6,000, so that starts, connections and questions do not count.
// Log       "warning": lines per message are a matter of the log, and measured with it.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Allocations", .timeLimit(.minutes(5))) struct AllocationTests {
        enum Path: String, CaseIterable {
            /// Received and kept; delivery is off.
            case reception
            /// Received and delivered.
            case relay
        }

        @Test(arguments: Path.allCases)
        func `allocations per message are within the thresholds`(_ path: Path) throws {
            let folder = try Folder()
            let thresholds = try Thresholds.read()
            let program = try Relay.binary()
            let configuration = program.contains("/release/") ? "release" : "debug"
            guard let limit = thresholds.limits[configuration]?[path.rawValue] else {
                throw Failure(
                    "\(Thresholds.path) has no \(configuration).\(path.rawValue): add what this "
                        + "test measured, \(try Self.measure(path, folder))")
            }
            let measured = try Self.measure(path, folder)
            let most = limit * (1 + thresholds.slack)
            #expect(
                measured <= most,
                """
                \(path.rawValue), \(configuration): \(measured) allocations per message, the \
                threshold is \(limit) (+ \(Int(thresholds.slack * 100)) %). Find what allocates \
                and remove it; if it is worth it, say why in the commit and write \
                \(measured) as "\(configuration)"."\(path.rawValue)" in \(Thresholds.path)
                """)
            // Proof that something was counted.
            #expect(measured > 1)
            print("\(path.rawValue), \(configuration): \(measured) allocations per message")
        }

        // MARK: - Measuring

        private static let fewMessages = 2000
        private static let manyMessages = 6000
        /// Pools fill, tables grow, connections to the sink open.
        private static let firstMessages = 1000
        private static let rounds = 3

        /// Allocations per message, to a tenth.
        private static func measure(_ path: Path, _ folder: Folder) throws -> Double {
            let counter = try Counter(folder)
            var settings = RelaySettings()
            settings.delivers = path == .relay
            settings.log = "warning"
            settings.environment = counter.environment
            var sink: ToolSink?
            if path == .relay {
                let tool = try ToolSink()
                settings.sinkPort = tool.port
                sink = tool
            }
            let relay = try Relay(settings)
            var sent = 0
            func calls(_ messages: Int) throws -> Int {
                let before = counter.calls
                try Self.send(messages, to: relay.port)
                sent += messages
                let calls = try Self.quietCalls(counter) - before
                let queued = try relay.queued()
                guard queued == (path == .relay ? 0 : sent) else {
                    throw Failure("\(queued) messages are queued, \(sent) were sent")
                }
                return calls
            }
            _ = try calls(Self.firstMessages)
            var perMessage: [Double] = []
            for _ in 0..<Self.rounds {
                let few = try calls(Self.fewMessages)
                let many = try calls(Self.manyMessages)
                perMessage.append(
                    Double(many - few) / Double(Self.manyMessages - Self.fewMessages))
            }
            try relay.stop()
            sink?.stop()
            // A checkpoint, once a minute, falls into one of them on a slow machine.
            return (perMessage.sorted()[Self.rounds / 2] * 10).rounded() / 10
        }

        private static func send(_ messages: Int, to port: Int) throws {
            let ended = try run(
                "smtp-source",
                [
                    "-d", "-s", "1", "-m", "\(messages)", "-l", "4096",
                    "-f", "sender@client.example", "-t", "rcpt@dest.example", "127.0.0.1:\(port)",
                ], seconds: 120)
            guard ended.status == 0 else { throw Failure("smtp-source: \(ended.errorText)") }
        }

        /// The counter once the relay rests: then all is delivered. Asking it would allocate.
        private static func quietCalls(_ counter: Counter) throws -> Int {
            var last = counter.calls
            let isQuiet = eventually(within: 60) {
                poll(nil, 0, 300)
                let previous = last
                last = counter.calls
                return last - previous < 300
            }
            guard isQuiet else { throw Failure("the relay does not come to rest") }
            return last
        }
    }
}

/// What a message may cost.
private struct Thresholds: Decodable {
    /// What is measured may be above by this part of the threshold.
    var slack: Double
    /// By configuration and path: allocations per message.
    var limits: [String: [String: Double]]

    #if compiler(>=6.4)
        static let version = "6.4"
    #elseif compiler(>=6.3)
        static let version = "6.3"
    #else
        static let version = "6.2"
    #endif

    static let tests = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent()
    static let path = Self.tests.appendingPathComponent("Thresholds/\(Self.version).json").path

    static func read() throws -> Thresholds {
        guard let data = FileManager.default.contents(atPath: Self.path) else {
            throw Failure(
                "there are no thresholds for Swift \(Self.version): copy those of another version "
                    + "to \(Self.path) and write there what this test measures")
        }
        return try JSONDecoder().decode(Thresholds.self, from: data)
    }
}

/// The library that counts, compiled, and its counter.
private final class Counter {
    let environment: [String: String]
    private let page: UnsafeMutableRawPointer

    init(_ folder: Folder) throws {
        let library = try compiledLibrary("allocations/count.c", in: folder)
        let path = try folder.write("calls", String(repeating: "\0", count: 8))
        let file = open(path, O_RDONLY | O_CLOEXEC)
        defer { close(file) }
        guard file >= 0, let page = mmap(nil, 8, PROT_READ, MAP_SHARED, file, 0),
            page != MAP_FAILED
        else { throw Failure("cannot map \(path): errno \(errno)") }
        self.page = page
        self.environment = ["LD_PRELOAD": library, "POSTHOUSE_ALLOCATIONS": path]
    }

    deinit { munmap(self.page, 8) }

    /// Calls so far.
    var calls: Int { Int(self.page.load(as: UInt64.self)) }
}

/// Postfix's smtp-sink: it costs little, and takes all.
final class ToolSink {
    let port: Int
    private let process: ChildProcess

    init() throws {
        guard hasProgram("smtp-sink"), hasProgram("smtp-source") else {
            throw Failure("smtp-source and smtp-sink are missing: install the package postfix")
        }
        // A port that was free just now; smtp-sink cannot choose one.
        let probe = try Listener { $0.close() }
        self.port = probe.port
        probe.stop()
        let user = geteuid() == 0 ? ["-u", "nobody"] : []
        self.process = try ChildProcess("smtp-sink", user + ["127.0.0.1:\(self.port)", "1024"])
        let port = self.port
        let isOpen = eventually(within: 10) {
            do {
                try Connection(port: port).close()
                return true
            } catch { return false }
        }
        guard isOpen else { throw Failure("smtp-sink does not listen on port \(port)") }
    }

    func stop() { self.process.signal(SIGKILL) }

    deinit { self.stop() }
}
