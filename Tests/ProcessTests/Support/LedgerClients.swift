// LedgerClients.swift - clients that note every promise, and what became of it at the sink.
//
// Method    roaming clients try one node after the other until one takes their message, as a good
//           client does; a resident stays with one node, and measures how long that one gives no
//           `250`. A message that was cut off or refused is not sent again: the next one has
//           another marker, so that what arrives twice was repeated by the cluster alone.
// Limits    a roaming client waits longer than a node holds a reply back (`commit_timeout`).

import Foundation

/// Where a node takes mail.
struct Door: Sendable {
    let address: String
    let port: Int
    let space: NetworkSpace?
}

/// What one node did since the last `begin`.
struct NodeWatch: Sendable {
    /// When its resident read the last `250`.
    var lastAt = now()
    /// Seconds between two of them, at most.
    var longest = 0.0
    /// Replies that were no `250`, and connections that ended, as residents and others saw them.
    var refusals: [String] = []
}

/// What the clients were promised.
struct ClusterPromises: Sendable {
    /// Markers, with the part of the story in which they were sent.
    var accepted: [String: Int] = [:]
    /// Sent up to the dot, without an answer or with a 4xx: these may arrive or not.
    var unpromised: [String: Int] = [:]
    /// What is noted now belongs to this part.
    var part = 0
    /// No message is begun.
    var isHeld = false
    /// Clients between the begin of a message and its end.
    var busy = 0
    var watches = [NodeWatch](repeating: NodeWatch(), count: 3)
    var isOver = false
    /// Where each client is connected, and how.
    var connections: [String: (place: Int, connection: Connection)] = [:]
    /// Clients that have ended.
    var ended = 0
}

final class LedgerClients: Sendable {
    /// Of a resident between two messages.
    private static let restSeconds = 0.03
    private static let roamingSeconds = 15.0

    let promises = Shared(ClusterPromises())
    private let count: Int
    private let doors: [Door]

    /// - Parameter roaming: how many, beside one resident for each door.
    init(_ roaming: Int, _ doors: [Door]) {
        self.count = roaming + doors.count
        self.doors = doors
        for number in 0..<roaming {
            Thread.detachNewThread { [self] in self.run("r\(number)", nil, number) }
        }
        for place in doors.indices {
            Thread.detachNewThread { [self] in self.run("n\(place)", place, place) }
        }
    }

    private func run(_ name: String, _ home: Int?, _ start: Int) {
        var client: MailClient?
        var turn = start
        var count = 0
        while self.mayBegin() {
            let marker = "\(name)-\(count)"
            count += 1
            do {
                if client == nil || (home == nil && count % 20 == 0) {
                    client = nil
                    turn = home ?? (turn + 1) % self.doors.count
                    let door = self.doors[turn]
                    client = try MailClient(
                        port: door.port, address: door.address, space: door.space, seconds: 2)
                    client?.connection.seconds = Self.roamingSeconds
                    let connection = client?.connection
                    self.promises.with { promises in
                        promises.connections[name] = connection.map { (turn, $0) }
                    }
                    if let banner = client?.banner, banner.code != 220 {
                        throw Failure("\(banner)")
                    }
                }
                self.promises.with { $0.unpromised[marker] = $0.part }
                let bytes = home == nil && count % 50 == 0 ? 100_000 : 1500
                let reply = try client?.send(MailClient.message(marker, bytes: bytes))
                self.note(reply, marker, at: turn, isHome: home != nil)
                if reply?.code != 250 { client = nil }
            } catch {
                client = nil
                self.promises.with { promises in
                    promises.connections[name] = nil
                    let wall = String(format: "%.3f", Date().timeIntervalSince1970)
                    promises.watches[turn].refusals.append("\(error) (\(marker), \(wall))")
                }
            }
            self.promises.with { $0.busy -= 1 }
            let rest = client == nil ? 0.1 : home == nil ? 0 : Self.restSeconds
            if rest > 0 { _ = self.promises.wait(seconds: rest) { $0.isOver ? true : nil } }
        }
        self.promises.with { $0.ended += 1 }
    }

    /// Waits while messages are held back; false: it is over.
    private func mayBegin() -> Bool {
        while true {
            let answer = self.promises.with { promises -> Bool? in
                if promises.isOver { return false }
                if promises.isHeld { return nil }
                promises.busy += 1
                return true
            }
            if let answer { return answer }
            _ = self.promises.wait(seconds: 1) { !$0.isHeld || $0.isOver ? true : nil }
        }
    }

