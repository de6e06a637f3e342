// NodeClock.swift - the wall clocks of the nodes, compared for the time after a stop of all.
//
// Takes     standings of peers; links that come and go.
// Gives     to the machine, whose clocks agree with this node's; the alarm `clock`.
// See       NodeMachineClock (what it is for), Docs/Operations.md.

import Logging
import Primitives
import Raft

extension Node {
    private static let clockAlarm = "clock"

    /// A clock was told, a link went, or the voters may be others.
    func compareClocks() {
        // A doubt that came with a turn, though it may be over now.
        self.sayClock()
        self.machine.compareWallClocks(
            agreeing: self.directory.clocks { QueueClock.agrees($0) },
            differing: self.directory.clocks { !QueueClock.agrees($0) })
        self.sayClock()
    }

    private func sayClock() {
        let isRaised = self.alarms.contains(Self.clockAlarm)
        guard self.machine.isClockDoubted != isRaised else { return }
        guard !isRaised else {
            self.logger.notice("the wall clocks of a majority agree with this node's again")
            self.alarms.removeAll { $0 == Self.clockAlarm }
            return
        }
        self.logger.error(
            """
            no majority's wall clocks agree with that of this node, which leads, or none did when \
            all nodes stopped: the time for which all stand still is not counted, and mail that \
            waits is tried, and expires, later by that time
            """,
            metadata: [
                "clocks": "\(self.clocksText)",
                "remedy": """
                Set the clocks of all nodes (chrony or ntp; `chronyc tracking` shows whether it \
                works). Nothing is lost; the alarm ends when a majority agrees.
                """,
            ])
        self.raise(Self.clockAlarm)
    }

    private var clocksText: String {
        let lines = self.directory.lines.map { line in
            guard let ahead = line.clockAhead else { return "\(line.name) unknown" }
            let seconds = ahead.inMilliseconds / 1000
            return "\(line.name) \(seconds < 0 ? "" : "+")\(seconds) s"
        }
        return lines.joined(separator: ", ")
    }
}
