// PeerFrame.swift - what stands around each message of a peer connection.
//
// Format    u32 length of the payload, u8 kind, u8 flags, u32 CRC32C, payload. The checksum covers
//           length, kind, flags and payload.
// Limits    each kind has a longest payload; before the peer's Hello it is `greetingBytesMax`.
// Fails     a decoder believes no length: PeerFrameError, never a trap, no memory on credit.
// Standard  Docs/PeerProtocol.md, "Frame".

import Primitives

package import struct NIOCore.ByteBuffer

/// Which of the two connections of a pair of nodes.
package enum PeerLinkKind: UInt8, Hashable, Sendable, CaseIterable {
    /// Consensus, commands, renewals: small and urgent.
    case control = 1
    /// Bodies and snapshots: never in front of a heartbeat.
    case bulk = 2
}

/// The kinds of frames that this version knows.
package enum PeerFrameKind: UInt8, Hashable, Sendable, CaseIterable {
    case hello = 1
    case goodbye = 2
    /// Nothing to say, and still there.
    case alive = 3
    case raft = 16
    case forward = 17
    case forwardRefused = 18
    case renew = 19
    case renewed = 20
    case founding = 21
    case standing = 23
    case bodyOpen = 32
    case bodyChunk = 33
    case bodyEnd = 34
    case bodyWhole = 35
    case bodyStored = 36
    case bodyRefused = 37
    case bodyAbandoned = 38
    case fetchBody = 40
    case fetchedHead = 41
    case fetchedPiece = 42
    case fetchFailed = 43
    case fetchMore = 44
    case fetchEnded = 45
    case snapshotOffer = 48
    case snapshotPiece = 49
    case snapshotDone = 50
    case snapshotAnswer = 51

    /// On which connection it may come; nil: on both.
    package var link: PeerLinkKind? {
        switch self.rawValue {
        case 16..<32: .control
        case 32..<64: .bulk
        case _: nil
        }
    }

    /// Longest payload in bytes.
    package var payloadBytesMax: Int {
        switch self {
        case .hello: PeerFrame.greetingBytesMax
        case .goodbye: 2048
        case .alive: 0
        // A snapshot's message (Message.snapshotBytesMax) and what stands around it.
        case .raft: (16 << 20) + (1 << 20)
        case .forward: PeerMessage.commandBytesMax + 8
        case .renew, .renewed: 2 << 20
        case .founding: PeerMessage.foundingBytesMax
        case .bodyChunk, .bodyEnd, .bodyWhole, .fetchedHead, .fetchedPiece, .snapshotPiece:
            PeerMessage.blocksBytesMax + PeerMessage.headBytesMax + 128
        case .snapshotOffer: PeerMessage.configurationBytesMax + 64
        case .forwardRefused, .standing, .bodyOpen, .bodyStored, .bodyRefused,
            .bodyAbandoned, .fetchBody, .fetchFailed, .fetchMore, .fetchEnded, .snapshotDone,
            .snapshotAnswer:
            128
        }
    }
}

/// Why the bytes of a connection are no frames; the connection cannot go on.
package enum PeerFrameError: Error, Equatable, Sendable {
    /// The length is beyond what the kind may have.
    case tooLong(kind: UInt8, bytes: Int)
    case checksum
    /// Flags that this version does not know change how the payload is read.
    case flags(UInt8)
}