    private func note(_ reply: Reply?, _ marker: String, at place: Int, isHome: Bool) {
        let at = now()
        self.promises.with { promises in
            guard reply?.code == 250 else {
                return promises.watches[place].refusals.append("\(reply?.description ?? "")")
            }
            promises.accepted[marker] = promises.unpromised.removeValue(forKey: marker)
            guard isHome else { return }
            let watch = promises.watches[place]
            promises.watches[place].longest = max(watch.longest, at - watch.lastAt)
            promises.watches[place].lastAt = at
        }
    }

    /// Connections with a node whose machine is gone. Nobody tells the clients: each would find
    /// out when TCP sends again, seconds after the node is back, in the middle of the next fault.
    func hangUp(at place: Int) {
        self.promises.with { promises in
            for (there, connection) in promises.connections.values where there == place {
                connection.endBothWays()
            }
        }
    }

    /// From now on the story is in this part.
    func begin(_ part: Int) {
        self.promises.with { promises in
            promises.part = part
            promises.watches = [NodeWatch](repeating: NodeWatch(), count: 3)
        }
    }

    /// What each node did since `begin`, the silence that lasts still included.
    var watches: [NodeWatch] {
        self.promises.with { promises in
            promises.watches.map { watch in
                var watch = watch
                watch.longest = max(watch.longest, now() - watch.lastAt)
                return watch
            }
        }
    }

    /// No message is on its way in when this returns, and none is begun until `goOn`.
    func hold() throws {
        self.promises.with { $0.isHeld = true }
        guard self.promises.wait(seconds: 30, for: { $0.busy == 0 ? true : nil }) == true else {
            throw Failure("a client does not end its message")
        }
    }

    /// What was silence meanwhile was ours.
    func goOn() {
        self.promises.with { promises in
            promises.isHeld = false
            for place in promises.watches.indices { promises.watches[place].lastAt = now() }
        }
    }

    var acceptedCount: Int { self.promises.with { $0.accepted.count } }

    /// Waits until `more` messages have been accepted from now on.
    func waitForMore(_ more: Int, seconds: Double = Fleet.patience) -> Bool {
        let before = self.acceptedCount
        return self.promises.wait(seconds: seconds) {
            $0.accepted.count >= before + more ? true : nil
        } ?? false
    }

    /// Ends the clients; false: one does not end.
    func stop() -> Bool {
        self.promises.with { $0.isOver = true }
        return self.promises.wait(seconds: 60) { $0.ended == self.count ? true : nil } ?? false
    }

    /// What became of the promises, for the whole and for each part.
    ///
    /// - Parameter parts: their number.
    func verdict(_ sink: Sink, possible: Int, parts: Int) -> (whole: LedgerVerdict, [LedgerVerdict])
    {
        let promises = self.promises.current
        var arrivals: [String: Int] = [:]
        for arrival in sink.accepted { arrivals[arrival.marker, default: 0] += 1 }
        var all = [LedgerVerdict](repeating: LedgerVerdict(), count: parts)
        var whole = LedgerVerdict()
        whole.possible = possible
        for (marker, part) in promises.accepted.sorted(by: { $0.key < $1.key }) {
            all[part].accepted += 1
            if arrivals[marker] == nil { all[part].lost.append(marker) }
        }
        for (marker, count) in arrivals.sorted(by: { $0.key < $1.key }) {
            guard let part = promises.accepted[marker] ?? promises.unpromised[marker] else {
                whole.strangers.append(marker)
                continue
            }
            all[part].repeated += count - 1
        }
        whole.accepted = promises.accepted.count
        whole.lost = all.flatMap(\.lost)
        whole.repeated = all.reduce(0) { $0 + $1.repeated }
        return (whole, all)
    }
}

struct LedgerVerdict: CustomStringConvertible {
    var accepted = 0
    var lost: [String] = []
    var repeated = 0
    /// What the cluster says may have been repeated.
    var possible = 0
    /// Arrived, and sent by no client of ours.
    var strangers: [String] = []

    var description: String {
        "accepted \(self.accepted), lost \(self.lost.count) \(self.lost.prefix(5)), "
            + "repeated \(self.repeated), counted \(self.possible)"
    }
}
