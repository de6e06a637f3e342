// Authenticator.swift - checks passwords away from the event loops, one at a time.
//
// Takes     a name and a password; the hash comes from the policy that is in force.
// Gives     a decision on the asking session's loop.
// Limits    `waiting` checks at a time; more are told to try again. A check that succeeded is
//           remembered for `memory`, so that a client with many connections costs one slow hash.
// Standard  RFC 4954 §4, §6; RFC 4616.

import NIOCore
import OpenSSL
import Primitives
import SMTP
import Settings
import Synchronization

final class Authenticator: Sendable {
    enum Limit {
        /// Checks that wait or run.
        static let waiting = 64
        /// How long a success is remembered.
        static let memory = Duration.seconds(600)
        static let remembered = 1000
    }

    private struct State {
        var waiting = 0
        /// By keyed digest of name, stored hash and password.
        var successes: [Digest256: Instant] = [:]
    }
    private let state = Mutex(State())
    private let ledger: Ledger
    private let key = Secrets.randomBytes(32)
    private let worker = Worker()

    /// One slow hash at a time: the others wait here, not on a thread.
    private actor Worker {
        func verify(_ password: [UInt8], _ hash: String) -> Bool {
            PasswordHash.verify(password, hash)
        }
    }

    init(ledger: Ledger) { self.ledger = ledger }

    /// A hash of a password that nobody has: unknown users cost what known ones do.
    private static let nobody = PasswordHash.make(Secrets.randomBytes(16))

    /// - Parameter decide: called once, on `loop`.
    func check(
        user: [UInt8], password: [UInt8], from address: IPAddress, users: UserFile,
        on loop: any EventLoop, clock: @escaping @Sendable () -> Instant,
        decide: @escaping @Sendable (AuthDecision) -> Void
    ) {
        guard let name = String(validating: user, as: UTF8.self) else {
            return decide(.failed)
        }
        let now = clock()
        switch self.ledger.obstacle(user: name, from: address, at: now) {
        case .address: return decide(.tooMany)
        case .user: return decide(.unavailable)
        case nil: break
        }
        let known = users.hash(of: name)
        guard let hash = known ?? Self.nobody else { return decide(.unavailable) }
        let digest = HMACSHA256.authenticate(
            user + [0] + Array(hash.utf8) + [0] + password, key: self.key)
        if self.isRemembered(digest, at: now) { return decide(.user(name)) }
        let mayWait = self.state.withLock { state in
            guard state.waiting < Limit.waiting else { return false }
            state.waiting += 1
            return true
        }
        guard mayWait else { return decide(.unavailable) }
        Task.detached {
            let isRight = await self.worker.verify(password, hash) && known != nil
            let now = clock()
            self.state.withLock { $0.waiting -= 1 }
            if isRight {
                self.remember(digest, at: now)
            } else {
                self.ledger.noteFailure(user: name, from: address, at: now)
            }
            loop.execute { decide(isRight ? .user(name) : .failed) }
        }
    }

    private func isRemembered(_ digest: Digest256, at now: Instant) -> Bool {
        self.state.withLock { state in
            guard let since = state.successes[digest] else { return false }
            return now - since < Limit.memory
        }
    }

    private func remember(_ digest: Digest256, at now: Instant) {
        self.state.withLock { state in
            if state.successes.count >= Limit.remembered {
                state.successes = state.successes.filter { now - $0.value < Limit.memory }
            }
            if state.successes.count < Limit.remembered { state.successes[digest] = now }
        }
    }
}
