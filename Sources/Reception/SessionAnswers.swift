// SessionAnswers.swift - the session's questions, answered by policy, queue and next hosts.

import Cluster
import Logging
import Metrics
import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP

extension SessionHandler {
    private var policy: ReceptionPolicy { self.shared.currentRules.policy }

    func askSender(_ address: String) {
        self.session.answerSender(self.senderDecision(), into: &self.out)
    }

    private func senderDecision() -> ServerDecision {
        if let obstacle = self.shared.door.obstacle { return .reply(obstacle.reply) }
        if !self.shared.memory.hasRoom { return .reply(IntakeRefusal.full.reply) }
        if let user = self.session.user,
            !self.shared.ledger.maySend(
                user, limit: self.policy.messagesPerUserPerHour, at: SystemClock.bootTime())
        {
            return .fixed(.rateLimited)
        }
        return .go
    }

    func askRecipient(_ recipient: Recipient, _ context: ChannelHandlerContext) {
        let mayRelay = self.isTrusted || self.session.user != nil
        switch self.policy.decide(recipient, mayRelay: mayRelay) {
        case .accept: self.session.answerRecipient(.go, into: &self.out)
        case .refuse(let reply):
            self.logRefusal(recipient.address, "\(reply.text)")
            self.session.answerRecipient(.fixed(reply), into: &self.out)
        case .verify:
            guard let verifier = self.shared.verifier else {
                return self.session.answerRecipient(.go, into: &self.out)
            }
            let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
            verifier.verify(recipient.address, on: context.eventLoop) { answer in
                handler.value.take(answer, for: recipient.address)
            }
        }
    }

    private func take(_ answer: RecipientAnswer, for address: String) {
        switch answer {
        case .valid, .unknown: self.session.answerRecipient(.go, into: &self.out)
        case .invalid(let reply):
            self.logRefusal(address, reply.summary)
            self.session.answerRecipient(.reply(reply), into: &self.out)
        }
        self.goOn()
    }

    private func logRefusal(_ address: String, _ reason: @autoclosure () -> String) {
        self.shared.log.debug(
            "recipient refused",
            metadata: [
                "to": "\(address)", "client": "\(self.client)", "reply": "\(reason())",
            ])
    }

    func begin(_ context: ChannelHandlerContext) {
        guard self.shared.memory.hasRoom else {
            return self.session.answerBegin(.reply(IntakeRefusal.full.reply), into: &self.out)
        }
        switch self.shared.door.open(on: context.eventLoop, resume: self.onRoom) {
        case .success(let sink):
            self.sink = sink
            self.session.answerBegin(.go, into: &self.out)
        case .failure(let refusal):
            self.session.answerBegin(.reply(refusal.reply), into: &self.out)
        }
    }

    /// The next piece of a message.
    func take(_ piece: ByteBuffer) {
        guard let sink = self.sink else { return }
        if !sink.append(piece) { self.sinkIsFull = true }
        let memory = self.shared.memory
        if !memory.hasRoom { sink.shed() }
        if memory.change(from: self.heldBytes, to: sink.heldBytes) {
            self.heldBytes = sink.heldBytes
        } else {
            self.dropSink()
            self.isOverMemory = true
            self.sinkIsFull = false
        }
    }

    /// Nothing of the message on its way in stays here. Behind `finish` this only says that nobody
    /// waits any more: the queue holds it until its verdict.
    func dropSink() {
        self.sink?.abandon()
        self.sink = nil
        if !self.isFinishing { self.releaseMemory() }
    }

    private func releaseMemory() {
        guard self.heldBytes > 0 else { return }
        _ = self.shared.memory.change(from: self.heldBytes, to: 0)
        self.heldBytes = 0
    }

    func finish(_ message: ReceivedMessage, _ context: ChannelHandlerContext) {
        if self.isOverMemory {
            self.isOverMemory = false
            return self.session.answerFinish(
                refused: IntakeRefusal.full.reply, into: &self.out)
        }
        guard let sink = self.sink else { unreachable("a message ends without a body") }
        self.sinkIsFull = false
        self.isFinishing = true
        self.endedAt = context.eventLoop.now
        let head = self.traceHead(message.keyword)
        let recipient =
            message.envelope.recipients.count == 1 ? message.envelope.recipients[0].address : nil
        let added = message.added
        let facts = AcceptedFacts(message)
        sink.finish(
            envelope: message.envelope, destinations: self.destinations(message.envelope),
            receivedFrom: self.clientLiteral,
            head: { tag in
                head.head(
                    id: tag.text, at: SystemClock.wallTime(), recipient: recipient, added: added)
            },
            verdict: { verdict in self.take(verdict, for: facts) })
    }

