// RecipientProber.swift - asks the next host about recipients before we accept them, and remembers.
//
// Takes     addresses of domains that we relay for.
// Gives     an answer within `Limit.patience`, from memory if it is fresh.
// Never     sends DATA: MAIL FROM:<>, RCPT TO, RSET.
// Standard  RFC 5321 §3.6.2, §7.8 (no bounces to forged senders), §4.5.5 (the null sender).

package import NIOCore
import Networking
import Primitives
import Synchronization

/// One per node; used from any loop.
package final class RecipientProber: Sendable {
    package enum Limit {
        /// Answers that are remembered; the oldest half goes when there are more.
        package static let remembered = 50_000
        package static let valid = Duration.seconds(3600)
        package static let invalid = Duration.seconds(600)
        package static let unknown = Duration.seconds(60)
        /// A session waits no longer.
        package static let patience = Duration.seconds(10)
    }

    private let service: DeliveryService
    private let memory = Mutex(ProbeMemory())

    package init(_ service: DeliveryService) { self.service = service }

    /// `body` runs on `loop` once; before this returns if the answer is remembered and the caller
    /// is on `loop`. Equal questions at the same time are asked once.
    package func probe(
        _ address: String, on loop: any EventLoop,
        _ body: @escaping @Sendable (ProbeAnswer) -> Void
    ) {
        let now = SystemClock.bootTime()
        let once = OneAnswer(loop: loop, body: body)
        switch self.memory.withLock({ $0.ask(address, at: now, once) }) {
        case .known(let answer): once.give(answer)
        case .asked: self.watch(once, loop)
        case .toAsk:
            self.watch(once, loop)
            self.service.probe(address) { answer in
                let now = SystemClock.bootTime()
                let waiting = self.memory.withLock { $0.learn(address, answer, at: now) }
                for asker in waiting { asker.give(answer) }
            }
        }
    }

    private func watch(_ once: OneAnswer, _ loop: any EventLoop) {
        let patience = TimeAmount.nanoseconds(Limit.patience.inNanoseconds)
        let timer = loop.scheduleTask(in: patience) { once.give(.unknown) }
        once.setTimer(timer)
    }
}

/// Gives the first of several answers, on the asker's loop.
final class OneAnswer: Sendable {
    private struct State {
        var isGiven = false
        var timer: Scheduled<Void>?
    }
    private let loop: any EventLoop  // existential: any group's loop, once per question
    private let body: @Sendable (ProbeAnswer) -> Void
    private let state = Mutex(State())

    init(loop: any EventLoop, body: @escaping @Sendable (ProbeAnswer) -> Void) {
        self.loop = loop
        self.body = body
    }

    func setTimer(_ timer: Scheduled<Void>) {
        let isLate = self.state.withLock { state in
            state.timer = timer
            return state.isGiven
        }
        if isLate { timer.cancel() }
    }

    func give(_ answer: ProbeAnswer) {
        let (isFirst, timer) = self.state.withLock { state in
            defer { state.isGiven = true }
            return (!state.isGiven, state.timer)
        }
        guard isFirst else { return }
        timer?.cancel()
        let body = self.body
        if self.loop.inEventLoop { body(answer) } else { self.loop.execute { body(answer) } }
    }
}

/// Answers with their end, and who waits for one.
struct ProbeMemory {
    enum Outcome: Equatable {
        case known(ProbeAnswer)
        /// Somebody has asked already.
        case asked
        case toAsk
    }
    private struct Row {
        var answer: ProbeAnswer
        var until: Instant
    }
    private var rows: [String: Row] = [:]
    /// Addresses in the order in which they were learnt; one may stand twice.
    private var ages = RingBuffer<String>()
    private var waiting: [String: [OneAnswer]] = [:]
    private let limit: Int

    init(limit: Int = RecipientProber.Limit.remembered) { self.limit = limit }

    var count: Int { self.rows.count }
    /// Names that are kept in order of age, also those that stand twice.
    var remembered: Int { self.ages.count }

    mutating func ask(_ address: String, at now: Instant, _ asker: OneAnswer) -> Outcome {
        if let row = self.rows[address], now < row.until { return .known(row.answer) }
        let isFirst = self.waiting[address] == nil
        self.waiting[address, default: []].append(asker)
        return isFirst ? .toAsk : .asked
    }

    mutating func learn(
        _ address: String, _ answer: ProbeAnswer, at now: Instant
    ) -> [OneAnswer] {
        let lifetime =
            switch answer {
            case .valid: RecipientProber.Limit.valid
            case .invalid: RecipientProber.Limit.invalid
            case .unknown: RecipientProber.Limit.unknown
            }
        self.rows[address] = Row(answer: answer, until: now + lifetime)
        self.ages.append(address)
        // Twice the limit of names: some stand there for rows that were learnt anew.
        while self.rows.count > self.limit || self.ages.count > 2 * self.limit {
            guard let oldest = self.ages.popFirst() else { break }
            if let row = self.rows[oldest], row.until <= now || self.rows.count > self.limit {
                self.rows[oldest] = nil
            }
        }
        return self.waiting.removeValue(forKey: address) ?? []
    }
}
