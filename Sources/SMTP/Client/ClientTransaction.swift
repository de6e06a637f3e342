// ClientTransaction.swift - the steps of one transaction, and the session's dealings with them.
//
// Takes     replies in the order of the commands.
// Gives     one ending per recipient, when the transaction is over.
// Standard  RFC 5321 §3.3, §4.1.1, §4.5.3.1.10; RFC 2920 §3.1; RFC 2033 §4.2 (a reply per
//           recipient behind the dot); RFC 1870 §6.1; RFC 6531 §3.5; RFC 3461 §5.2.2.

import Primitives

package import struct NIOCore.ByteBuffer

/// One running transaction.
struct ClientTransaction {
    /// The reply that is awaited.
    enum Step: Equatable {
        case mail
        case recipient(Int)
        case data
        /// 354 has come, the final dot has not left.
        case body
        /// Behind the dot; LMTP counts the recipients' own replies.
        case final(Int)
        /// An empty message was sent to a server that took DATA without a recipient.
        case discard
        /// RSET, behind a transaction that left something standing at the server.
        case reset
    }

    let mail: ClientMail
    /// Everything up to DATA was written at once.
    let isPipelined: Bool
    var step = Step.mail
    /// MAIL or DATA was refused: the ending of all recipients that have none of their own.
    var whole: RecipientEnding?
    /// Endings by recipient; empty as long as all were accepted.
    var endings: [RecipientEnding?] = []
    var accepted = 0
    /// LMTP: what was said behind the dot, in the order of the accepted recipients.
    var finals: [Reply] = []

    init(_ mail: ClientMail, isPipelined: Bool) {
        self.mail = mail
        self.isPipelined = isPipelined
    }

    var stage: ClientStage {
        switch self.step {
        case .mail: .mail
        case .recipient, .reset: .recipient
        case .data: .data
        case .body: .body
        case .final: .finalDot
        case .discard: .data
        }
    }

    mutating func set(_ ending: RecipientEnding, for recipient: Int) {
        if self.endings.isEmpty {
            self.endings = Array(repeating: nil, count: self.mail.recipients.count)
        }
        self.endings[recipient] = ending
    }

    /// Every recipient without an ending of its own gets `ending`.
    func result(_ ending: RecipientEnding) -> ClientResult {
        self.endings.isEmpty ? .all(ending) : .each(self.endings.map { $0 ?? ending })
    }

    /// The server took the message for those recipients that it had accepted.
    func taken(_ reply: Reply, offersDSN: Bool) -> ClientResult {
        guard !offersDSN, self.mail.recipients.contains(where: { $0.notify.contains(.success) })
        else { return self.result(.delivered(reply)) }
        return .each(
            self.mail.recipients.indices.map { i in
                if !self.endings.isEmpty, let own = self.endings[i] { return own }
                return self.mail.recipients[i].notify.contains(.success)
                    ? .relayed(reply) : .delivered(reply)
            })
    }

    /// LMTP: each accepted recipient by its own reply (RFC 2033 §4.2); those that were not answered
    /// any more get `rest`. A server with DSN was told what to report and does so itself.
    func eachAnswered(offersDSN: Bool, rest: RecipientEnding) -> ClientResult {
        var answers = self.finals[...]
        return .each(
            self.mail.recipients.indices.map { i in
                if !self.endings.isEmpty, let own = self.endings[i] { return own }
                guard let reply = answers.popFirst() else { return rest }
                guard reply.isPositive else {
                    return FailureTable.ending(at: .finalDot, .reply(reply))
                }
                return offersDSN ? .delivered(reply) : .stored(reply)
            })
    }

    /// The connection ended at this step.
    func cutOff(_ trouble: ClientTrouble, offersDSN: Bool) -> ClientResult {
        switch self.step {
        case .reset, .discard:
            // All that counts was said before.
            return self.result(self.whole ?? FailureTable.ending(at: .mail, trouble))
        case .final:
            let rest = FailureTable.ending(at: .finalDot, trouble)
            return self.finals.isEmpty
                ? self.result(rest) : self.eachAnswered(offersDSN: offersDSN, rest: rest)
        case .mail, .recipient, .data, .body:
            return self.result(self.whole ?? FailureTable.ending(at: self.stage, trouble))
        }
    }
}

