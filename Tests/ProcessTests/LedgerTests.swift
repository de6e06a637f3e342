// LedgerTests.swift - kill -9 at random instants under load: nothing lost, repeats counted.
//
// A client notes every `250`, a sink notes every arrival. The process is killed N times while
// mail flows, and started again. At the end, each noted message must have arrived; arrivals beyond
// the first are compared with what the relay itself says may have been repeated.
//
// Limits    5 rounds; POSTHOUSE_LEDGER_ROUNDS=100 for the long form, POSTHOUSE_LEDGER_SEED=N to
//           repeat the instants of an earlier run.

import Foundation
import Testing

/// What the clients were promised.
private struct Promises: Sendable {
    var accepted: Set<String> = []
    /// Sent up to the dot, without an answer: these may arrive or not.
    var unanswered: Set<String> = []
    var port = 0
    var isOver = false
}

extension ProcessTests {
    @Suite("The ledger") struct LedgerTests {
        private static let clients = 4

        private static func variable(_ name: String) -> Int? {
            ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
        }

        /// Sends without pause; connects again whenever the relay goes away.
        private func load(_ number: Int, _ promises: Shared<Promises>, done: Shared<Int>) {
            var client: MailClient?
            var port = 0
            var count = 0
            while !promises.current.isOver {
                let marker = "c\(number)-\(count)"
                count += 1
                do {
                    let current = promises.current.port
                    if client == nil || port != current {
                        port = current
                        client = try MailClient(port: port)
                        client?.connection.seconds = 20
                    }
                    promises.with { _ = $0.unanswered.insert(marker) }
                    let reply = try client?.send(MailClient.message(marker, bytes: 2000))
                    guard let reply else { continue }
                    promises.with { promises in
                        promises.unanswered.remove(marker)
                        if reply.code == 250 { promises.accepted.insert(marker) }
                    }
                } catch {
                    client = nil
                    // Wait for the next port, or for the end.
                    let old = port
                    _ = promises.wait(seconds: 0.2) { $0.port != old || $0.isOver ? true : nil }
                }
            }
            done.with { $0 += 1 }
        }

        @Test(.timeLimit(.minutes(30)))
        func `kill -9 under load loses nothing and counts what it repeats`() throws {
            let rounds = Self.variable("POSTHOUSE_LEDGER_ROUNDS") ?? 5
            let seed = Self.variable("POSTHOUSE_LEDGER_SEED") ?? Int(time(nil))
            var dice = UInt64(seed)
            let sink = try Sink()
            let relay = try Relay(RelaySettings(sinkPort: sink.port))
            let promises = Shared(Promises(port: relay.port))
            let done = Shared(0)
            for number in 0..<Self.clients {
                Thread.detachNewThread { self.load(number, promises, done: done) }
            }
            for round in 0..<rounds {
                dice = dice &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let seconds = 0.05 + Double(dice >> 40) / Double(1 << 24) * 1.2
                let before = promises.current.accepted.count
                // A round without a promise proves nothing: wait for one, then for the instant.
                let moves = promises.wait(seconds: 20) {
                    $0.accepted.count > before ? true : nil
                }
                try #require(moves == true, "round \(round): nothing is accepted any more")
                poll(nil, 0, Int32(seconds * 1000))
                relay.kill()
                try relay.start()
                let port = relay.port
                promises.with { $0.port = port }
            }
            promises.with { $0.isOver = true }
            #expect(done.wait(seconds: 30) { $0 == Self.clients ? true : nil } == true)
            let isEmpty = try eventually(within: 60) { try relay.queued() == 0 }
            if !isEmpty { print("ledger: left in the queue: \(try relay.get("/v1/queue").body)") }
            #expect(isEmpty)

            let accepted = promises.current.accepted
            var arrivals: [String: Int] = [:]
            for arrival in sink.accepted { arrivals[arrival.marker, default: 0] += 1 }
            let lost = accepted.filter { arrivals[$0] == nil }.sorted()
            let repeated = arrivals.values.reduce(0) { $0 + $1 - 1 }
            let counted = try relay.possibleDuplicates()
            let story =
                "seed \(seed), rounds \(rounds), accepted \(accepted.count), "
                + "lost \(lost.count), repeated \(repeated), counted \(counted)"
            print("ledger: \(story)")
            #expect(lost.isEmpty, "\(story): \(lost.prefix(5))")
            #expect(repeated <= counted, "\(story)")
            #expect(accepted.count > rounds)
            // Whatever arrived was sent by a client of ours.
            let known = accepted.union(promises.current.unanswered)
            #expect(arrivals.keys.allSatisfy { known.contains($0) }, "\(story)")
            try relay.stop()
        }
    }
}
