// Resolver.swift - questions from any event loop, answers on the loop that asked.
//
// Takes     names in ASCII (A-labels for internationalised ones).
// Gives     one answer per question, always; from the table of recent answers at once.
// Threads   event loop → `inbox` (lock, pipe) → the resolver's own thread, the only one that
//           calls libunbound → libunbound's thread → back → the asking event loop.
// Limits    questions in flight, questions waiting, answers remembered: see `Limits`.

package import NIOCore
package import Primitives
import Synchronization

/// One per process. Call `shutdown` before the last reference goes. NIOPosix has a `Resolver` too:
/// a file that imports both writes `Networking.Resolver`.
package final class Resolver: Sendable {
    package struct Configuration: Sendable {
        /// Addresses, each with an optional `@port`; empty: what /etc/resolv.conf says.
        package var servers: [String] = []
        /// A file of trust anchors: answers are validated. Nil: they are not.
        package var trustAnchor: String?
        /// The hosts file is read as well; names in it never reach a server.
        package var readsHosts = true
        /// For one question with all that it takes (RFC 5321 §4.5.4.1 leaves it to us).
        package var timeout = Duration.seconds(20)
        package init() {}
    }

    enum Limits {
        /// Questions that libunbound works on at once.
        static let inFlight = 1000
        /// Questions that wait for it; one more is answered `.overloaded`.
        static let waiting = 50_000
        /// Names whose answers are remembered.
        static let remembered = 10_000
        /// An answer is used again for its TTL, at most this long.
        static let longestMemory = Duration.seconds(60)
    }

    private let engine: ResolverEngine
    private let recent = Mutex(RecentAnswers())
    private let clock: @Sendable () -> Instant

    /// - Throws: an error that names the setting at fault and says what to do.
    package convenience init(_ configuration: Configuration) throws(ResolverError) {
        try self.init(configuration, clock: { SystemClock.bootTime() })
    }

    /// `clock`: for tests of what is remembered.
    init(
        _ configuration: Configuration, clock: @escaping @Sendable () -> Instant
    ) throws(ResolverError) {
        self.engine = try ResolverEngine(configuration)
        self.clock = clock
    }

    /// Asks for the mail exchangers of `name`. `body` runs on `loop`, once; before this function
    /// returns if the answer is remembered and the caller is on `loop`.
    package func mx(
        _ name: String, on loop: any EventLoop, _ body: @escaping @Sendable (MXAnswer) -> Void
    ) {
        let now = self.clock()
        if let known = self.recent.withLock({ $0.mx.find(name, at: now) }) {
            Self.deliver(known, on: loop, body)
            return
        }
        let question = Question(name: name, kind: .mx)
        self.engine.ask(question, on: loop) { [self] answer in
            guard case .mx(let found, let lifetime) = answer else { unreachable("MX was asked") }
            if let lifetime {
                let end = self.clock() + lifetime
                self.recent.withLock { $0.mx.store(name, found, until: end) }
            }
            body(found)
        }
    }

    /// Asks for the addresses of `name`, A and (if `ipv6`) AAAA at the same time. `body` runs as
    /// with `mx`.
    package func addresses(
        _ name: String, ipv6: Bool, on loop: any EventLoop,
        _ body: @escaping @Sendable (AddressAnswer) -> Void
    ) {
        let now = self.clock()
        let known = self.recent.withLock {
            ipv6 ? $0.both.find(name, at: now) : $0.v4.find(name, at: now)
        }
        if let known {
            Self.deliver(known, on: loop, body)
            return
        }
        let question = Question(name: name, kind: ipv6 ? .addresses : .v4)
        self.engine.ask(question, on: loop) { [self] answer in
            guard case .addresses(let found, let lifetime) = answer else {
                unreachable("addresses were asked")
            }
            if let lifetime {
                let end = self.clock() + lifetime
                self.recent.withLock {
                    if ipv6 {
                        $0.both.store(name, found, until: end)
                    } else {
                        $0.v4.store(name, found, until: end)
                    }
                }
            }
            body(found)
        }
    }

    /// Answers every open question with `.overloaded` and ends the threads; returns when they have
    /// ended (a few milliseconds). Not from an event loop. Later questions get the same answer.
    package func shutdown() { self.engine.shutdown() }

    private static func deliver<Answer: Sendable>(
        _ answer: Answer, on loop: any EventLoop, _ body: @escaping @Sendable (Answer) -> Void
    ) {
        if loop.inEventLoop {
            body(answer)
        } else {
            loop.execute { body(answer) }
        }
    }
}

/// Why the resolver cannot start.
package struct ResolverError: Error, Equatable, Sendable {
    package let label: StaticLabel
    package let detail: String
    package let remedy: String
}

/// Answers of the last minute by kind.
private struct RecentAnswers {
    var mx = AnswerTable<MXAnswer>()
    var both = AnswerTable<AddressAnswer>()
    var v4 = AnswerTable<AddressAnswer>()
}

/// Answers that are still good, at most `Resolver.Limits.remembered`.
struct AnswerTable<Answer: Sendable>: Sendable {
    private var rows: [String: (answer: Answer, end: Instant)] = [:]
    private let limit: Int

    init(limit: Int = Resolver.Limits.remembered) { self.limit = limit }

    var count: Int { self.rows.count }

    func find(_ name: String, at now: Instant) -> Answer? {
        guard let row = self.rows[name], now < row.end else { return nil }
        return row.answer
    }

    /// A full table forgets everything: at one fill per minute this costs less than an order of
    /// age.
    mutating func store(_ name: String, _ answer: Answer, until end: Instant) {
        if self.rows.count >= self.limit && self.rows[name] == nil { self.rows.removeAll() }
        self.rows[name] = (answer, end)
    }
}
