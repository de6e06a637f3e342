// ServerCommands.swift - the session's steps: lines, transactions, the AUTH exchange.
//
// Standard  RFC 5321 §4.1.1, §4.1.4; RFC 2920 §3.1; RFC 4954 §4; RFC 4616 §2.

import Primitives

package import struct NIOCore.ByteBuffer

extension ServerSession {
    /// Goes on with what has come. Call it until it answers `.read`, `.wait`, `.startTLS` or
    /// `.close`; answers of the driver may be given between two calls.
    package mutating func next(into out: inout ByteBuffer) -> Action {
        while true {
            switch self.phase {
            case .commands where self.isStopping && self.transaction == nil:
                self.end(.stopping, into: &out)
            case .commands, .skipping, .exchange:
                if let action = self.nextLine(into: &out) { return action }
            case .data:
                if let action = self.nextData() { return action }
            case .chunk(let chunk):
                if let action = self.nextChunk(chunk, into: &out) { return action }
            case .ended:
                if let action = self.finishContent(into: &out) { return action }
            // Whoever spoke before the greeting is not listened to any further.
            case .silent: return self.input.readableBytes > 0 ? .wait : .read
            case .awaiting, .handshaking: return .wait
            case .closed: return .close
            }
        }
    }

    /// One line; nil: it is dealt with.
    private mutating func nextLine(into out: inout ByteBuffer) -> Action? {
        let view = self.input.readableBytes
        guard view > 0 else {
            // An idle session holds no buffer.
            self.input = ByteBuffer()
            return .read
        }
        let isExchange = if case .exchange = self.phase { true } else { false }
        let limit =
            isExchange ? CommandParser.Limit.authLineBytes : CommandParser.Limit.lineBytes
        let length = self.input.withUnsafeReadableBytes { Self.lineLength($0) }
        guard let length else {
            if self.phase == .skipping || view > limit + 1 {
                self.skipLongLine(into: &out)
                self.input = ByteBuffer()
            }
            return self.phase == .closed ? .close : .read
        }
        let line = self.input.withUnsafeReadableBytes { bytes in
            Line(UnsafeRawBufferPointer(rebasing: bytes[..<length]), limit: limit)
        }
        if self.phase == .skipping {
            self.input.moveReaderIndex(forwardBy: length)
            self.phase = .commands
            return nil
        }
        switch line {
        case .tooLong:
            self.skipLongLine(into: &out)
            if self.phase == .skipping { self.phase = .commands }
        case .bare:
            if isExchange { self.phase = .commands }
            self.refuse(.bareLineEnd, into: &out)
        case .bytes(let count):
            if isExchange {
                let response = self.input.getBytes(at: self.input.readerIndex, length: count) ?? []
                self.input.moveReaderIndex(forwardBy: length)
                return self.exchange(response, into: &out)
            }
            let command = self.input.withUnsafeReadableBytes { bytes in
                CommandParser.parse(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            }
            self.input.moveReaderIndex(forwardBy: length)
            return self.run(command, into: &out)
        }
        self.input.moveReaderIndex(forwardBy: min(length, self.input.readableBytes))
        return nil
    }

    /// Says it once for each line, however long.
    private mutating func skipLongLine(into out: inout ByteBuffer) {
        guard self.phase != .skipping else { return }
        self.phase = .skipping
        self.refuse(.lineTooLong, into: &out)
    }

    private enum Line {
        /// Without CR and LF.
        case bytes(Int)
        case tooLong
        case bare

        init(_ line: UnsafeRawBufferPointer, limit: Int) {
            let count = line.count - 2
            if count > limit {
                self = .tooLong
            } else if count < 0 || line[count] != 0x0D {
                self = .bare
            } else {
                self = .bytes(count)
            }
        }
    }

    /// Bytes up to and with the first LF; nil without one.
    private static func lineLength(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var at = 0
        while at < bytes.count {
            if bytes[at] == 0x0A { return at + 1 }
            at += 1
        }
        return nil
    }

    private mutating func run(_ command: ServerCommand, into out: inout ByteBuffer) -> Action? {
        switch command {
        case .mail(let mail): return self.mail(mail, into: &out)
        case .recipient(let recipient): return self.recipient(recipient, into: &out)
        case .data: return self.data(into: &out)
        case .chunk(let bytes, let isLast):
            return self.beginChunk(bytes, isLast: isLast, into: &out)
        case .hello(let name, let isExtended):
            let wasOpen = self.transaction?.isOpen ?? false
            self.hello(name, isExtended: isExtended, into: &out)
            self.endTransaction(into: &out)
            return wasOpen ? .abandon : nil
        case .reset:
            let wasOpen = self.transaction?.isOpen ?? false
            self.say(.ok, into: &out)
            self.endTransaction(into: &out)
            return wasOpen ? .abandon : nil
        case .noop: self.say(.ok, into: &out)
        case .help: self.say(.help, into: &out)
        case .verify: self.say(.cannotVerify, into: &out)
        case .expand: self.refuse(.notImplemented, into: &out)
        case .quit: self.end(.goodbye, into: &out)
        case .startTLS: return self.startTLS(into: &out)
        case .auth(let mechanism, let initial):
            return self.auth(mechanism, initial: initial, into: &out)
        case .web: self.end(.wrongProtocol, into: &out)
        case .lostChunk: self.end(.chunkSyntax, into: &out)
        case .refused(let reply): self.refuse(reply, into: &out)
        }
        return nil
    }

    // MARK: Transactions

    private mutating func mail(_ command: MailCommand, into out: inout ByteBuffer) -> Action? {
        if let obstacle = self.obstacle(to: command) {
            self.refuse(obstacle, into: &out)
            return nil
        }
        self.phase = .awaiting(.sender(command))
        return .askSender(command.sender.address)
    }

    package mutating func answerSender(_ decision: ServerDecision, into out: inout ByteBuffer) {
        guard case .awaiting(.sender(let command)) = self.phase else { return }
        self.phase = .commands
        guard self.isGo(decision, into: &out) else { return }
        self.transaction = Transaction(
            envelope: Envelope(
                sender: command.sender.address, recipients: [], eightBit: command.eightBit,
                utf8: command.utf8, ret: command.ret, envid: command.envid, user: self.user))
        self.say(.senderOk, into: &out)
    }

    private mutating func recipient(
        _ command: RecipientCommand, into out: inout ByteBuffer
    ) -> Action? {
        guard let transaction = self.transaction else {
            self.refuse(.mailFirst, into: &out)
            return nil
        }
        if transaction.isChunked {
            self.refuse(.chunkingBegun, into: &out)
            return nil
        }
        if command.path.cameInUTF8 && !transaction.envelope.utf8 {
            self.transaction?.hasRefusals = true
            self.refuse(.utf8Needed, into: &out)
            return nil
        }
        if transaction.envelope.recipients.count >= self.options.limits.recipients {
            self.refuse(.tooManyRecipients, into: &out)
            return nil
        }
        let recipient = Recipient(
            address: command.path.address, notify: command.notify, orcpt: command.orcpt)
        self.phase = .awaiting(.recipient(recipient))
        return .askRecipient(recipient)
    }

    package mutating func answerRecipient(_ decision: ServerDecision, into out: inout ByteBuffer) {
        guard case .awaiting(.recipient(let recipient)) = self.phase else { return }
        self.phase = .commands
        guard self.isGo(decision, into: &out) else {
            self.transaction?.hasRefusals = true
            return
        }
        self.transaction?.envelope.recipients.append(recipient)
        self.say(.recipientOk, into: &out)
    }

    // MARK: AUTH

    private mutating func auth(
        _ mechanism: AuthMechanism, initial: [UInt8]?, into out: inout ByteBuffer
    ) -> Action? {
        if let obstacle = self.obstacleToAuth() {
            self.refuse(obstacle, into: &out)
            return nil
        }
        self.phase = .exchange(mechanism == .plain ? .plain : .loginUser)
        guard let initial else {
            self.say(mechanism == .plain ? .challengeEmpty : .challengeUser, into: &out)
            return nil
        }
        return self.exchange(initial == [UInt8(ascii: "=")] ? [] : initial, into: &out)
    }

    /// One response of the client, in base64.
    private mutating func exchange(_ response: [UInt8], into out: inout ByteBuffer) -> Action? {
        guard case .exchange(let step) = self.phase else { return nil }
        self.phase = .commands
        if response == [UInt8(ascii: "*")] {
            self.refuse(.authCancelled, into: &out)
            return nil
        }
        guard let bytes = Base64.decode(response) else {
            self.refuse(.badBase64, into: &out)
            return nil
        }
        switch step {
        case .plain:
            // authzid NUL authcid NUL password; to act for somebody else is not offered.
            let parts = bytes.split(separator: 0, omittingEmptySubsequences: false)
            guard parts.count == 3, !parts[1].isEmpty, !parts[2].isEmpty,
                parts[0].isEmpty || parts[0] == parts[1]
            else {
                self.refuse(.authFailed, into: &out)
                return nil
            }
            self.phase = .awaiting(.auth)
            return .authenticate(user: Array(parts[1]), password: Array(parts[2]))
        case .loginUser:
            self.phase = .exchange(.loginPassword(bytes))
            self.say(.challengePassword, into: &out)
            return nil
        case .loginPassword(let user):
            self.phase = .awaiting(.auth)
            return .authenticate(user: user, password: bytes)
        }
    }
}
