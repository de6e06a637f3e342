// LargeMailTests.swift - large mail costs time, not memory.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Large mail", .timeLimit(.minutes(10))) struct LargeMailTests {
        private static let messages = 20
        /// Content of one; with its head it is just below the default limit of 50 MB. A debug build
        /// moves but a few MB a second: it gets 12 MB, still more in all than it may have resident.
        private static func bytes() throws -> Int {
            try Relay.binary().contains("/release/") ? 49_000_000 : 12_000_000
        }
        /// Resident, everything of the process; as a whole these messages are 980 MB (240 MB).
        private static let residentBytesMax = 150_000_000

        @Test func `twenty large messages are taken and delivered at once in 150 MB of memory`()
            throws
        {
            let bytes = try Self.bytes()
            let sink = try ToolSink()
            var settings = RelaySettings(sinkPort: sink.port)
            settings.log = "warning"
            let relay = try Relay(settings)
            let source = try ChildProcess(
                "smtp-source",
                [
                    "-s", "\(Self.messages)", "-m", "\(Self.messages)", "-l", "\(bytes)",
                    "-f", "sender@client.example", "-t", "rcpt@dest.example",
                    "127.0.0.1:\(relay.port)",
                ])
            // One at a time would prove nothing: the most connections to the sink are noted.
            var together = 0
            let isDone = try eventually(within: 400) {
                together = max(together, try Self.connectionsOut(relay))
                guard let status = source.state.current.status else { return false }
                guard status == 0 else { throw Failure(source.state.current.errorText) }
                return try relay.queued() == 0
            }
            #expect(isDone)
            let peak = try Self.peak(of: #require(relay.process).pid)
            print(
                """
                20 messages of \(bytes / 1_000_000) MB: \(peak / 1_000_000) MB resident, \
                \(together) connections at once
                """)
            #expect(peak < Self.residentBytesMax)
            #expect(together > Self.messages / 2)
            try relay.stop()
            sink.stop()
        }

        private static func connectionsOut(_ relay: Relay) throws -> Int {
            let nodes = try relay.cluster()["nodes"] as? [[String: Any]]
            let sessions = nodes?.first?["sessions"] as? [String: Any]
            return Int(any: sessions?["out"]) ?? 0
        }

        /// VmHWM: the most that was ever resident.
        private static func peak(of pid: pid_t) throws -> Int {
            let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            for line in status.split(separator: "\n") where line.hasPrefix("VmHWM:") {
                let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
                guard let kilobytes = Int(words[1]) else { break }
                return kilobytes * 1024
            }
            throw Failure("no VmHWM in \(status)")
        }
    }
}
