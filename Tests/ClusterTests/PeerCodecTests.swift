import NIOCore
import PeerFuzz
import Primitives
import Raft
import Spool
import Testing

@testable import Cluster

@Suite("Peer protocol, frames")
struct PeerCodecTests {
    private static let tag = Tag(session: SessionID(raw: 7), sequence: 300)
    private static let seal = BodySeal(
        head: Array("Received: x\r\n".utf8), blockCount: 2, contentBytes: 70_000,
        digest: BodyDigest(a: 1, b: 2, c: 3, d: .max))
    private static let blocks = ByteBuffer(bytes: (0..<64).map { UInt8($0) })

    @Test func `what a peer may send in one piece fits in a record of the journal`() {
        let body =
            PeerMessage.blocksBytesMax + PeerMessage.headBytesMax
            + max(BodyHeader.bytes, ChunkHeader.bytes)
        #expect(body <= RecordFormat.payloadBytesMax)
        // Stamps are two varints, the record's own fields 24 bytes.
        #expect(NodeMachine.commandBytesMax + 2 * 10 + 24 <= RecordFormat.payloadBytesMax)
    }

    /// One of each kind.
    static let messages: [PeerMessage] = [
        .raft([1, 2, 3]),
        .forward(number: 9, command: [4, 5]),
        .forwardRefused(number: 9, leader: Incarnation(raw: 3)),
        .renew(
            Renewal(
                session: SessionID(raw: 5), sentAt: Instant(nanoseconds: -1), term: 4, deal: 2,
                base: 6, baseOpen: 7,
                shares: [HeldShare(destination: "example.org", share: 20, open: 3)])),
        .renewed(
            RenewalAnswer(
                session: SessionID(raw: 5), sentAt: Instant(nanoseconds: 77), term: 4, deal: 3,
                base: 6,
                shares: [DealtShare(destination: "[::1]:25", share: 7)])),
        .founding([1, 2, 3]),
        .standing(
            Standing(
                applied: LogPosition(term: 1, index: 2), durable: LogPosition(term: 3, index: 4),
                sessionsIn: 5, sessionsOut: 6, diskFreePermille: 1000, refusesBodies: true,
                isDraining: false, state: StateMark(index: 7, hash: 8),
                wall: WallTime(milliseconds: 9), settings: 10)),
        .bodyOpen(stream: 1),
        .bodyChunk(stream: 1, number: 2, blocks: Self.blocks),
        .bodyEnd(stream: 1, tag: Self.tag, Self.seal),
        .bodyWhole(tag: Self.tag, Self.seal, blocks: Self.blocks),
        .bodyStored(tag: Self.tag),
        .bodyRefused(.tag(Self.tag), .full),
        .bodyAbandoned(stream: 4),
        .fetchBody(request: 6, tag: Self.tag, pieces: 4),
        .fetchedHead(request: 6, Self.seal),
        .fetchedPiece(request: 6, blocks: Self.blocks, isLast: true),
        .fetchFailed(request: 6, .absent),
        .fetchMore(request: 6, pieces: 1),
        .fetchEnded(request: 6),
        .snapshotOffer(
            SnapshotOffer(
                id: 2, position: LogPosition(term: 9, index: 10), totalBytes: 1 << 33,
                configuration: [1])),
        .snapshotPiece(id: 2, offset: 1 << 32, bytes: Self.blocks),
        .snapshotDone(id: 2, digest: BodyDigest(a: 1, b: 2, c: 3, d: 4)),
        .snapshotAnswer(id: 2, .taking, takenBytes: 12),
    ]

    /// Each bit of a byte, and all of them.
    private static let changes: [UInt8] = [1, 2, 4, 8, 16, 32, 64, 128, 255]

    private func decoder(_ bytes: [UInt8]) -> PeerFrameDecoder {
        var decoder = PeerFrameDecoder()
        decoder.isGreeting = false
        decoder.append(ByteBuffer(bytes: bytes))
        return decoder
    }

    @Test func `every message is read back`() throws {
        let kinds = PeerFrameKind.allCases.filter { $0.link != nil }
        #expect(Self.messages.map(\.kind) == kinds, "one of each kind")
        for message in Self.messages {
            var decoder = self.decoder(PeerFuzz.encoded(message))
            let frame = try #require(try decoder.next())
            #expect(try PeerMessage(frame) == message)
            #expect(decoder.bufferedBytes == 0)
        }
    }

