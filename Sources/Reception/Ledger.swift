// Ledger.swift - what is counted across sessions: who is connected, who has failed, who sends much.
//
// One lock, held for a lookup; asked at connect, at AUTH and, for users, at MAIL.
// Limits    `Limit`; a full table forgets what no longer counts, then stops noting new names.

import Primitives
import Synchronization

final class Ledger: Sendable {
    enum Limit {
        /// Failed authentications from one address within `authWindow`.
        static let authFailuresPerAddress = 10
        /// Failed authentications of one user within `authWindow`, from anywhere.
        static let authFailuresPerUser = 20
        static let authWindow = Duration.seconds(600)
        static let messageWindow = Duration.seconds(3600)
        /// Addresses, and users, that are remembered.
        static let rows = 50_000
    }

    /// Events since the begin of a window.
    private struct Tally {
        var count = 0
        var since: Instant

        mutating func add(at now: Instant, window: Duration) {
            if now - self.since >= window { self = Tally(since: now) }
            self.count += 1
        }
        func count(at now: Instant, window: Duration) -> Int {
            now - self.since >= window ? 0 : self.count
        }
    }

    private struct State {
        var sessions = 0
        var sessionsByNetwork: [IPAddress: Int] = [:]
        var failuresByNetwork: [IPAddress: Tally] = [:]
        var failuresByUser: [String: Tally] = [:]
        var messagesByUser: [String: Tally] = [:]
    }
    private let state = Mutex(State())

    init() {}

    /// A v6 address counts as its /64, which one customer has to himself (RFC 6177 §2).
    static func network(_ address: IPAddress) -> IPAddress {
        address.isV4 ? address : IPAddress(v6: address.high, 0)
    }

    /// Sessions that are open.
    var sessions: Int { self.state.withLock { $0.sessions } }

    /// Counts a new session; false: it is one too many and was not counted.
    ///
    /// - Parameter address: nil: of a balancer that names no client; counts in the total only.
    func open(_ address: IPAddress?, total: Int, perAddress: Int) -> Bool {
        let network = address.map(Self.network)
        return self.state.withLock { state in
            guard state.sessions < total else { return false }
            if let network {
                let count = state.sessionsByNetwork[network, default: 0]
                guard count < perAddress else { return false }
                state.sessionsByNetwork[network] = count + 1
            }
            state.sessions += 1
            return true
        }
    }

    /// - Parameter address: as it was given to `open`.
    func close(_ address: IPAddress?) {
        let network = address.map(Self.network)
        self.state.withLock { state in
            state.sessions -= 1
            guard let network, let count = state.sessionsByNetwork[network] else { return }
            state.sessionsByNetwork[network] = count > 1 ? count - 1 : nil
        }
    }

    /// What stands in the way of checking a password.
    enum AuthObstacle {
        case address
        case user
    }

    func obstacle(user: String, from address: IPAddress, at now: Instant) -> AuthObstacle? {
        let network = Self.network(address)
        return self.state.withLock { state in
            let window = Limit.authWindow
            if let tally = state.failuresByNetwork[network],
                tally.count(at: now, window: window) >= Limit.authFailuresPerAddress
            {
                return .address
            }
            if let tally = state.failuresByUser[user],
                tally.count(at: now, window: window) >= Limit.authFailuresPerUser
            {
                return .user
            }
            return nil
        }
    }

    func noteFailure(user: String, from address: IPAddress, at now: Instant) {
        let network = Self.network(address)
        self.state.withLock { state in
            Self.add(network, to: &state.failuresByNetwork, at: now, window: Limit.authWindow)
            Self.add(user, to: &state.failuresByUser, at: now, window: Limit.authWindow)
        }
    }

    /// Whether `user` may send one more message now.
    func maySend(_ user: String, limit: Int, at now: Instant) -> Bool {
        self.state.withLock { state in
            (state.messagesByUser[user]?.count(at: now, window: Limit.messageWindow) ?? 0) < limit
        }
    }

    func noteMessage(_ user: String, at now: Instant) {
        self.state.withLock { state in
            Self.add(user, to: &state.messagesByUser, at: now, window: Limit.messageWindow)
        }
    }

    private static func add<Key: Hashable>(
        _ key: Key, to rows: inout [Key: Tally], at now: Instant, window: Duration
    ) {
        if rows[key] == nil && rows.count >= Limit.rows {
            rows = rows.filter { $0.value.count(at: now, window: window) > 0 }
            if rows.count >= Limit.rows { return }
        }
        rows[key, default: Tally(since: now)].add(at: now, window: window)
    }
}
