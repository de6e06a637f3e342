// ServerContent.swift - the session's steps from DATA or BDAT to the verdict.
//
// Standard  RFC 5321 §4.1.1.4, §3.3; RFC 3030 §2; RFC 1870 §6.3; RFC 2920 §3.1.

package import struct NIOCore.ByteBuffer

extension ServerSession {
    /// What stands in the way of a message's first byte; nil: nothing.
    private func obstacleToContent(isChunk: Bool) -> ServerReply? {
        guard let transaction = self.transaction else { return .mailFirst }
        if transaction.hasFailed { return .transactionFailed }
        if transaction.isChunked && !isChunk { return .chunkingBegun }
        if transaction.envelope.recipients.isEmpty {
            return transaction.hasRefusals ? .noValidRecipients : .recipientFirst
        }
        return nil
    }

    private mutating func open() {
        self.transaction?.reader = ContentReader(
            maxBytes: self.options.limits.messageBytes, maxReceived: self.options.limits.received)
        self.transaction?.isOpen = true
    }

    /// What was given out of the body is forgotten; nil: there was none.
    private mutating func close() -> Action? {
        guard self.transaction?.isOpen == true else { return nil }
        self.transaction?.isOpen = false
        return .abandon
    }

    mutating func data(into out: inout ByteBuffer) -> Action? {
        if let obstacle = self.obstacleToContent(isChunk: false) {
            self.refuse(obstacle, into: &out)
            return nil
        }
        self.phase = .awaiting(.data)
        return .begin
    }

    mutating func beginChunk(
        _ size: UInt64, isLast: Bool, into out: inout ByteBuffer
    ) -> Action? {
        var chunk = Chunk(remaining: size, size: size, isLast: isLast, fate: .pass)
        if let obstacle = self.obstacleToContent(isChunk: true) {
            chunk.fate = .refuse(obstacle)
            self.phase = .chunk(chunk)
            return nil
        }
        self.transaction?.isChunked = true
        if size > self.options.limits.messageBytes - (self.transaction?.reader?.bytes ?? 0) {
            self.transaction?.hasFailed = true
            chunk.fate = .refuse(.tooLarge)
            self.phase = .chunk(chunk)
            return self.close()
        }
        if self.transaction?.reader == nil {
            self.phase = .awaiting(.chunk(chunk))
            return .begin
        }
        self.phase = .chunk(chunk)
        return nil
    }

    /// The driver has opened a body, or could not.
    package mutating func answerBegin(_ decision: ServerDecision, into out: inout ByteBuffer) {
        guard case .awaiting(let question) = self.phase else { return }
        switch question {
        case .data:
            self.phase = .commands
            guard self.isGo(decision, into: &out) else { return self.endTransaction(into: &out) }
            self.open()
            self.phase = .data
            self.say(.goAhead, into: &out)
        case .chunk(var chunk):
            if decision == .go {
                self.open()
            } else {
                // Said now; the client may have sent the chunk already, so it is read over.
                self.transaction?.hasFailed = true
                chunk.fate = .ignore
            }
            self.phase = .chunk(chunk)
            _ = self.isGo(decision, into: &out)
        case .sender, .recipient, .auth, .verdict: return
        }
    }

    mutating func nextData() -> Action? {
        guard var reader = self.transaction?.reader, self.input.readableBytes > 0 else {
            self.input = ByteBuffer()
            return .read
        }
        let (piece, isEnd) = reader.readDotted(&self.input)
        if isEnd { self.phase = .ended }
        return self.given(piece, of: reader)
    }

    /// Notes how far `reader` has come; the body is given up at its first fault.
    private mutating func given(_ piece: ByteBuffer?, of reader: ContentReader) -> Action? {
        self.transaction?.reader = reader
        if reader.fault != nil { return self.close() }
        return piece.map { .content($0) }
    }

    mutating func nextChunk(_ chunk: Chunk, into out: inout ByteBuffer) -> Action? {
        guard chunk.remaining > 0 else { return self.endChunk(chunk, into: &out) }
        guard self.input.readableBytes > 0 else {
            self.input = ByteBuffer()
            return .read
        }
        let count = Int(min(chunk.remaining, UInt64(self.input.readableBytes)))
        var rest = chunk
        rest.remaining -= UInt64(count)
        self.phase = .chunk(rest)
        guard chunk.fate == .pass, var reader = self.transaction?.reader else {
            self.input.moveReaderIndex(forwardBy: count)
            return nil
        }
        let piece = reader.readChunk(&self.input, count: count)
        return self.given(piece, of: reader)
    }

    /// All bytes of the chunk have come.
    private mutating func endChunk(_ chunk: Chunk, into out: inout ByteBuffer) -> Action? {
        self.phase = .commands
        switch chunk.fate {
        case .pass:
            if chunk.isLast {
                self.transaction?.reader?.finishChunks()
                self.phase = .ended
            } else if let fault = self.transaction?.reader?.fault {
                self.transaction?.hasFailed = true
                self.refuse(fault, into: &out)
            } else {
                self.sayChunk(chunk.size, into: &out)
            }
            return nil
        case .refuse(let reply): self.refuse(reply, into: &out)
        case .ignore: break
        }
        // Behind the last chunk nothing of the transaction can follow.
        if chunk.isLast && self.transaction?.hasFailed == true { self.endTransaction(into: &out) }
        return nil
    }

    /// The content is complete.
    mutating func finishContent(into out: inout ByteBuffer) -> Action? {
        guard let transaction = self.transaction, let reader = transaction.reader else {
            self.endTransaction(into: &out)
            return nil
        }
        if let fault = reader.fault {
            if let abandon = self.close() { return abandon }
            self.phase = .commands
            self.refuse(fault, into: &out)
            self.endTransaction(into: &out)
            return nil
        }
        self.phase = .awaiting(.verdict)
        var envelope = transaction.envelope
        if reader.hasEightBit { envelope.eightBit = true }
        return .finish(
            ReceivedMessage(
                envelope: envelope, bytes: reader.bytes, keyword: self.keyword(utf8: envelope.utf8),
                added: AddedFields(
                    missingIn: reader.header, isSubmission: self.options.isSubmission)))
    }

    /// The message is in the queue under this id (RFC 5321 §4.2.5: it is ours now).
    package mutating func answerFinish(accepted id: String, into out: inout ByteBuffer) {
        guard self.phase == .awaiting(.verdict) else { return }
        self.countMessage()
        out.writeStaticString("250 2.0.0 Ok id=")
        out.writeString(id)
        out.writeStaticString("\r\n")
        self.endTransaction(into: &out)
    }

    /// The message is not in the queue.
    package mutating func answerFinish(refused reply: Reply, into out: inout ByteBuffer) {
        guard self.phase == .awaiting(.verdict) else { return }
        self.phase = .commands
        self.refuse(reply, into: &out)
        self.endTransaction(into: &out)
    }
}
