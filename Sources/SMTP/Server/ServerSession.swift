// ServerSession.swift - one client, from the greeting to the close.
//
// Takes     bytes as they were read, answers to its questions, and what happens to the connection.
// Gives     one Action per `next`; replies are appended to the connection's one outbound buffer.
// Never     waits, looks at a clock, or asks who may relay: the driver in Reception does.
// Limits    a line (`CommandParser.Limit`), recipients, errors, messages, size (`ServerLimits`).
// Standard  RFC 5321 §3, §4.1.4 (order of commands), §4.3.2; RFC 2920 (pipelining); RFC 3030;
//           RFC 3207 §4 (what stands behind STARTTLS is thrown away); RFC 4954.
//
//   silent ─greet→ commands ⇄ awaiting(question)
//                   │  ▲  ├─ long line → skipping → commands
//                   │  │  ├─ AUTH → exchange → awaiting → commands
//                   │  │  └─ STARTTLS → handshaking → commands, as if new
//                   │  └─ verdict ─ awaiting(verdict)
//                   └─ DATA, BDAT → awaiting(begin) → data, chunk → ended → awaiting(verdict)

package import struct NIOCore.ByteBuffer

package struct ServerSession: ~Copyable {
    package enum Action: Equatable {
        /// All that has come is used up: flush, read on.
        case read
        /// A question is open; `receive` goes on keeping what comes. Flush, do not read.
        case wait
        /// MAIL was given: may this sender begin now? Answer with `answerSender`.
        case askSender(String)
        /// RCPT was given: may mail go there? Answer with `answerRecipient`.
        case askRecipient(Recipient)
        /// Open a body. Answer with `answerBegin` BEFORE the next `next`.
        case begin
        /// The next bytes of the body, handed over.
        case content(ByteBuffer)
        /// The body is refused: forget what was given out of it.
        case abandon
        /// The body is complete. Answer with `answerFinish`, then flush.
        case finish(ReceivedMessage)
        /// Answer with `answerAuth`.
        case authenticate(user: [UInt8], password: [UInt8])
        /// Flush what is in the outbound buffer, THEN put TLS in front, then `tlsEstablished`.
        case startTLS
        /// Flush, then close. The last action.
        case close
    }

    /// What the driver owes an answer to.
    enum Question: Equatable {
        case sender(MailCommand)
        case recipient(Recipient)
        case data
        /// Its bytes may be waiting already.
        case chunk(Chunk)
        case auth
        case verdict
    }

    /// One BDAT.
    struct Chunk: Equatable {
        /// What becomes of its bytes, and what is said behind them.
        enum Fate: Equatable {
            case pass
            case refuse(ServerReply)
            /// The refusal was said already.
            case ignore
        }
        var remaining: UInt64
        var size: UInt64
        var isLast: Bool
        var fate: Fate
    }

    enum AuthStep: Equatable {
        case plain
        case loginUser
        case loginPassword([UInt8])
    }

    enum Phase: Equatable {
        /// The greeting has not been said.
        case silent
        case commands
        /// Within a line that was too long.
        case skipping
        case exchange(AuthStep)
        case data
        case chunk(Chunk)
        /// The content was given out whole; what is left is to say so.
        case ended
        case awaiting(Question)
        case handshaking
        case closed
    }

    /// One mail on its way in.
    struct Transaction {
        var envelope: Envelope
        /// A recipient was refused: what DATA says without any differs (RFC 2920 §3.1).
        var hasRefusals = false
        /// Nil before DATA and the first BDAT.
        var reader: ContentReader?
        /// BDAT has been used; DATA is out of order (RFC 3030 §2).
        var isChunked = false
        /// A body is open at the driver.
        var isOpen = false
        /// BDAT has failed; all but RSET is refused, chunks go nowhere.
        var hasFailed = false
    }

    package let options: ServerOptions
    /// The client may relay without AUTH.
    private let isTrusted: Bool
    var phase = Phase.silent
    var input = ByteBuffer()
    var transaction: Transaction?
    /// The argument of EHLO or HELO; "" before.
    package private(set) var helo = ""
    private var isExtended = false
    package private(set) var hasTLS = false
    /// Who has authenticated.
    package private(set) var user: String?
    private var errors = 0
    package private(set) var messages = 0
    var isStopping = false
    private var counts = ReplyCounts()

    package init(options: ServerOptions, hasTLS: Bool, isTrusted: Bool) {
        self.options = options
        self.hasTLS = hasTLS
        self.isTrusted = isTrusted
    }

    /// Says the greeting, or `refusal` and ends. Bytes that came before it end the session too.
    package mutating func greet(refusal: Reply? = nil, into out: inout ByteBuffer) {
        guard self.phase == .silent else { return }
        if let refusal {
            self.say(refusal, into: &out)
            self.phase = .closed
        } else if self.input.readableBytes > 0 {
            self.end(.earlyTalker, into: &out)
        } else {
            self.counts.add(220)
            out.writeImmutableBuffer(self.options.banner)
            self.phase = .commands
        }
    }

    /// Takes what was read from the connection.
    package mutating func receive(_ bytes: consuming ByteBuffer) {
        switch self.phase {
        case .closed, .handshaking: return
        case .silent, .commands, .skipping, .exchange, .data, .chunk, .ended, .awaiting: break
        }
        if self.input.readableBytes == 0 {
            self.input = bytes
        } else {
            self.input.writeBuffer(&bytes)
        }
    }

    /// The TLS handshake is done: everything that was said before counts for nothing
    /// (RFC 3207 §4.2).
    package mutating func tlsEstablished() {
        guard self.phase == .handshaking else { return }
        self.hasTLS = true
        self.helo = ""
        self.isExtended = false
        self.user = nil
        self.transaction = nil
        self.phase = .commands
    }

    /// The node stops: idle sessions end now, others behind their transaction.
    package mutating func stop(into out: inout ByteBuffer) -> Action {
        self.isStopping = true
        switch self.phase {
        case .silent, .commands, .skipping, .exchange:
            guard self.transaction == nil else { return .wait }
            self.end(.stopping, into: &out)
            return .close
        case .data, .chunk, .ended, .awaiting: return .wait
        case .handshaking, .closed: return .close
        }
    }

    /// The connection has been silent, or open, for too long: `idle` or `sessionTooLong`.
    package mutating func expire(_ reply: ServerReply, into out: inout ByteBuffer) {
        guard self.phase != .closed && self.phase != .handshaking else { return }
        self.end(reply, into: &out)
    }

    /// Nothing but the greeting or a command is awaited, and no transaction is open.
    package var isIdle: Bool {
        switch self.phase {
        case .silent, .commands, .skipping, .exchange: self.transaction == nil
        case .data, .chunk, .ended, .awaiting, .handshaking, .closed: false
        }
    }

    /// The queue owes its verdict; a client may wait 10 minutes for it (RFC 5321 §4.5.3.2.6).
    package var isAwaitingVerdict: Bool { self.phase == .awaiting(.verdict) }

    /// Bytes that have come and are not used up.
    package var bufferedBytes: Int { self.input.readableBytes }

    package var isClosed: Bool { self.phase == .closed }

    /// What was said since the last call.
    package mutating func takeCounts() -> ReplyCounts {
        let result = self.counts
        self.counts = ReplyCounts()
        return result
    }

    /// For the Received field.
    package func keyword(utf8: Bool) -> ProtocolKeyword {
        ProtocolKeyword(
            isExtended: self.isExtended, utf8: utf8, tls: self.hasTLS,
            authenticated: self.user != nil)
    }
}

