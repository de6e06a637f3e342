// LedgerClients.swift - clients that note every promise, and what became of it at the sink.
//
// Each client tries one node after the other until one takes its message, as a good client does. A
// message that was cut off or refused is not sent again: the next one has another marker, so that
// what arrives twice was repeated by the cluster and by nobody else.

import Foundation

/// What the clients were promised.
struct ClusterPromises: Sendable {
    var accepted: Set<String> = []
    /// Sent up to the dot, without an answer or with a 4xx: these may arrive or not.
    var unpromised: Set<String> = []
    /// Where the nodes are now.
    var ports: [Int] = []
    var isOver = false
    /// Clients that have ended.
    var ended = 0
}

final class LedgerClients: Sendable {
    let promises: Shared<ClusterPromises>
    private let count: Int

    init(_ count: Int, ports: [Int]) {
        self.count = count
        self.promises = Shared(ClusterPromises(ports: ports))
        for number in 0..<count {
            Thread.detachNewThread { [promises] in Self.run(number, promises) }
        }
    }

    func use(_ ports: [Int]) { self.promises.with { $0.ports = ports } }

    private static func run(_ number: Int, _ promises: Shared<ClusterPromises>) {
        var client: MailClient?
        var turn = number
        var count = 0
        while !promises.current.isOver {
            let ports = promises.current.ports
            let marker = "c\(number)-\(count)"
            count += 1
            do {
                if client == nil || count % 20 == 0 {
                    turn += 1
                    client = try MailClient(port: ports[turn % max(1, ports.count)])
                    // Longer than a node holds a reply back (`commit_timeout`).
                    client?.connection.seconds = 15
                }
                promises.with { _ = $0.unpromised.insert(marker) }
                guard
                    let reply = try client?.send(
                        MailClient.message(marker, bytes: count % 50 == 0 ? 100_000 : 1500))
                else { continue }
                promises.with { promises in
                    if reply.code == 250 {
                        promises.unpromised.remove(marker)
                        promises.accepted.insert(marker)
                    }
                }
                if reply.code != 250 { client = nil }
            } catch {
                client = nil
                _ = promises.wait(seconds: 0.1) { $0.isOver ? true : nil }
            }
        }
        promises.with { $0.ended += 1 }
    }

    /// Waits until `more` messages have been accepted from now on.
    func waitForMore(_ more: Int, seconds: Double = Fleet.patience) -> Bool {
        let before = self.promises.current.accepted.count
        return self.promises.wait(seconds: seconds) {
            $0.accepted.count >= before + more ? true : nil
        } ?? false
    }

    /// Ends the clients; false: one does not end.
    func stop() -> Bool {
        self.promises.with { $0.isOver = true }
        return self.promises.wait(seconds: 60) { $0.ended == self.count ? true : nil } ?? false
    }

    /// What became of the promises.
    func verdict(_ sink: Sink, possible: Int) -> LedgerVerdict {
        let promises = self.promises.current
        var arrivals: [String: Int] = [:]
        for arrival in sink.accepted { arrivals[arrival.marker, default: 0] += 1 }
        let known = promises.accepted.union(promises.unpromised)
        return LedgerVerdict(
            accepted: promises.accepted.count,
            lost: promises.accepted.filter { arrivals[$0] == nil }.sorted(),
            repeated: arrivals.values.reduce(0) { $0 + $1 - 1 }, possible: possible,
            strangers: arrivals.keys.filter { !known.contains($0) }.sorted())
    }
}

struct LedgerVerdict: CustomStringConvertible {
    var accepted: Int
    var lost: [String]
    var repeated: Int
    /// What the cluster says may have been repeated.
    var possible: Int
    /// Arrived, and sent by no client of ours.
    var strangers: [String]

    var description: String {
        "accepted \(self.accepted), lost \(self.lost.count) \(self.lost.prefix(5)), "
            + "repeated \(self.repeated), counted \(self.possible)"
    }
}