/// One frame as it came; the payload shares memory with what was read.
package struct PeerFrame: Equatable, Sendable {
    /// Bytes in front of the payload.
    package static let headerBytes = 10
    /// Longest payload before the peer's Hello has come, and of a Hello, in bytes.
    package static let greetingBytesMax = 4096
    /// Longest payload of a kind that this version does not know, in bytes; it is skipped.
    package static let unknownBytesMax = 1 << 20
    private static let checksumOffset = 6

    package var kind: UInt8
    package var payload: ByteBuffer

    package init(kind: UInt8, payload: ByteBuffer) {
        self.kind = kind
        self.payload = payload
    }

    /// Appends one frame to `buffer`: what `fields` writes, then `tail`, which is in the checksum
    /// and in the length and is to be sent behind `buffer`.
    package static func write(
        _ kind: UInt8, into buffer: inout ByteBuffer, tail: ByteBuffer? = nil,
        _ fields: (inout ByteBuffer) -> Void
    ) {
        let start = buffer.writerIndex
        buffer.writeRepeatingByte(0, count: Self.headerBytes)
        fields(&buffer)
        let own = buffer.writerIndex - start - Self.headerBytes
        let length = own + (tail?.readableBytes ?? 0)
        buffer.setInteger(UInt32(length), at: start, endianness: .little)
        buffer.setInteger(kind, at: start + 4)
        buffer.setInteger(UInt8(0), at: start + 5)
        var crc = CRC32C.start
        buffer.withUnsafeReadableBytes { bytes in
            let frame = UnsafeRawBufferPointer(rebasing: bytes[(start - buffer.readerIndex)...])
            crc = CRC32C.update(
                crc, UnsafeRawBufferPointer(rebasing: frame[..<Self.checksumOffset]))
            crc = CRC32C.update(crc, UnsafeRawBufferPointer(rebasing: frame[Self.headerBytes...]))
        }
        if let tail { crc = tail.withUnsafeReadableBytes { CRC32C.update(crc, $0) } }
        buffer.setInteger(
            CRC32C.finish(crc), at: start + Self.checksumOffset, endianness: .little)
    }

    /// The checksum of a whole frame that begins at the reader's index.
    fileprivate static func checksum(of buffer: ByteBuffer, payload length: Int) -> UInt32 {
        buffer.withUnsafeReadableBytes { bytes in
            let header = UnsafeRawBufferPointer(rebasing: bytes[..<Self.checksumOffset])
            let payload = UnsafeRawBufferPointer(
                rebasing: bytes[Self.headerBytes..<Self.headerBytes + length])
            return CRC32C.finish(CRC32C.update(CRC32C.update(CRC32C.start, header), payload))
        }
    }
}

/// Cuts a connection's bytes into frames.
package struct PeerFrameDecoder: Sendable {
    private var bytes = ByteBuffer()
    /// Until the peer's Hello has come every payload is at most `greetingBytesMax`.
    package var isGreeting = true

    package init() {}

    /// Bytes that are no whole frame yet, or not asked for yet.
    package var bufferedBytes: Int { self.bytes.readableBytes }

    /// Takes what was read. The buffer itself if nothing is left of earlier ones.
    package mutating func append(_ incoming: ByteBuffer) {
        var incoming = incoming
        if self.bytes.readableBytes == 0 {
            self.bytes = incoming
        } else if self.bytes.readerIndex > 0 {
            // Frames that were cut from the front may still be held by others: what is left moves
            // to memory of its own, once a frame, instead of all being copied at the next write.
            var fresh = ByteBuffer()
            fresh.reserveCapacity(self.bytes.readableBytes + incoming.readableBytes)
            fresh.writeBuffer(&self.bytes)
            fresh.writeBuffer(&incoming)
            self.bytes = fresh
        } else {
            self.bytes.writeBuffer(&incoming)
        }
    }

    /// The next whole frame; nil: more bytes are needed.
    package mutating func next() throws(PeerFrameError) -> PeerFrame? {
        let start = self.bytes.readerIndex
        guard
            let length32 = self.bytes.getInteger(at: start, endianness: .little, as: UInt32.self),
            let kind = self.bytes.getInteger(at: start + 4, as: UInt8.self),
            let flags = self.bytes.getInteger(at: start + 5, as: UInt8.self)
        else { return nil }
        let length = Int(length32)
        let known = PeerFrameKind(rawValue: kind)?.payloadBytesMax ?? PeerFrame.unknownBytesMax
        guard length <= (self.isGreeting ? min(known, PeerFrame.greetingBytesMax) : known) else {
            throw .tooLong(kind: kind, bytes: length)
        }
        guard flags == 0 else { throw .flags(flags) }
        guard self.bytes.readableBytes >= PeerFrame.headerBytes + length,
            let crc = self.bytes.getInteger(at: start + 6, endianness: .little, as: UInt32.self)
        else { return nil }
        guard PeerFrame.checksum(of: self.bytes, payload: length) == crc else { throw .checksum }
        self.bytes.moveReaderIndex(forwardBy: PeerFrame.headerBytes)
        guard let payload = self.bytes.readSlice(length: length) else {
            unreachable("a whole frame is there")
        }
        if self.bytes.readableBytes == 0 { self.bytes = ByteBuffer() }
        return PeerFrame(kind: kind, payload: payload)
    }
}