extension ServerSession {
    mutating func say(_ reply: ServerReply, into out: inout ByteBuffer) {
        self.counts.add(reply.code)
        reply.write(into: &out)
    }

    mutating func say(_ reply: Reply, into out: inout ByteBuffer) {
        self.counts.add(reply.code)
        reply.write(into: &out)
    }

    /// Says `reply` and ends the session.
    mutating func end(_ reply: ServerReply, into out: inout ByteBuffer) {
        self.say(reply, into: &out)
        self.phase = .closed
        self.input = ByteBuffer()
    }

    /// Says no; one refusal for good too many ends the session.
    mutating func refuse(_ reply: ServerReply, into out: inout ByteBuffer) {
        guard self.countError(reply.code, into: &out) else { return }
        self.say(reply, into: &out)
        if reply.code == 421 { self.phase = .closed }
    }

    mutating func refuse(_ reply: Reply, into out: inout ByteBuffer) {
        guard self.countError(reply.code, into: &out) else { return }
        self.say(reply, into: &out)
        if reply.code == 421 { self.phase = .closed }
    }

    /// Says no if the decision is no. Returns whether it is yes.
    mutating func isGo(_ decision: ServerDecision, into out: inout ByteBuffer) -> Bool {
        switch decision {
        case .go: return true
        case .fixed(let reply): self.refuse(reply, into: &out)
        case .reply(let reply): self.refuse(reply, into: &out)
        }
        return false
    }

