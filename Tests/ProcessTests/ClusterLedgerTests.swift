// ClusterLedgerTests.swift - nodes die, pause, are cut off and restarted under load: nothing is
// lost, and what is repeated was counted.
//
// Clients try every node and note each `250`, a sink notes each arrival. One fault after the other
// meets the cluster while mail flows; after each it must take mail again and heal. At the end every
// promise has arrived, and arrivals beyond a marker's first are at most what the cluster counted.
//
// Limits    each fault once; POSTHOUSE_CLUSTER_ROUNDS=20 for the long form (all faults, so often),
//           POSTHOUSE_CLUSTER_SEED=N to repeat the instants of an earlier run.
// See       Docs/Invariants.md 1, 5, 6, 10.

import Foundation
import Testing

/// What befalls the cluster.
private enum Fault: String, CaseIterable {
    case killLeader, killFollower
    /// Longer than a session lives (T = 4 s).
    case pauseLeader, pauseFollower
    /// Cut off from its peers, while clients and the sink reach it.
    case isolateLeader, isolateFollower
    /// Each in turn, by SIGTERM.
    case restartAll
}

extension ProcessTests {
    @Suite("The ledger of a cluster", .timeLimit(.minutes(60))) struct ClusterLedgerTests {
        private static func variable(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
        }

        /// Seconds that a pause or a cut lasts: a session has expired and its leases are free.
        private static let outage = 9.0

        private final class Story {
            let fleet: Fleet
            let clients: LedgerClients
            var dice: UInt64

            init(_ fleet: Fleet, seed: Int) {
                self.fleet = fleet
                self.clients = LedgerClients(4, ports: fleet.ports)
                self.dice = UInt64(seed)
            }

            /// In 0 ..< 1.
            func draw() -> Double {
                self.dice = self.dice &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Double(self.dice >> 40) / Double(1 << 24)
            }

            /// How long each step took, for the log of a run.
            var steps = ""
            private var stepAt = now()

            private func step(_ name: String) {
                let count = self.clients.promises.current.accepted.count
                let seconds = String(format: "%.1f", now() - self.stepAt)
                self.steps += " \(name) \(seconds) s (\(count))"
                self.stepAt = now()
            }

            func expectMail(_ when: String) throws {
                defer { self.step(when) }
                guard self.clients.waitForMore(20) else {
                    throw Failure("\(when): nothing is accepted any more: \(self.fleet.story)")
                }
            }

            func meet(_ fault: Fault) throws {
                self.steps = ""
                self.stepAt = now()
                try self.expectMail("before")
                let leader = try self.fleet.leader()
                let follower = (leader + 1 + Int(self.draw() * 2)) % 3
                poll(nil, 0, Int32(self.draw() * 500))
                switch fault {
                case .killLeader: try self.kill(leader)
                case .killFollower: try self.kill(follower)
                case .pauseLeader: try self.pause(leader)
                case .pauseFollower: try self.pause(follower)
                case .isolateLeader: try self.isolate(leader)
                case .isolateFollower: try self.isolate(follower)
                case .restartAll: for place in 0..<3 { try self.restart(place) }
                }
                self.step("mended")
                try self.fleet.waitUntilHealthy()
                self.step("healthy")
                try self.expectMail("after")
            }

            private func kill(_ place: Int) throws {
                self.fleet.nodes[place].kill()
                self.clients.use(self.fleet.ports)
                try self.expectMail("dead")
                try self.fleet.nodes[place].start()
                self.clients.use(self.fleet.ports)
            }

            private func pause(_ place: Int) throws {
                self.fleet.nodes[place].pause()
                let others = self.fleet.ports.filter { $0 != self.fleet.nodes[place].port }
                self.clients.use(others)
                poll(nil, 0, Int32(ClusterLedgerTests.outage * 1000))
                self.step("outage")
                try self.expectMail("paused")
                self.fleet.nodes[place].resume()
                self.clients.use(self.fleet.ports)
            }

            private func isolate(_ place: Int) throws {
                try self.fleet.isolate(place)
                // Clients still find it, and are told 4xx or nothing.
                poll(nil, 0, Int32(ClusterLedgerTests.outage * 1000))
                self.step("outage")
                try self.expectMail("cut off")
                self.fleet.mend()
            }

            private func restart(_ place: Int) throws {
                let (status, _) = try self.fleet.nodes[place].stop(seconds: 30)
                #expect(status == 0)
                self.clients.use(self.fleet.ports)
                try self.fleet.nodes[place].start()
                self.clients.use(self.fleet.ports)
                try self.fleet.waitUntilHealthy()
            }
        }

        @Test func `faults under load lose nothing, and what is repeated is counted`() throws {
            let rounds = Self.variable("POSTHOUSE_CLUSTER_ROUNDS") ?? 1
            let seed = Self.variable("POSTHOUSE_CLUSTER_SEED") ?? Int(time(nil))
            let sink = try Sink()
            var settings = RelaySettings(sinkPort: sink.port)
            settings.log = "info"
            let fleet = try Fleet(settings, isWired: true)
            try fleet.waitUntilHealthy()
            let story = Story(fleet, seed: seed)
            for round in 0..<rounds {
                for fault in Fault.allCases {
                    let before = now()
                    try story.meet(fault)
                    let seconds = String(format: "%.1f", now() - before)
                    print("cluster ledger: round \(round), \(fault): \(seconds) s:\(story.steps)")
                }
            }
            #expect(story.clients.stop())
            try fleet.waitUntilEmpty()
            let verdict = story.clients.verdict(sink, possible: fleet.possibleDuplicates)
            print("cluster ledger: seed \(seed), \(verdict)")
            #expect(verdict.lost.isEmpty, "seed \(seed): \(verdict)")
            #expect(verdict.repeated <= verdict.possible, "seed \(seed): \(verdict)")
            #expect(verdict.strangers.isEmpty, "seed \(seed): \(verdict.strangers)")
            #expect(verdict.accepted > rounds * Fault.allCases.count * 20)
            #expect(try fleet.stop() == [0, 0, 0])
        }
    }
}