    @Test func `the bytes are those of the document`() {
        #expect(
            PeerFuzz.encoded(.bodyOpen(stream: 0x0102)) == [
                8, 0, 0, 0, 32, 0, 0x6C, 0x7C, 0x75, 0x39, 2, 1, 0, 0, 0, 0, 0, 0,
            ])
        #expect(
            PeerFuzz.encoded(.snapshotDone(id: 1, digest: BodyDigest(a: 1, b: 2, c: 3, d: 4)))
                .suffix(32) == [
                    0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
                    0, 0, 0, 0, 0, 4,
                ])
    }

    @Test func `large blocks travel behind their frame's head without a copy`() throws {
        let blocks = ByteBuffer(repeating: 7, count: PeerMessage.tailBytesMin)
        var buffer = ByteBuffer()
        let tail = PeerMessage.bodyChunk(stream: 1, number: 0, blocks: blocks).encode(
            into: &buffer)
        #expect(tail == blocks)
        #expect(buffer.readableBytes == PeerFrame.headerBytes + 16)
        let small = ByteBuffer(repeating: 7, count: PeerMessage.tailBytesMin - 1)
        #expect(
            PeerMessage.bodyChunk(stream: 1, number: 0, blocks: small).encode(into: &buffer)
                == nil)
    }

    @Test func `a frame that is cut anywhere waits, a frame that is damaged anywhere is refused`()
        throws
    {
        for message in Self.messages {
            let bytes = PeerFuzz.encoded(message)
            for length in 0..<bytes.count {
                var decoder = self.decoder(Array(bytes.prefix(length)))
                #expect(try decoder.next() == nil)
            }
            for index in bytes.indices {
                for change in Self.changes {
                    var damaged = bytes
                    damaged[index] ^= change
                    var decoder = self.decoder(damaged)
                    do {
                        // A longer length waits for what never comes.
                        #expect(try decoder.next() == nil && index < 4)
                    } catch {}
                }
            }
        }
    }

    @Test func `a payload that is cut or damaged is another message or an error`() throws {
        for message in Self.messages {
            let payload = Array(PeerFuzz.encoded(message)[PeerFrame.headerBytes...])
            for length in payload.indices {
                let frame = PeerFrame(
                    kind: message.kind.rawValue,
                    payload: ByteBuffer(bytes: payload.prefix(length)))
                do { #expect(try PeerMessage(frame) != message) } catch {}
            }
            for index in payload.indices {
                for change in Self.changes {
                    var damaged = payload
                    damaged[index] ^= change
                    let frame = PeerFrame(
                        kind: message.kind.rawValue, payload: ByteBuffer(bytes: damaged))
                    do {
                        if try PeerMessage(frame) == message {
                            Issue.record("\(message.kind) has two encodings at \(index)")
                        }
                    } catch {}
                }
            }
        }
    }

    @Test(arguments: PeerFrameKind.allCases)
    func `no length beyond the limit of its kind is waited for`(kind: PeerFrameKind) throws {
        func header(_ length: Int, flags: UInt8 = 0) -> [UInt8] {
            let length = UInt32(length)
            return (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + [
                kind.rawValue, flags, 0, 0, 0, 0,
            ]
        }
        let limit = kind.payloadBytesMax
        var decoder = self.decoder(header(limit + 1))
        #expect(throws: PeerFrameError.tooLong(kind: kind.rawValue, bytes: limit + 1)) {
            try decoder.next()
        }
        if limit > 0 {
            decoder = self.decoder(header(limit))
            #expect(try decoder.next() == nil)
        }
        decoder = self.decoder(header(0, flags: 1))
        #expect(throws: PeerFrameError.flags(1)) { try decoder.next() }
        decoder = PeerFrameDecoder()
        decoder.append(ByteBuffer(bytes: header(PeerFrame.greetingBytesMax + 1)))
        #expect(throws: PeerFrameError.self, "before the Hello") { try decoder.next() }
    }

    @Test func `a kind of a later version is no message and has a limit`() throws {
        var buffer = ByteBuffer()
        PeerFrame.write(200, into: &buffer) { $0.writeBytes([1, 2, 3]) }
        var decoder = self.decoder(Array(buffer.readableBytesView))
        let frame = try #require(try decoder.next())
        #expect(try PeerMessage(frame) == nil)
        decoder = self.decoder([1, 0, 16, 0, 200, 0])
        #expect(
            throws: PeerFrameError.tooLong(kind: 200, bytes: PeerFrame.unknownBytesMax + 1)
        ) { try decoder.next() }
    }

    @Test func `lists and names have limits`() {
        let share = HeldShare(destination: "a", share: 1, open: 1)
        var renewal = Renewal(session: .none, sentAt: .zero, term: 1, shares: [])
        renewal.shares = Array(repeating: share, count: PeerMessage.destinationsMax)
        let bytes = PeerFuzz.encoded(.renew(renewal))[PeerFrame.headerBytes...]
        #expect(throws: Never.self) { try self.decode(.renew, Array(bytes)) }
        // One more, said and there.
        var more = Array(bytes) + [1, 0x61, 1, 0, 0, 0, 1, 0, 0, 0]
        more[40] += 1
        #expect(throws: CodecError.outOfRange("count")) { try self.decode(.renew, more) }
        let head = Array(PeerFuzz.encoded(.renew(renewal))[10..<50])
        for (length, fits) in [(320, true), (321, false)] {
            let name = [UInt8](repeating: 0x61, count: length)
            let entry =
                [1, UInt8(length & 0x7F) | 0x80, UInt8(length >> 7)] + name
                + [0, 0, 0, 0, 0, 0, 0, 0]
            if fits {
                #expect(throws: Never.self) { try self.decode(.renew, head + entry) }
            } else {
                #expect(throws: CodecError.outOfRange("count")) {
                    try self.decode(.renew, head + entry)
                }
            }
        }
    }

    @Test func `no clock is later than the year 9999`() throws {
        var standing = Standing(
            applied: .zero, durable: .zero, sessionsIn: 0, sessionsOut: 0, diskFreePermille: 0,
            refusesBodies: false, isDraining: false, state: .none,
            wall: WallTime(milliseconds: .max), settings: 0)
        #expect(standing.wall == Standing.wallMax)
        #expect(standing.wall.rfc3339 == "9999-12-31T23:59:59.999Z")
        var bytes = Array(PeerFuzz.encoded(.standing(standing))[PeerFrame.headerBytes...])
        #expect(try self.decode(.standing, bytes) == .standing(standing))
        // One millisecond later: the clock stands before the last eight bytes.
        for place in bytes.indices.dropLast(8).suffix(8) {
            bytes[place] &+= 1
            if bytes[place] != 0 { break }
        }
        #expect(throws: CodecError.outOfRange("wall clock")) { try self.decode(.standing, bytes) }
        // A clock before 1970 is that of 1970.
        standing = Standing(
            applied: .zero, durable: .zero, sessionsIn: 0, sessionsOut: 0, diskFreePermille: 0,
            refusesBodies: false, isDraining: false, state: .none,
            wall: WallTime(milliseconds: -1), settings: 0)
        #expect(standing.wall == WallTime(milliseconds: 0))
    }

    private func decode(_ kind: PeerFrameKind, _ payload: [UInt8]) throws -> PeerMessage? {
        try PeerMessage(PeerFrame(kind: kind.rawValue, payload: ByteBuffer(bytes: payload)))
    }

    @Test func `frames of every shape do not confuse the decoders`() {
        var fuzz = PeerFuzz(seed: 1)
        while fuzz.frames < 200_000 {
            if let fault = fuzz.blow() {
                Issue.record("\(fault)")
                return
            }
        }
        #expect(fuzz.messages > 10_000 && fuzz.refused > 10_000)
    }

    @Test func `a goodbye is read back, and cut to its limit`() throws {
        var buffer = ByteBuffer()
        Goodbye(label: "our_name", sentence: String(repeating: "ü", count: 2000)).encode(
            into: &buffer)
        var decoder = PeerFrameDecoder()
        decoder.append(buffer)
        let frame = try #require(try decoder.next())
        let goodbye = try Goodbye(frame.payload)
        #expect(goodbye.label == "our_name" && goodbye.sentence.utf8.count == 1024)
    }
}
