// SimServers.swift - the mail servers of others, and the clients and operators of ours.
//
// Faults    servers refuse, defer, fail, stall before and behind the final dot, lose connections,
//           and drop them behind the dot with or without the message.

import Cluster
import MailQueue
import Primitives
import SMTP
import Spool

final class SimServers {
    enum Mode: Int, CaseIterable {
        case accepts, defers, fails, mixes, refuses, stalls, losesContent, dropsBehindDot
        case stallsBehindDot, defersBehindDot, failsBehindDot
    }

    struct Answer {
        var isStored: Bool
        /// Nil: the connection is lost without a word.
        var reply: Reply?
        var wait: Int64
    }

    unowned var world: SimWorld!
    private var modes: [Mode]

    init(count: Int) { self.modes = [Mode](repeating: .accepts, count: count) }

    func begin() {
        guard !self.world.options.isCalm else { return }
        for place in self.modes.indices { self.change(place) }
    }

    private func change(_ place: Int) {
        self.world.after(self.world.magnitude(SimWorld.second, 20 * SimWorld.second)) {
            guard !self.world.isHealing else { return }
            self.world.counters[.serverChanges] += 1
            let modes = Mode.allCases
            self.modes[place] =
                self.world.chance(400)
                ? .accepts : modes[self.world.dice.below(modes.count)]
            self.world.note("d\(place) \(self.modes[place])")
            self.change(place)
        }
    }

    func heal() { for i in self.modes.indices { self.modes[i] = .accepts } }

    private func mode(_ destination: String) -> Mode {
        let place = Int(destination.dropFirst()) ?? 0
        return place < self.modes.count ? self.modes[place] : .accepts
    }

    func refuses(_ destination: String) -> Bool { self.mode(destination) == .refuses }

    func recipient(_ destination: String, _ address: String) -> Reply {
        switch self.mode(destination) {
        case .defers: return Reply(450, EnhancedCode(4, 2, 0), "later")
        case .fails: return Reply(550, EnhancedCode(5, 1, 1), "unknown")
        case .mixes:
            switch self.world.dice.below(3) {
            case 0: return Reply(450, EnhancedCode(4, 2, 0), "later")
            case 1: return Reply(550, EnhancedCode(5, 1, 1), "unknown")
            case _: return Reply(250, EnhancedCode(2, 1, 5), "ok")
            }
        case .accepts, .refuses, .stalls, .losesContent, .dropsBehindDot, .stallsBehindDot,
            .defersBehindDot, .failsBehindDot:
            return Reply(250, EnhancedCode(2, 1, 5), "ok")
        }
    }

    /// How long the content takes, ms, and whether the connection is lost before the dot.
    func content(_ destination: String) -> (least: Int64, most: Int64, isLost: Bool) {
        switch self.mode(destination) {
        case .stalls: (500, 20_000, self.world.chance(200))
        case .losesContent: (1, 500, true)
        case .accepts, .defers, .fails, .mixes, .refuses, .dropsBehindDot, .stallsBehindDot,
            .defersBehindDot, .failsBehindDot:
            (1, 50, false)
        }
    }

    /// From the write of the final dot to its arrival.
    func dotDelay() -> Int64 {
        let ms = SimWorld.millisecond
        if !self.world.isHealing, self.world.chance(30) { return self.world.draw(100, 2000) * ms }
        return self.world.draw(1, 100) * ms
    }

    func verdict(_ destination: String) -> Answer {
        let ms = SimWorld.millisecond
        let wait = self.world.draw(1, 60) * ms
        let ok = Reply(250, EnhancedCode(2, 0, 0), "taken")
        switch self.mode(destination) {
        case .dropsBehindDot:
            return Answer(isStored: self.world.chance(500), reply: nil, wait: wait)
        case .stallsBehindDot:
            return Answer(isStored: true, reply: ok, wait: self.world.draw(500, 15_000) * ms)
        case .defersBehindDot:
            let reply = Reply(451, EnhancedCode(4, 3, 0), "later")
            return Answer(isStored: false, reply: reply, wait: wait)
        case .failsBehindDot:
            let reply = Reply(554, EnhancedCode(5, 7, 1), "no")
            return Answer(isStored: false, reply: reply, wait: wait)
        case .accepts, .defers, .fails, .mixes, .refuses, .stalls, .losesContent:
            return Answer(isStored: true, reply: ok, wait: wait)
        }
    }
}

/// A complete message at one node.
final class SimSubmission {
    /// What the client sends; the same for each try.
    let content: UInt64
    let envelope: Envelope
    let destinations: [String]
    let body: SimBody
    weak var client: SimClient?
    var attempt = 0
    /// Its client was told 421 before there was a verdict.
    var isRefused = false

    init(content: UInt64, envelope: Envelope, bytes: UInt64, client: SimClient?) {
        self.content = content
        self.envelope = envelope
        self.destinations = envelope.recipients.map { String($0.domain) }
        self.body = SimBody(
            digest: BodyDigest(a: content, b: 0, c: 0, d: 1), contentBytes: bytes)
        self.client = client
    }