extension ClientSession {
    /// What makes this mail impossible on this connection, before a byte of it is sent; nil: go.
    package func obstacle(to mail: borrowing ClientMail) -> ClientResult? {
        if let maximum = self.capabilities.maxBytes, mail.bytes > maximum {
            // RFC 1870 §6.1: a declared limit is an answer; it will not grow while we wait.
            return .all(
                .failed(
                    Reply(
                        552, EnhancedCode(5, 3, 4),
                        "message of \(mail.bytes) bytes; the host takes at most \(maximum)")))
        }
        if mail.utf8 && !self.capabilities.utf8 {
            return .all(
                .failed(
                    Reply(
                        550, EnhancedCode(5, 6, 7),
                        "the host does not offer SMTPUTF8, which this message needs")))
        }
        var clean = Self.isClean(mail.sender) && Self.isClean(mail.envid)
        for i in mail.recipients.indices where clean {
            clean =
                Self.isClean(mail.recipients[i].address) && Self.isClean(mail.recipients[i].orcpt)
        }
        guard !clean else { return nil }
        return .all(
            .failed(
                Reply(553, EnhancedCode(5, 1, 3), "an address holds characters that cannot be sent")
            ))
    }

    /// No control characters: nothing that could end a command line early.
    private static func isClean(_ text: String?) -> Bool {
        guard let text else { return true }
        return text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }

    /// Begins a transaction on an idle session; `obstacle` has answered nil.
    package mutating func begin(_ mail: ClientMail, into out: inout ByteBuffer) -> Action {
        invariant(self.isIdle, "a transaction inside another")
        self.running = self.written(mail, into: &out)
        return .proceed
    }

    /// Writes the commands of the next transaction behind the final dot of the running one;
    /// `mayPipeline` was true before `bodySent`, `obstacle` has answered nil.
    package mutating func pipeline(_ mail: ClientMail, into out: inout ByteBuffer) {
        invariant(self.capabilities.pipelining && self.next == nil, "one transaction ahead at most")
        self.next = self.written(mail, into: &out)
    }

    /// The message and its final dot were handed to the connection.
    package mutating func bodySent() {
        invariant(self.running?.step == .body, "a body that nobody asked for")
        self.running?.step = .final(0)
    }

    private func written(
        _ mail: ClientMail, into out: inout ByteBuffer
    ) -> ClientTransaction {
        invariant(!mail.recipients.isEmpty, "a transaction without recipients")
        ClientCommands.mail(mail, self.capabilities, into: &out)
        if self.capabilities.pipelining {
            for i in mail.recipients.indices {
                ClientCommands.recipient(mail.recipients[i], self.capabilities, into: &out)
            }
            out.writeStaticString(mail.isProbe ? "RSET\r\n" : "DATA\r\n")
        }
        return ClientTransaction(mail, isPipelined: self.capabilities.pipelining)
    }

    // MARK: - Replies

    mutating func transactionAnswered(
        _ reply: Reply, into out: inout ByteBuffer
    ) -> Action {
        guard let step = self.running?.step else { unreachable("no transaction") }
        if reply.code == 421 && step != .reset && step != .discard {
            return self.fail(.reply(reply), into: &out)
        }
        switch step {
        case .mail: return self.mailAnswered(reply, into: &out)
        case .recipient(let index): return self.recipientAnswered(reply, index, into: &out)
        case .data: return self.dataAnswered(reply, into: &out)
        case .body:
            // Before the dot: a refusal counts, the connection is lost with it either way.
            return self.fail(.reply(reply), into: &out)
        case .final(let index): return self.finalAnswered(reply, index, into: &out)
        case .discard: return self.finish(self.refused())
        case .reset:
            let result = self.refused()
            if reply.isPositive { return self.finish(result) }
            // The server is out of step: what was found out stands, the connection does not.
            let failure = ClientFailure(
                stage: .idle, reply: FailureTable.reply(at: .idle, .reply(reply)),
                remedy: .reconnect, result: result, returnsNext: self.next != nil)
            self.phase = .closed
            self.running = nil
            self.next = nil
            return .failed(failure)
        }
    }

