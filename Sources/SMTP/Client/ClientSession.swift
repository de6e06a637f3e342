// ClientSession.swift - one connection to a server, from its greeting to QUIT.
//
// Takes     complete replies, the end of the TLS handshake, the loss of the connection, time-outs.
// Gives     one Action per event; commands are appended to the buffer that the event brings along.
// Never     bytes of replies, bodies, sockets, clocks: the driver in Delivery has those.
// Standard  RFC 5321 §3, §4; RFC 2033 (LMTP); RFC 2920 §3.1 (pipelining); RFC 3207; RFC 4954;
//           RFC 1870, 6152, 6531, 3461 (what the server lacks).
// See       ClientTransaction.swift for a transaction's own steps, FailureTable.swift for what
//           each failure means.
//
//   greeting ─ 220 ─▶ hello ─ 250 ─▶ (startTLS ─ 220 ─▶ handshake ─▶ hello) ─▶ (auth) ─▶ open
//                       └─ 5yz: HELO ─▶                                                  │ ▲
//                                                                        MAIL RCPT* DATA ▼ │
//                                                          354 ─▶ body, dot ─▶ reply(ies) ─┘
//
// With PIPELINING a whole group leaves at once, and the next transaction's group behind the final
// dot of the running one (RFC 2920 §3.1: content may be the first element of a group). The next
// one's body is not begun before its own 354, so at most one transaction's fate is ever unknown.
//
// A server without 8BITMIME gets the message unchanged and without BODY=: rewriting it would break
// signatures, refusing it would lose mail that nearly every such server passes on as it is
// (a deliberate departure from RFC 6152 §3).

import Primitives

package import struct NIOCore.ByteBuffer