    convenience init(report: ReportID, to recipient: String, content: UInt64) {
        self.init(
            content: content,
            envelope: Envelope(
                sender: "",
                recipients: [Recipient(address: recipient, notify: [.explicit, .never])]),
            bytes: 900, client: nil)
    }
}

/// Sends one message after the other, each until it is taken or given up.
final class SimClient {
    private static let triesMax = 8
    let number: Int
    private unowned let world: SimWorld
    private var current: SimSubmission?
    private var tries = 0

    init(number: Int, world: SimWorld) {
        self.number = number
        self.world = world
    }

    var isIdle: Bool { self.current == nil }

    func begin() {
        self.world.after(
            self.world.magnitude(self.world.scenario.pace / 4, self.world.scenario.pace * 4)
        ) {
            guard !self.world.isHealing else { return }
            self.compose()
            self.send()
        }
    }

    private func compose() {
        var recipients: [Recipient] = []
        let isPlain = self.world.options.scale != nil
        let count = isPlain || self.world.chance(700) ? 1 : 1 + self.world.dice.below(4)
        let content = self.world.truth.nextContent()
        for place in 0..<count {
            let destination = self.world.dice.below(self.world.scenario.destinations)
            recipients.append(Recipient(address: "r\(place)@d\(destination)"))
        }
        let sender = self.world.chance(100) ? "" : "c\(self.number)@d\(self.number % 4)"
        let bytes: UInt64 = isPlain ? 4096 : self.world.chance(200) ? 200_000 : 3000
        self.tries = 0
        self.current = SimSubmission(
            content: content, envelope: Envelope(sender: sender, recipients: recipients),
            bytes: bytes, client: self)
    }

    private func send() {
        guard let old = self.current else { return }
        guard self.tries < Self.triesMax else {
            self.world.counters[.givenUp] += 1
            self.current = nil
            return self.begin()
        }
        self.tries += 1
        let submission = SimSubmission(
            content: old.content, envelope: old.envelope, bytes: old.body.contentBytes, client: self
        )
        submission.attempt = old.attempt + 1
        self.current = submission
        self.world.counters[.submissions] += 1
        let node = self.world.nodes[self.world.dice.below(self.world.nodes.count)]
        guard node.isRunning else { return self.tryAgain(submission) }
        self.world.after(self.world.draw(1, 20) * SimWorld.millisecond, on: node) {
            if node.hasObstacle {
                self.answered(submission, false)
            } else {
                node.enqueue(submission)
            }
        }
        self.world.after(20 * SimWorld.second) {
            guard self.current === submission else { return }
            self.world.truth.excused.insert(submission.content)
            self.tryAgain(submission)
        }
    }

    /// The reply is written; it takes a while.
    func answered(_ submission: SimSubmission, _ isAccepted: Bool) {
        self.world.counters[isAccepted ? .accepted : .refused] += 1
        self.world.after(self.world.draw(1, 30) * SimWorld.millisecond) {
            guard self.current === submission else { return }
            guard isAccepted else { return self.tryAgain(submission) }
            self.current = nil
            self.begin()
        }
    }

    func wasCut(_ submission: SimSubmission) {
        self.world.counters[.cuts] += 1
        self.world.truth.excused.insert(submission.content)
        self.tryAgain(submission)
    }

    private func tryAgain(_ submission: SimSubmission) {
        let wait = self.world.magnitude(50 * SimWorld.millisecond, 2 * SimWorld.second)
        self.world.after(wait) { if self.current === submission { self.send() } }
    }
}

extension SimWorld {
    /// Somebody who holds, releases, retries, bounces and drops what is in the queue.
    func beginOperator() {
        guard !self.options.isCalm else { return }
        self.after(self.magnitude(500 * Self.millisecond, 20 * Self.second)) {
            guard !self.isHealing else { return }
            self.operate()
            self.beginOperator()
        }
    }

    private func operate() {
        let node = self.nodes[self.dice.below(self.nodes.count)]
        let roll = self.dice.below(100)
        self.after(0, on: node) {
            let list = node.machine.queue.list(QueueFilter(), limit: 20).messages
            guard !list.isEmpty else { return }
            let message = list[self.dice.below(list.count)]
            let verb: Admin.Verb =
                switch roll {
                case ..<40: .retry
                case ..<60: .hold
                case ..<80: .release
                case ..<90: .bounce
                case _: .drop
                }
            self.counters[.operators] += 1
            node.propose(
                .admin(
                    Admin(verb: verb, deliveries: message.deliveries.map(\.id), reason: "no")),
                .nothing)
        }
    }

    /// Everything that is held goes on.
    func releaseAll() {
        for node in self.nodes {
            self.after(0, on: node) {
                let held = node.machine.queue.list(QueueFilter(state: .held), limit: 1000).messages
                let ids = held.flatMap { $0.deliveries.map(\.id) }
                guard !ids.isEmpty else { return }
                node.propose(
                    .admin(Admin(verb: .release, deliveries: ids, reason: "")), .nothing)
            }
        }
    }
}
