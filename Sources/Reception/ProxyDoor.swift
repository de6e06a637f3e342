// ProxyDoor.swift - whose PROXY headers one listener believes, and what it tells of the others.
//
// Limits    `Limit`: connections that wait for their header; lines of log. What is not logged is
//           counted: posthouse_proxy_refused_total{reason}, posthouse_smtp_probes_total.

import Logging
import Metrics
import NIOCore
import Networking
import Primitives
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

/// Who is at the other end of a session, and how far the address may be believed.
///
/// `relay.allow` names machines that connect to us. Behind a balancer three things must not pass
/// for one of them:
/// 1. the balancer itself, where the header names no client (LOCAL, UNKNOWN): it may well stand in
///    `relay.allow`, and 127.0.0.0/8 does so by default;
/// 2. a loopback address in the header of another machine: it is that machine's loopback, not ours;
/// 3. the unspecified address, which is nobody's.
struct Caller: Equatable, Sendable {
    /// The client's; the balancer's if `isAnonymous`.
    let address: IPAddress
    /// The balancer through which it came; nil: it came by itself.
    let balancer: IPAddress?
    /// Its header has not told who it is: a health check, or a client that cannot be known.
    let isAnonymous: Bool
    /// LOCAL, a health check for sure.
    let isLocal: Bool

    /// Came by itself.
    init(_ address: IPAddress) {
        self.address = address
        self.balancer = nil
        self.isAnonymous = false
        self.isLocal = false
    }

    init(_ header: ProxyHeader, from balancer: IPAddress) {
        self.address = header.source?.address ?? balancer
        self.balancer = balancer
        self.isAnonymous = header.source == nil
        self.isLocal = header.kind == .local
    }

    /// Whether `relay.allow` is asked about the address at all.
    var mayBeTrusted: Bool {
        guard let balancer = self.balancer else { return true }
        if self.isAnonymous || self.address.isUnspecified { return false }
        return !self.address.isLoopback || balancer.isLoopback
    }

    /// Whose sessions are counted together; nil: nobody's, as it would be the balancer's.
    var counted: IPAddress? { self.isAnonymous ? nil : self.address }
}