/// The client's half of one SMTP or LMTP connection.
package struct ClientSession: ~Copyable {
    package enum Action: Equatable {
        /// Flush what was appended; nothing else.
        case proceed
        /// Flush; then DROP all bytes that came behind this reply, and shake hands (RFC 3207 §6).
        case startTLS
        /// The session is open and idle: `begin` a transaction, or leave it idle.
        case ready
        /// Permission for the final dot first; then the message, stuffed, and the dot, then
        /// `bodySent`. `pipeline` may append another transaction in the same write.
        case sendBody
        /// Settle BEFORE another transaction is begun. `isIdle` says whether one is running.
        case finished(ClientResult)
        /// Settle, flush, close. The connection is of no more use.
        case failed(ClientFailure)
        /// QUIT was answered: close.
        case close
    }

    enum Phase: Equatable {
        case greeting
        case hello(extended: Bool)
        case startTLS
        case handshake
        case auth(AuthStep)
        case open
        case quitting
        case closed
    }
    enum AuthStep: Equatable { case plain, loginUser, loginPassword, loginEnd }

    package let options: ClientOptions
    package private(set) var capabilities = ClientCapabilities()
    package private(set) var isUnderTLS = false
    var phase: Phase
    /// The transaction whose reply comes next.
    var running: ClientTransaction?
    /// Written behind the final dot of `running`; its replies come after that one's.
    var next: ClientTransaction?

    package init(_ options: ClientOptions) {
        self.options = options
        self.phase = options.beginsWithTLS ? .handshake : .greeting
    }

    /// Open, and no transaction is running.
    package var isIdle: Bool { self.phase == .open && self.running == nil }

    /// Whether `pipeline` may be called now.
    package var mayPipeline: Bool {
        self.phase == .open && self.capabilities.pipelining && self.next == nil
            && self.running?.step == .body
    }

    /// Whether the text of a positive reply that comes next is of use to anybody.
    package var wantsText: Bool {
        guard self.phase == .open, let running = self.running else { return true }
        switch running.step {
        case .mail, .recipient, .data, .reset, .discard: return running.mail.isProbe
        case .body, .final: return true
        }
    }

    /// The final dot, or part of a message, is on its way and the verdict is not there.
    package var hasUnsentDot: Bool { self.phase == .open && self.running?.step == .body }

    package var stage: ClientStage {
        switch self.phase {
        case .greeting: .greeting
        case .hello: .hello
        case .startTLS: .startTLS
        case .handshake: .handshake
        case .auth: .authentication
        case .open: self.running?.stage ?? .idle
        case .quitting, .closed: .quit
        }
    }

    /// How long the event that is awaited now may take; nil: nothing is awaited, the driver's own
    /// limit for idle connections holds.
    package var patience: Duration? {
        let limits = self.options.timeouts
        return switch self.stage {
        case .connect: limits.connect
        case .greeting, .hello, .startTLS, .authentication: limits.greeting
        case .handshake: limits.handshake
        case .idle: nil
        case .mail: limits.mail
        case .recipient: self.running?.step == .reset ? limits.reset : limits.recipient
        case .data: limits.dataStart
        case .body: limits.dataBlock
        case .finalDot: limits.finalDot
        case .quit: limits.quit
        }
    }

    /// A complete reply has come.
    package mutating func receive(_ reply: Reply, into out: inout ByteBuffer) -> Action {
        switch self.phase {
        case .greeting:
            guard reply.code == 220 else { return self.fail(.reply(reply), into: &out) }
            return self.sayHello(into: &out)
        case .hello(let extended): return self.helloAnswered(reply, extended, into: &out)
        case .startTLS:
            if reply.code == 220 {
                self.phase = .handshake
                return .startTLS
            }
            if reply.code == 421 { return self.fail(.reply(reply), into: &out) }
            return self.goOnWithoutTLS(.refused, reply.summary, into: &out)
        case .handshake:
            // Plain text where the handshake belongs; the driver drops it before it gets here.
            return self.fail(.garbage(.notAReply), into: &out)
        case .auth(let step): return self.authAnswered(reply, step, into: &out)
        case .open:
            guard self.running != nil else {
                // Unasked: 421 of a server that closes, or a stray reply. Either way it is over.
                return self.fail(.reply(reply), into: &out)
            }
            return self.transactionAnswered(reply, into: &out)
        case .quitting:
            self.phase = .closed
            return .close
        case .closed: return .close
        }
    }

    /// The handshake is done; what was said before it is forgotten (RFC 3207 §4.2).
    package mutating func tlsEstablished(into out: inout ByteBuffer) -> Action {
        invariant(self.phase == .handshake, "a handshake that nobody asked for")
        self.isUnderTLS = true
        self.capabilities = ClientCapabilities()
        if self.options.beginsWithTLS {
            self.phase = .greeting
            return .proceed
        }
        return self.sayHello(into: &out)
    }

    /// The handshake failed; `obstacle` says whether it was the certificate.
    package mutating func tlsFailed(_ obstacle: TLSObstacle, _ detail: String) -> Action {
        let rule =
            self.options.beginsWithTLS
            ? .nextHost : TLSFallback.rule(self.options.tls, obstacle)
        self.phase = .closed
        return .failed(
            ClientFailure(
                stage: .handshake, reply: TLSFallback.reply(obstacle, detail),
                remedy: rule == .nextHost ? .nextHost : .sameHostInPlain, result: nil,
                returnsNext: false))
    }

    /// The connection has ended, time is over, or the server talks garbage. Nothing more is sent.
    package mutating func end(_ trouble: ClientTrouble) -> Action {
        let wasQuitting = self.phase == .quitting || self.phase == .closed
        if wasQuitting {
            self.phase = .closed
            return .close
        }
        if self.phase == .handshake {
            let reply = FailureTable.reply(at: .handshake, trouble)
            return self.tlsFailed(.handshakeFailed, reply.lines[0])
        }
        return .failed(self.ended(trouble))
    }

    /// Ends an idle session politely (RFC 5321 §4.1.1.10).
    package mutating func quit(into out: inout ByteBuffer) -> Action {
        invariant(self.isIdle, "QUIT inside a transaction")
        self.phase = .quitting
        out.writeStaticString("QUIT\r\n")
        return .proceed
    }

    /// The session is over by a reply; QUIT is said if the server still listens.
    mutating func fail(_ trouble: ClientTrouble, into out: inout ByteBuffer) -> Action {
        // Not behind 421 (the server closes), not where the server would take it for content.
        if case .reply(let reply) = trouble, reply.code >= 400, reply.code != 421,
            self.running?.step != .body
        {
            out.writeStaticString("QUIT\r\n")
        }
        return .failed(self.ended(trouble))
    }

    private mutating func ended(_ trouble: ClientTrouble) -> ClientFailure {
        let stage = self.stage
        let offersDSN = self.capabilities.dsn
        let failure = ClientFailure(
            stage: stage, reply: FailureTable.reply(at: stage, trouble),
            remedy: FailureTable.remedy(at: stage),
            result: self.running.map { $0.cutOff(trouble, offersDSN: offersDSN) },
            returnsNext: self.next != nil)
        self.phase = .closed
        self.running = nil
        self.next = nil
        return failure
    }

    // MARK: - Opening

    private mutating func sayHello(into out: inout ByteBuffer) -> Action {
        self.phase = .hello(extended: true)
        let isLMTP = self.options.dialect == .lmtp
        ClientCommands.hello(isLMTP ? "LHLO " : "EHLO ", self.options.helo, into: &out)
        return .proceed
    }

    private mutating func helloAnswered(
        _ reply: Reply, _ extended: Bool, into out: inout ByteBuffer
    ) -> Action {
        if reply.isPositive {
            self.capabilities = extended ? ClientCapabilities(reply) : ClientCapabilities()
            return self.afterHello(into: &out)
        }
        // RFC 5321 §3.2: a server that does not know EHLO; LMTP has nothing to fall back to.
        guard extended, reply.isPermanent, self.options.dialect == .smtp, !self.isUnderTLS else {
            return self.fail(.reply(reply), into: &out)
        }
        self.phase = .hello(extended: false)
        ClientCommands.hello("HELO ", self.options.helo, into: &out)
        return .proceed
    }

    private mutating func afterHello(into out: inout ByteBuffer) -> Action {
        guard !self.isUnderTLS && self.options.tls != .none else {
            return self.authenticate(into: &out)
        }
        guard self.capabilities.startTLS else {
            return self.goOnWithoutTLS(.notOffered, "", into: &out)
        }
        self.phase = .startTLS
        out.writeStaticString("STARTTLS\r\n")
        return .proceed
    }

    private mutating func goOnWithoutTLS(
        _ obstacle: TLSObstacle, _ detail: String, into out: inout ByteBuffer
    ) -> Action {
        if TLSFallback.rule(self.options.tls, obstacle) == .plain {
            return self.authenticate(into: &out)
        }
        out.writeStaticString("QUIT\r\n")
        self.phase = .closed
        return .failed(
            ClientFailure(
                stage: .startTLS, reply: TLSFallback.reply(obstacle, detail), remedy: .nextHost,
                result: nil, returnsNext: false))
    }

    // MARK: - AUTH

    private mutating func authenticate(into out: inout ByteBuffer) -> Action {
        guard let credentials = self.options.credentials else {
            self.phase = .open
            return .ready
        }
        self.phase = .auth(.plain)
        guard self.isUnderTLS || self.options.authenticatesInPlain else {
            let reply = Reply(
                451, EnhancedCode(4, 7, 11), "the password would have to be sent without TLS")
            return self.fail(.reply(reply), into: &out)
        }
        if self.capabilities.authPlain {
            ClientCommands.authPlain(credentials, into: &out)
            return .proceed
        }
        if self.capabilities.authLogin {
            self.phase = .auth(.loginUser)
            out.writeStaticString("AUTH LOGIN\r\n")
            return .proceed
        }
        let reply = Reply(451, EnhancedCode(4, 7, 0), "the host offers no AUTH that we know")
        return self.fail(.reply(reply), into: &out)
    }

    private mutating func authAnswered(
        _ reply: Reply, _ step: AuthStep, into out: inout ByteBuffer
    ) -> Action {
        guard let credentials = self.options.credentials else {
            unreachable("AUTH without credentials")
        }
        switch (step, reply.code) {
        case (.plain, 235), (.loginEnd, 235):
            self.phase = .open
            return .ready
        case (.loginUser, 334):
            self.phase = .auth(.loginPassword)
            ClientCommands.authAnswer(credentials.user, into: &out)
            return .proceed
        case (.loginPassword, 334):
            self.phase = .auth(.loginEnd)
            ClientCommands.authAnswer(credentials.password, into: &out)
            return .proceed
        case (_, _): return self.fail(.reply(reply), into: &out)
        }
    }
}
