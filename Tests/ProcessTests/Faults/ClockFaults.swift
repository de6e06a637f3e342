// ClockFaults.swift - the wall clock of one node jumps while it runs.
//
// Method    Debian's libfaketime, whose offset stands in a file that is read at each call. It must
//           leave CLOCK_BOOTTIME and CLOCK_MONOTONIC alone, as a jump of the wall clock does: that
//           is proven with a program of its own, before each jump.

import Foundation
import Testing

extension FaultStory {
    private static let libraries = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ]
    private static let yearSeconds = 31_536_000.0

    /// A day of a year, since libfaketime's may be a leap year; else what a start may take.
    private static func tolerance(_ jump: Double) -> Double { abs(jump) > 1e6 ? 90_000 : 60 }

    /// The instant in the newest `Received:`, which the relay has written.
    private static func receivedAt(_ arrival: Arrival) -> Date? {
        let content = arrival.content.replacingOccurrences(of: "\r\n\t", with: " ")
            .replacingOccurrences(of: "\r\n ", with: " ")
        let line = content.components(separatedBy: "\r\n").first { $0.hasPrefix("Received:") }
        guard let text = line?.components(separatedBy: ";").last else { return nil }
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.dateFormat = "EEE, d MMM yyyy HH:mm:ss Z"
        return format.date(from: text.trimmingCharacters(in: .whitespaces))
    }

    func jump(_ fault: Fault) throws {
        let library = Self.libraries.first { access($0, R_OK) == 0 }
        guard let library else {
            throw Failure("libfaketimeMT.so.1 is missing: apt-get install libfaketime")
        }
        let place = self.draw(below: 3)
        let node = self.fleet.nodes[place]
        let file = try node.folder.write("clock", "+0s\n")
        let usual = node.settings.environment
        let faked = [
            "LD_PRELOAD": [library, usual["LD_PRELOAD"]].compactMap { $0 }.joined(separator: ":"),
            "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        ]
        try self.restart(place) { $0.environment = usual.merging(faked) { $1 } }
        self.step("armed")
        // All three are survivors of a clock that jumps.
        self.watchAgain(victims: [])
        let isAhead = fault == .clockAhead
        try node.folder.write("clock", isAhead ? "+1y\n" : "-1h\n")
        let jump = isAhead ? Self.yearSeconds : -3600
        try self.expectWallClock(jump, node.settings.environment)
        let count = self.sink.arrivals.with { $0.count }
        try self.outlast("jumped")
        let stamps = self.sink.arrivals.with { all in
            all[count...].filter { $0.marker.hasPrefix("n\(place)-") }.compactMap(Self.receivedAt)
        }
        let isStamped = stamps.contains {
            abs($0.timeIntervalSinceNow - jump) < Self.tolerance(jump)
        }
        #expect(isStamped, "the node does not stamp what it receives by that clock: \(stamps)")
        try node.folder.write("clock", "+0s\n")
        try self.expectMail("back")
        self.expectUnnoticed(fault)
        self.endWatch()
        try self.restart(place) { $0.environment = usual }
    }

    /// The wall clock is off by `seconds`, and no other clock is.
    private func expectWallClock(_ seconds: Double, _ environment: [String: String]) throws {
        try need("python3", package: "python3")
        let program = """
            import time
            for clock in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME):
                print(time.clock_gettime(clock))
            """
        func clocks(_ environment: [String: String]) throws -> [Double] {
            let ended = try run("python3", ["-c", program], environment: environment)
            let found = ended.outputText.split(separator: "\n").compactMap { Double($0) }
            guard found.count == 3 else { throw Failure("python3: \(ended.errorText)") }
            return found
        }
        let own = try clocks([:])
        let other = try clocks(environment)
        #expect(abs(other[0] - own[0] - seconds) < Self.tolerance(seconds))
        #expect(abs(other[1] - own[1]) < 60)
        #expect(abs(other[2] - own[2]) < 60)
    }
}
