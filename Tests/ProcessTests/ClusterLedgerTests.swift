// ClusterLedgerTests.swift - nodes die, pause, are cut off, lose their disks and their clocks, and
// are restarted under load: nothing is lost, and what is repeated was counted.
//
// Clients try every node and note each `250`, a sink notes each arrival. One fault after the other
// meets the cluster while mail flows; after each it must take mail again and heal. At the end every
// promise has arrived, and arrivals beyond a marker's first are at most what the cluster counted.
//
// Limits    the short faults once, in a random order. All of them N times:
//           POSTHOUSE_CLUSTER_ROUNDS=N. Drawn until the time is over: POSTHOUSE_CLUSTER_MINUTES=60.
//           Only some: POSTHOUSE_CLUSTER_FAULTS=killLeader,bridge. The order and the instants of an
//           earlier run again: POSTHOUSE_CLUSTER_SEED=N. With root each node has a machine of its
//           own (network namespaces); without, all are on loopback, and some faults are left out.
// See       Docs/Invariants.md 1, 5, 6, 10; Faults/Fault.swift.

import Foundation
import Testing

extension ProcessTests {
    @Suite("The ledger of a cluster", .timeLimit(.minutes(240))) struct ClusterLedgerTests {
        private static func variable(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
        }

        /// At once, wherever it goes: a run may last for an hour.
        private static func say(_ line: String) {
            print("cluster ledger: \(line)")
            fflush(nil)
        }

        /// What is to be met, in this order; endless if it is to last for a time.
        private struct Plan {
            let faults: [Fault]
            let rounds: Int
            let endsAt: Double?

            init(isRoot: Bool) throws {
                let variables = ProcessInfo.processInfo.environment
                let rounds = ClusterLedgerTests.variable("POSTHOUSE_CLUSTER_ROUNDS")
                let minutes = ClusterLedgerTests.variable("POSTHOUSE_CLUSTER_MINUTES")
                var faults = Fault.allCases.filter { isRoot || $0.isForAll }
                if let names = variables["POSTHOUSE_CLUSTER_FAULTS"] {
                    faults = try names.split(separator: ",").map { name in
                        guard let fault = Fault(rawValue: String(name)) else {
                            throw Failure("there is no fault \(name)")
                        }
                        return fault
                    }
                } else if rounds == nil && minutes == nil {
                    faults = faults.filter(\.isShort)
                }
                self.faults = faults
                self.rounds = rounds ?? 1
                self.endsAt = minutes.map { now() + Double($0) * 60 }
            }
        }

        /// Each fault of the plan, in a random order, round after round.
        private func meet(_ plan: Plan, _ story: FaultStory) throws {
            var round = 0
            while plan.endsAt.map({ now() < $0 }) ?? (round < plan.rounds) {
                var left = plan.faults
                while !left.isEmpty, plan.endsAt.map({ now() < $0 }) ?? true {
                    let fault = left.remove(at: story.draw(below: left.count))
                    let before = now()
                    let steps = try story.meet(fault)
                    let seconds = String(format: "%.1f", now() - before)
                    Self.say("round \(round), \(fault): \(seconds) s:\(steps)")
                }
                round += 1
            }
        }

        @Test func `faults under load lose nothing, and what is repeated is counted`() throws {
            let seed = Self.variable("POSTHOUSE_CLUSTER_SEED") ?? Int(time(nil))
            Self.say("POSTHOUSE_CLUSTER_SEED=\(seed)")
            let isRoot = NetworkSpace.isPossible
            let plan = try Plan(isRoot: isRoot)
            let network = isRoot ? try NodeNetwork() : nil
            let address = isRoot ? NodeNetwork.outsideAddress : "127.0.0.1"
            // The marker stands in the head.
            let sink = try Sink(address: address, space: network?.outside, contentBytesMax: 1000)
            var settings = RelaySettings(sinkPort: sink.port)
            settings.sinkAddress = address
            settings.allow = isRoot ? "10.77.2.0/24" : "127.0.0.0/8"
            settings.log = "info"
            let fleet = try Fleet(
                settings, isWired: !isRoot, isFixed: true, network: network, starts: false)
            let story = try FaultStory(fleet, sink, seed: seed)
            defer { _ = story.clients.stop() }
            do {
                try self.meet(plan, story)
            } catch {
                // What was promised until then is summed all the same.
                Issue.record(error, "seed \(seed)")
                Self.say("ends early: \(error)")
            }
            #expect(story.clients.stop())
            try fleet.waitUntilEmpty()
            // One more for the fault that ended the story early.
            let (verdict, parts) = story.clients.verdict(
                sink, possible: fleet.possibleDuplicates, parts: story.records.count + 1)
            print(Self.table(story.records, parts))
            Self.say("seed \(seed), \(verdict)")
            #expect(verdict.lost.isEmpty, "seed \(seed): \(verdict)")
            #expect(verdict.repeated <= verdict.possible, "seed \(seed): \(verdict)")
            #expect(verdict.strangers.isEmpty, "seed \(seed): \(verdict.strangers)")
            #expect(verdict.accepted > story.records.count * 20)
            #expect(try fleet.stop() == [0, 0, 0])
        }

        /// One line for each fault, of all times that it was met.
        private static func table(_ records: [FaultRecord], _ parts: [LedgerVerdict]) -> String {
            let heads = [
                "times", "accepted", "lost", "repeated", "counted", "silence s", "refused",
                "seconds",
            ]
            var text = Self.row("fault", heads)
            for fault in Fault.allCases {
                let places = records.indices.filter { records[$0].fault == fault }
                if places.isEmpty { continue }
                func sum(_ value: (Int) -> Int) -> String {
                    String(places.reduce(0) { $0 + value($1) })
                }
                func longest(_ value: (Int) -> Double) -> String {
                    String(format: "%.1f", places.map(value).max() ?? 0)
                }
                text += Self.row(
                    fault.rawValue,
                    [
                        "\(places.count)", sum { parts[$0].accepted }, sum { parts[$0].lost.count },
                        sum { parts[$0].repeated }, sum { records[$0].counted },
                        longest { records[$0].silence }, sum { records[$0].refusals },
                        longest { records[$0].seconds },
                    ])
            }
            return text
        }

        private static func row(_ name: String, _ values: [String]) -> String {
            name.padding(toLength: 18, withPad: " ", startingAt: 0)
                + values.map { String(repeating: " ", count: max(1, 10 - $0.count)) + $0 }.joined()
                + "\n"
        }
    }
}