    /// False: that was one too many, and it has been said.
    private mutating func countError(_ code: UInt16, into out: inout ByteBuffer) -> Bool {
        guard code >= 500 else { return true }
        self.errors += 1
        guard self.errors > self.options.limits.errors else { return true }
        self.end(.tooManyErrors, into: &out)
        return false
    }

    /// Between two transactions.
    mutating func endTransaction(into out: inout ByteBuffer) {
        self.transaction = nil
        guard self.phase != .closed else { return }
        self.phase = .commands
        if self.isStopping { self.end(.stopping, into: &out) }
    }

    mutating func countMessage() {
        self.messages += 1
        self.counts.add(250)
    }

    /// RFC 3030 §2: the octets of the chunk.
    mutating func sayChunk(_ size: UInt64, into out: inout ByteBuffer) {
        self.counts.add(250)
        out.writeString("250 2.0.0 \(size) octets received\r\n")
    }

    // MARK: Commands that need no answer of the driver

    mutating func hello(_ name: String, isExtended: Bool, into out: inout ByteBuffer) {
        self.helo = name
        self.isExtended = isExtended
        self.transaction = nil
        self.counts.add(250)
        let answer =
            !isExtended
            ? self.options.helo : self.hasTLS ? self.options.helloTLS : self.options.helloPlain
        out.writeImmutableBuffer(answer)
    }

    /// What stands in the way of MAIL; nil: nothing.
    func obstacle(to command: MailCommand) -> ServerReply? {
        if self.helo.isEmpty { return .helloFirst }
        if self.transaction != nil { return .nestedMail }
        if self.options.requiresAuth && !self.isTrusted && self.user == nil {
            return self.options.offersTLS && !self.hasTLS ? .tlsRequired : .authRequired
        }
        if self.messages >= self.options.limits.messages { return .tooManyMessages }
        if let size = command.size, size > self.options.limits.messageBytes { return .tooLarge }
        return nil
    }

    /// What stands in the way of AUTH; nil: nothing (RFC 4954 §4, §6).
    func obstacleToAuth() -> ServerReply? {
        if self.helo.isEmpty { return .helloFirst }
        if self.user != nil { return .authTwice }
        if self.transaction != nil { return .authInTransaction }
        if !self.hasTLS { return self.options.offersTLS ? .authNeedsTLS : .notImplemented }
        return self.options.offersAuth ? nil : .notImplemented
    }

    mutating func startTLS(into out: inout ByteBuffer) -> Action? {
        if self.hasTLS {
            self.refuse(.tlsActive, into: &out)
        } else if !self.options.offersTLS {
            self.refuse(.tlsNotOffered, into: &out)
        } else {
            self.say(.startTLS, into: &out)
            // Whoever put these bytes behind the command, they are not from within TLS.
            self.input = ByteBuffer()
            self.transaction = nil
            self.phase = .handshaking
            return .startTLS
        }
        return nil
    }

    /// The driver has checked a password.
    package mutating func answerAuth(_ decision: AuthDecision, into out: inout ByteBuffer) {
        guard self.phase == .awaiting(.auth) else { return }
        self.phase = .commands
        switch decision {
        case .user(let name):
            self.user = name
            self.say(.authenticated, into: &out)
        case .failed: self.refuse(.authFailed, into: &out)
        case .unavailable: self.refuse(.authUnavailable, into: &out)
        case .tooMany: self.end(.tooManyAuthFailures, into: &out)
        }
    }
}
