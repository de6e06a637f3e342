// LogLines.swift - the log backend: one JSON object a line, on standard error.
//
// Takes     swift-log events from any thread.
// Gives     {"time":…,"level":…,"msg":…, then the metadata}; lines are whole, never interleaved.
// Limits    written every 200 ms or 64 KiB, a warning or worse at once.

import Glibc
import Logging
import NIOPosix
import Networking
import Primitives
import Synchronization

/// Collects lines; a thread of its own writes them in one go, so that a reader that does not read
/// holds up no event loop.
final class LogSink: Sendable {
    /// A buffer this large is written at once.
    private static let bufferBytes = 64 << 10
    /// Beyond this, while nobody reads, lines are dropped and counted.
    private static let bufferBytesMax = 4 << 20
    private static let interval = Duration.milliseconds(200)

    private struct State {
        var lines: [UInt8] = []
        var dropped = 0
    }
    private let state = Mutex(State())
    /// Held while writing, so that two batches do not overtake each other.
    private let writing = Mutex<Void>(())
    private let stopping = Atomic<Bool>(false)
    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let wake = Wake()

    func start() {
        self.thread.start()
        self.thread.submit { _ in
            while !self.stopping.load(ordering: .relaxed) {
                self.wake.wait(atMost: Self.interval)
                self.flush()
            }
        }
    }

    func append(_ line: [UInt8], urgent: Bool) {
        let full = self.state.withLock { state in
            guard state.lines.count + line.count <= Self.bufferBytesMax else {
                state.dropped += 1
                return false
            }
            let before = state.lines.count
            state.lines.append(contentsOf: line)
            return before < Self.bufferBytes && state.lines.count >= Self.bufferBytes
        }
        if urgent || full { self.wake.signal() }
    }

    /// Writes what is there, on the caller's thread.
    func flush() {
        self.writing.withLock { _ in
            var batch = self.state.withLock { state in
                defer { state = State() }
                return state
            }
            if batch.dropped > 0 {
                batch.lines.append(
                    contentsOf:
                        "{\"level\":\"warning\",\"msg\":\"log lines dropped\","
                        .utf8)
                batch.lines.append(contentsOf: "\"count\":\(batch.dropped)}\n".utf8)
            }
            batch.lines.withUnsafeBytes(Self.write)
        }
    }

    func stop() {
        self.stopping.store(true, ordering: .relaxed)
        self.wake.signal()
        self.flush()
    }

    private static func write(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        var offset = 0
        while offset < bytes.count {
            let n = Glibc.write(2, base + offset, bytes.count - offset)
            if n < 0 && errno == EINTR { continue }
            // Nobody reads standard error any more: there is nowhere to say it.
            if n <= 0 { return }
            offset += n
        }
    }
}

/// Formats events for a `LogSink`.
struct LogLines: LogHandler {
    let label: String
    let sink: LogSink
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var line: [UInt8] = []
        line.reserveCapacity(256)
        line.append(contentsOf: "{\"time\":\"".utf8)
        line.append(contentsOf: SystemClock.wallTime().rfc3339.utf8)
        line.append(contentsOf: "\",\"level\":\"".utf8)
        line.append(contentsOf: event.level.rawValue.utf8)
        line.append(contentsOf: "\",\"msg\":".utf8)
        Self.quote(event.message.description, into: &line)
        for (key, value) in self.metadata { Self.member(key, value, into: &line) }
        if let own = event.metadata {
            for (key, value) in own { Self.member(key, value, into: &line) }
        }
        line.append(contentsOf: "}\n".utf8)
        self.sink.append(line, urgent: event.level >= .warning)
    }

    private static func member(
        _ key: String, _ value: Logger.Metadata.Value, into line: inout [UInt8]
    ) {
        line.append(UInt8(ascii: ","))
        self.quote(key, into: &line)
        line.append(UInt8(ascii: ":"))
        self.write(value, into: &line)
    }

    private static func write(_ value: Logger.Metadata.Value, into line: inout [UInt8]) {
        switch value {
        case .string(let text): self.quote(text, into: &line)
        case .stringConvertible(let number as Int):
            line.append(contentsOf: String(number).utf8)
        case .stringConvertible(let value): self.quote(value.description, into: &line)
        case .array(let items):
            line.append(UInt8(ascii: "["))
            for (i, item) in items.enumerated() {
                if i > 0 { line.append(UInt8(ascii: ",")) }
                self.write(item, into: &line)
            }
            line.append(UInt8(ascii: "]"))
        case .dictionary(let members):
            line.append(UInt8(ascii: "{"))
            for (i, (key, item)) in members.enumerated() {
                if i > 0 { line.append(UInt8(ascii: ",")) }
                self.quote(key, into: &line)
                line.append(UInt8(ascii: ":"))
                self.write(item, into: &line)
            }
            line.append(UInt8(ascii: "}"))
        }
    }

    private static let hex = Array("0123456789abcdef".utf8)

    /// A JSON string (RFC 8259 §7): what a peer sent cannot end the line or the string.
    private static func quote(_ text: String, into line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                line.append(UInt8(ascii: "\\"))
                line.append(byte)
            case 0..<0x20, 0x7F:
                line.append(contentsOf: "\\u00".utf8)
                line.append(Self.hex[Int(byte >> 4)])
                line.append(Self.hex[Int(byte & 15)])
            case _: line.append(byte)
            }
        }
        line.append(UInt8(ascii: "\""))
    }
}
