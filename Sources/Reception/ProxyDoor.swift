// ProxyDoor.swift - whose PROXY headers one listener believes, and what it tells of the others.
//
// Limits    `Limit`: connections that wait for their header; lines of log. What is not logged is
//           counted: posthouse_proxy_refused_total{reason}, posthouse_smtp_probes_total.

import Logging
import Metrics
import NIOCore
import Networking
import Primitives
import SMTP
import Settings
import Synchronization

final class ProxyDoor: Sendable {
    enum Limit {
        /// Connections of one listener whose header is not complete. Each lasts for
        /// `ProxyHandler.Limit.headerTime` at most.
        static let waiting = 4096
        /// One line of log for each reason in this time; the line says how many were not told.
        static let tellEvery = Duration.seconds(60)
    }

    private struct State {
        var waiting = 0
        /// By reason: when it was told last, and how often it happened since.
        var told: [ProxyRefusal: (at: Instant, silent: Int)] = [:]
    }

    private let trusted: [AddressRange]
    private let place: String
    private let log: Logger
    private let state = Mutex(State())
    private let refused: [ProxyRefusal: Counter]

    init(_ listener: Settings.Listener, log: Logger) {
        self.trusted = listener.proxyTrusted
        self.place = listener.address.description
        self.log = log
        self.refused = Dictionary(
            uniqueKeysWithValues: ProxyRefusal.allCases.map { reason in
                let counter = Counter(
                    label: "posthouse_proxy_refused_total",
                    dimensions: [("reason", reason.rawValue)])
                return (reason, counter)
            })
    }

    /// Whether headers of `peer` are believed.
    func trusts(_ peer: IPAddress) -> Bool { self.trusted.contains { $0.contains(peer) } }

    /// Counts one more that waits for its header; false: it is one too many and was not counted.
    func enter() -> Bool {
        self.state.withLock { state in
            guard state.waiting < Limit.waiting else { return false }
            state.waiting += 1
            return true
        }
    }

    func leave() { self.state.withLock { $0.waiting -= 1 } }

    /// Counts a connection that is closed, and tells of it if it was not told lately.
    func note(_ reason: ProxyRefusal, from peer: IPAddress, at now: Instant) {
        self.refused[reason]?.increment()
        guard let silent = self.silent(reason, at: now) else { return }
        var metadata: Logger.Metadata = [
            "listener": .string(self.place), "peer": "\(peer)",
            "reason": .string(reason.rawValue), "remedy": .string(reason.remedy),
        ]
        if silent > 0 { metadata["others"] = "\(silent)" }
        self.log.warning("connection without a valid PROXY header closed", metadata: metadata)
    }

    /// Nil: do not tell; else how many were not told since the last time.
    private func silent(_ reason: ProxyRefusal, at now: Instant) -> Int? {
        if reason == .stopping { return nil }
        return self.state.withLock { state in
            if let told = state.told[reason], now - told.at < Limit.tellEvery {
                state.told[reason] = (told.at, told.silent + 1)
                return nil
            }
            let silent = state.told[reason]?.silent ?? 0
            state.told[reason] = (now, 0)
            return silent
        }
    }
}

extension Caller {
    init(_ header: ProxyHeader, from balancer: IPAddress) {
        if let source = header.source {
            self.init(source.address, by: balancer)
        } else {
            self.init(anonymousBy: balancer, isLocal: header.kind == .local)
        }
    }
}