    /// Made when it is first needed, and when TLS, AUTH or EHLO have changed it.
    private func traceHead(_ keyword: ProtocolKeyword) -> TraceHead {
        if let trace = self.trace, trace.keyword == keyword, trace.helo == self.session.helo {
            return trace.head
        }
        let head = TraceHead(
            helo: self.session.helo, client: self.client, hostname: self.rules.options.hostname,
            keyword: keyword, tls: self.tls.map { ($0.version, $0.cipher) })
        self.trace = (keyword, self.session.helo, head)
        return head
    }

    /// What groups the recipients' deliveries; most messages go where the last one went.
    private func destinations(_ envelope: Envelope) -> [String] {
        let routes = self.policy.routes
        return envelope.recipients.map { recipient in
            let domain = recipient.domain
            if let known = self.destination, known.domain == domain { return known.name }
            let name = routes.destination(for: domain)
            self.destination = (String(domain), name)
            return name
        }
    }

    /// The queue has decided; the reply is written and flushed before this returns.
    private func take(_ verdict: IntakeVerdict, for facts: AcceptedFacts) {
        self.sink = nil
        self.isFinishing = false
        self.releaseMemory()
        let isConnected = self.context != nil
        switch verdict {
        case .accepted(let tag):
            let id = tag.text
            self.session.answerFinish(accepted: id, into: &self.out)
            self.shared.meters.accepted.increment()
            self.shared.meters.acceptedBytes.increment(by: Int64(facts.bytes))
            if let user = facts.user {
                self.shared.ledger.noteMessage(user, at: SystemClock.bootTime())
            }
            self.goOn()
            self.logAccepted(id, facts, isConnected: isConnected)
        case .refused(let refusal):
            self.session.answerFinish(refused: refusal.reply, into: &self.out)
            self.goOn()
            self.shared.log.debug(
                "message refused",
                metadata: [
                    "from": "\(facts.sender)", "client": "\(self.client)",
                    "reason": "\(refusal.label)",
                ])
        }
        if let context = self.context {
            let waited = context.eventLoop.now - self.endedAt
            self.shared.meters.replied(in: .nanoseconds(waited.nanoseconds))
        }
    }

    private func logAccepted(_ id: String, _ facts: AcceptedFacts, isConnected: Bool) {
        guard self.shared.log.logLevel <= .info else { return }
        var metadata: Logger.Metadata = [
            "id": .string(id), "from": .string(facts.sender),
            "recipients": .stringConvertible(facts.recipientCount),
            "size": .stringConvertible(facts.bytes), "client": .string(self.clientText),
        ]
        if let tls = self.tls { metadata["tls"] = .string(tls.version) }
        if let user = facts.user { metadata["user"] = .string(user) }
        if let balancer = self.caller.balancer {
            metadata["balancer"] = .stringConvertible(balancer)
        }
        // The client has gone without its 250: it will send the message again.
        if !isConnected { metadata["unconfirmed"] = "true" }
        self.shared.log.info("accepted", metadata: metadata)
    }

    func authenticate(_ user: [UInt8], _ password: [UInt8], _ context: ChannelHandlerContext) {
        let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.shared.authenticator.check(
            user: user, password: password, from: self.client, users: self.policy.users,
            on: context.eventLoop, clock: { SystemClock.bootTime() }
        ) { decision in
            handler.value.take(decision)
        }
    }

    private func take(_ decision: AuthDecision) {
        switch decision {
        case .user: self.trace = nil
        case .failed, .tooMany, .unavailable:
            self.shared.meters.authFailures.increment()
            self.shared.log.info(
                "authentication failed",
                metadata: ["client": "\(self.client)", "result": "\(decision)"])
        }
        self.session.answerAuth(decision, into: &self.out)
        self.goOn()
    }
}

/// What is said of a message when its verdict has come.
private struct AcceptedFacts {
    let sender: String
    let recipientCount: Int
    let bytes: UInt64
    let user: String?

    init(_ message: ReceivedMessage) {
        self.sender = message.envelope.sender
        self.recipientCount = message.envelope.recipients.count
        self.bytes = message.bytes
        self.user = message.envelope.user
    }
}