    private mutating func mailAnswered(_ reply: Reply, into out: inout ByteBuffer) -> Action {
        let isPipelined = self.running?.isPipelined == true
        if !reply.isPositive {
            self.running?.whole = FailureTable.ending(at: .mail, .reply(reply))
            if !isPipelined { return self.finish(self.refused()) }
        }
        self.running?.step = .recipient(0)
        if !isPipelined, let first = self.running?.mail.recipients[0] {
            ClientCommands.recipient(first, self.capabilities, into: &out)
        }
        return .proceed
    }

    private mutating func recipientAnswered(
        _ reply: Reply, _ index: Int, into out: inout ByteBuffer
    ) -> Action {
        guard var running = self.running.take() else { unreachable("no transaction") }
        if running.whole != nil {
            // MAIL was refused: whatever this says, it is about that.
        } else if reply.isPositive {
            running.accepted += 1
            if running.mail.isProbe { running.set(.delivered(reply), for: index) }
        } else {
            running.set(
                FailureTable.ending(
                    at: .recipient, .reply(reply), accepted: running.accepted > 0), for: index)
        }
        let following = index + 1
        if following < running.mail.recipients.count {
            running.step = .recipient(following)
            if !running.isPipelined {
                ClientCommands.recipient(
                    running.mail.recipients[following], self.capabilities, into: &out)
            }
        } else if running.mail.isProbe || (running.accepted == 0 && !running.isPipelined) {
            running.step = .reset
            if !running.isPipelined { out.writeStaticString("RSET\r\n") }
        } else {
            running.step = .data
            if !running.isPipelined { out.writeStaticString("DATA\r\n") }
        }
        self.running = running
        return .proceed
    }

    private mutating func dataAnswered(_ reply: Reply, into out: inout ByteBuffer) -> Action {
        guard let running = self.running else { unreachable("no transaction") }
        if reply.code == 354 {
            if running.whole != nil {
                // MAIL was refused and DATA is not: no message may come of this.
                return self.fail(.reply(reply), into: &out)
            }
            guard running.accepted == 0 else {
                self.running?.step = .body
                return .sendBody
            }
            // RFC 2920 §3.1: the server wants a message for nobody; it gets an empty one.
            self.running?.step = .discard
            out.writeStaticString(".\r\n")
            return .proceed
        }
        if reply.isPositive || reply.isIntermediate {
            return self.fail(.reply(reply), into: &out)
        }
        if running.whole != nil { return self.finish(self.refused()) }
        if running.accepted > 0 {
            self.running?.whole = FailureTable.ending(at: .data, .reply(reply))
        }
        self.running?.step = .reset
        out.writeStaticString("RSET\r\n")
        return .proceed
    }

    private mutating func finalAnswered(
        _ reply: Reply, _ index: Int, into out: inout ByteBuffer
    ) -> Action {
        guard let running = self.running else { unreachable("no transaction") }
        if reply.isIntermediate { return self.fail(.reply(reply), into: &out) }
        guard self.options.dialect == .lmtp else {
            let result =
                reply.isPositive
                ? running.taken(reply, offersDSN: self.capabilities.dsn)
                : running.result(FailureTable.ending(at: .finalDot, .reply(reply)))
            return self.finish(result)
        }
        self.running?.finals.append(reply)
        guard index + 1 == running.accepted else {
            self.running?.step = .final(index + 1)
            return .proceed
        }
        let offersDSN = self.capabilities.dsn
        return self.finish(
            self.running?.eachAnswered(offersDSN: offersDSN, rest: .delivered(reply))
                ?? .all(.delivered(reply)))
    }

    /// The result of a transaction that never came to its body.
    private func refused() -> ClientResult {
        guard let running = self.running else { unreachable("no transaction") }
        let unknown = Reply(451, EnhancedCode(4, 5, 0), "the transaction was not carried out")
        return running.result(running.whole ?? .elsewhere(unknown))
    }

    private mutating func finish(_ result: ClientResult) -> Action {
        self.running = self.next
        self.next = nil
        return .finished(result)
    }
}
