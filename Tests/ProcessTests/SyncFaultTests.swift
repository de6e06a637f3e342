// SyncFaultTests.swift - a write or a sync fails: the process ends at once, and no promise breaks.
//
// Method    the relay runs with Tests/Tools/faults/fault.c, which makes the Nth write or sync of
//           the process fail as badly as a disk may: half written, or all unsynced bytes lost.
//           A client sends one message after the other until the process has ended. Started again
//           on the same directory with a sound disk, the relay delivers what it still has.
// Limits    what fails before `ready` is a start that ends; nothing was promised then.

import Foundation
import Testing

/// Which call fails, and how.
struct DiskFault: Sendable, CustomTestStringConvertible {
    enum Call: String, CaseIterable { case sync, write }

    var call: Call
    /// From 1, over the life of the process.
    var at: Int
    /// Part of the path of the files that count; nil: all.
    var path: String?
    var code: Int32
    /// Whether only that call fails; else all from it on.
    var isOnce: Bool

    var testDescription: String {
        let name = self.code == EIO ? "EIO" : "ENOSPC"
        let length = self.isOnce ? "once" : "and on"
        return "\(self.call) \(self.at) of \(self.path ?? "all") \(length) \(name)"
    }

    func environment(_ library: String) -> [String: String] {
        var variables = [
            "LD_PRELOAD": library, "POSTHOUSE_FAULT_CALL": self.call.rawValue,
            "POSTHOUSE_FAULT_AT": "\(self.at)", "POSTHOUSE_FAULT_ERRNO": "\(self.code)",
        ]
        if let path = self.path { variables["POSTHOUSE_FAULT_PATH"] = path }
        if self.isOnce { variables["POSTHOUSE_FAULT_ONCE"] = "1" }
        return variables
    }

    /// Anywhere: files that are opened or made ready. In a segment: mail that is promised.
    static let all = Call.allCases.flatMap { call in
        [(3, nil), (10, nil), (40, nil), (3, Self.segment), (10, Self.segment), (40, Self.segment)]
            .flatMap { at, path in
                [
                    DiskFault(call: call, at: at, path: path, code: EIO, isOnce: true),
                    DiskFault(call: call, at: at, path: path, code: ENOSPC, isOnce: false),
                ]
            } + [DiskFault(call: call, at: 120, path: Self.segment, code: EIO, isOnce: true)]
    }

    /// The journal, without files that are being made ready for it.
    private static let segment = ".seg"
}

/// What a client saw until the process ended.
private struct Story {
    /// Markers, in their order.
    var accepted: [String] = []
    /// Sent whole, and never answered 250.
    var unanswered: [String] = []
    var wasReady = false
    var end = ChildProcess.State()
}

extension ProcessTests {
    @Suite("A failing disk", .timeLimit(.minutes(5))) struct SyncFaultTests {
        /// Compiled once for all cases; as long as the tests run.
        private static let library = Result { () throws -> (path: String, folder: Folder) in
            let folder = try Folder()
            return (try compiledLibrary("faults/fault.c", in: folder), folder)
        }

        /// More messages than calls that may pass: the fault must have come before.
        private static func messagesMax(_ fault: DiskFault) -> Int { fault.at + 50 }

        /// Runs the relay with the fault, and sends until it has ended.
        private func runUntilFault(_ relay: Relay, _ fault: DiskFault) throws -> Story {
            try relay.writeSettings()
            let process = try ChildProcess(
                try Relay.binary(), ["serve", "--config", relay.configuration],
                environment: fault.environment(try Self.library.get().path))
            let lines = process.state.wait(seconds: Relay.startSeconds) { state -> [Substring]? in
                let lines = state.errorText.split(separator: "\n")
                return lines.contains("ready") || state.status != nil ? lines : nil
            }
            var story = Story()
            let port = (lines ?? []).first { $0.hasPrefix("listening smtp ") }
                .flatMap { $0.split(separator: ":").last.flatMap { Int($0) } }
            if let port, lines?.contains("ready") == true {
                story.wasReady = true
                self.send(Self.messagesMax(fault), to: port, &story)
            }
            story.end = try process.wait(seconds: 10)
            return story
        }

        private func send(_ messages: Int, to port: Int, _ story: inout Story) {
            do {
                let client = try MailClient(port: port)
                for number in 0..<messages {
                    let marker = "m\(number)"
                    story.unanswered.append(marker)
                    let reply = try client.send(MailClient.message(marker))
                    guard reply.code == 250 else { continue }
                    story.unanswered.removeLast()
                    story.accepted.append(marker)
                }
            } catch {
                // The process has ended, which is what the test waits for.
            }
        }

        @Test(arguments: DiskFault.all)
        func `a failed write or sync ends the process and breaks no promise`(
            _ fault: DiskFault
        ) throws {
            let sink = try Sink()
            let relay = try Relay(
                RelaySettings(sinkPort: sink.port, delivers: false), starts: false)
            let story = try self.runUntilFault(relay, fault)
            #expect(story.end.status == 70, "\(story.end.errorText)")
            let hasRemedy = ["Check the disk", "Free space, then start again"].contains {
                story.end.errorText.contains($0)
            }
            #expect(hasRemedy, "\(story.end.errorText)")
            // What is on the disk is sound: nobody is told to give it up.
            #expect(!story.end.errorText.contains("Move the data directory"))
            // Proof that the fault met a relay that worked: a message is a batch, and so are the
            // vote, the first entry of the term, and the session of a start.
            if fault.path != nil && fault.at >= 10 {
                #expect(story.accepted.count >= (fault.at - 3) / 2)
                #expect(story.accepted.count < fault.at)
                #expect(story.unanswered.count == 1)
            }
            #expect(story.wasReady || story.accepted.isEmpty)

            relay.settings.delivers = true
            try relay.start()
            let isEmpty = try eventually(within: 20) { try relay.queued() == 0 }
            let left = try relay.get("/v1/queue?limit=1000").body
            #expect(isEmpty, "\(left)")
            let arrivals = Dictionary(grouping: sink.accepted, by: \.marker)
            let lost = story.accepted.filter { arrivals[$0] == nil }
            #expect(lost.isEmpty, "of \(story.accepted.count) accepted, lost: \(lost)")
            for (marker, copies) in arrivals {
                #expect(copies.count == 1, "\(marker) came \(copies.count) times")
                #expect(copies[0].content.hasSuffix(MailClient.message(marker)), "\(marker)")
            }
            // One at a time: at most the last one is kept without a promise.
            let known = Set(story.accepted + story.unanswered.suffix(1))
            #expect(arrivals.keys.allSatisfy { known.contains($0) }, "\(arrivals.keys)")
            #expect(try MailClient(port: relay.port).send(MailClient.message("new")).code == 250)
            _ = try sink.wait(for: arrivals.count + 1)
            try relay.stop()
        }
    }
}
