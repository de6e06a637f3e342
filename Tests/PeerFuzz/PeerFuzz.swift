// PeerFuzz.swift - frames of every shape against the decoders of the peer protocol.
//
// Gives     what must never be: a message that is not read back as it was written, a damaged frame
//           that passes. A trap ends the process.
// See       PeerCodecTests, `fuzz --peer-frames`.

package import Cluster
import NIOCore
package import Primitives
import Raft
import Spool

package struct PeerFuzz {
    private var dice: Generator
    package private(set) var frames: UInt64 = 0
    package private(set) var messages: UInt64 = 0
    package private(set) var refused: UInt64 = 0

    package init(seed: UInt64) { self.dice = Generator(seed: seed) }

    /// One blow.
    ///
    /// - Returns: what went wrong; nil: nothing.
    package mutating func blow() -> String? {
        // What builds a message costs most and is drawn least.
        switch self.dice.below(16) {
        case 0: return self.damagedFrame()
        case 1: return self.pieces()
        case 2...4: return self.damagedPayload()
        case 5...8: return self.noise()
        case _: return self.take(self.known(), self.bytes(self.dice.below(80)))
        }
    }

    /// Bytes without any sense; the lengths of half of them are small.
    private mutating func noise() -> String? {
        var decoder = PeerFrameDecoder()
        decoder.isGreeting = self.dice.chance(permille: 500)
        var bytes = self.bytes(self.dice.below(200))
        if bytes.count > 3, self.dice.chance(permille: 500) { bytes[1...3] = [0, 0, 0] }
        decoder.append(ByteBuffer(bytes: bytes))
        while true {
            self.frames += 1
            do {
                guard try decoder.next() != nil else { return nil }
            } catch {
                self.refused += 1
                return nil
            }
        }
    }

    /// One byte of a frame is changed: no frame comes of it.
    private mutating func damagedFrame() -> String? {
        var bytes = Self.encoded(self.message())
        self.frames += 1
        bytes[self.dice.below(bytes.count)] ^= UInt8(1 + self.dice.below(255))
        var decoder = PeerFrameDecoder()
        decoder.isGreeting = false
        decoder.append(ByteBuffer(bytes: bytes))
        do {
            if let frame = try decoder.next() { return "damaged frame passes: \(frame)" }
        } catch {
            self.refused += 1
        }
        return nil
    }

    /// Frames in pieces are the frames.
    private mutating func pieces() -> String? {
        let sent = (0...self.dice.below(4)).map { _ in self.message() }
        var rest = sent.flatMap { Self.encoded($0) }[...]
        var decoder = PeerFrameDecoder()
        decoder.isGreeting = false
        var came: [PeerMessage?] = []
        do {
            while !rest.isEmpty {
                let count = min(rest.count, 1 + self.dice.below(300))
                decoder.append(ByteBuffer(bytes: rest.prefix(count)))
                rest = rest.dropFirst(count)
                while let frame = try decoder.next() {
                    self.frames += 1
                    came.append(try PeerMessage(frame))
                }
            }
        } catch {
            return "a good frame is refused: \(error)"
        }
        self.messages += UInt64(came.count)
        return came == sent ? nil : "sent \(sent), came \(came)"
    }

    /// A payload that was right, with a right checksum, is cut, damaged or too long.
    private mutating func damagedPayload() -> String? {
        let message = self.message()
        var payload = Array(Self.encoded(message)[PeerFrame.headerBytes...])
        for _ in 0...self.dice.below(3) {
            switch self.dice.below(3) {
            case 0: payload = Array(payload.prefix(self.dice.below(payload.count + 1)))
            case 1: payload += self.bytes(self.dice.below(20))
            case _:
                guard !payload.isEmpty else { continue }
                payload[self.dice.below(payload.count)] = UInt8(self.dice.below(256))
            }
        }
        return self.take(message.kind, payload)
    }

    private mutating func take(_ kind: PeerFrameKind, _ payload: [UInt8]) -> String? {
        self.frames += 1
        let frame = PeerFrame(kind: kind.rawValue, payload: ByteBuffer(bytes: payload))
        do {
            guard let message = try PeerMessage(frame) else { return nil }
            self.messages += 1
            // Writing costs most: one of four says enough.
            guard self.dice.chance(permille: 250) else { return nil }
            var decoder = PeerFrameDecoder()
            decoder.isGreeting = false
            decoder.append(ByteBuffer(bytes: Self.encoded(message)))
            let again = try decoder.next().flatMap { try PeerMessage($0) }
            return again == message ? nil : "written \(message), read \(String(describing: again))"
        } catch {
            self.refused += 1
            return nil
        }
    }

    package static func encoded(_ message: PeerMessage) -> [UInt8] {
        var buffer = ByteBuffer()
        let tail = message.encode(into: &buffer)
        return Array(buffer.readableBytesView) + (tail.map { Array($0.readableBytesView) } ?? [])
    }

    // MARK: Messages

    private static let kinds = PeerFrameKind.allCases

    private mutating func known() -> PeerFrameKind {
        Self.kinds[self.dice.below(Self.kinds.count)]
    }

    private mutating func bytes(_ count: Int) -> [UInt8] {
        let words = (0..<(count + 7) / 8).map { _ in self.dice.next() }
        return [UInt8](unsafeUninitializedCapacity: count) { target, filled in
            words.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(target).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: source[..<count]))
            }
            filled = count
        }
    }

    /// Small ones, large ones and odd ones.
    private mutating func number() -> UInt64 {
        self.dice.chance(permille: 500) ? UInt64(self.dice.below(300)) : self.dice.next()
    }

    private mutating func buffer() -> ByteBuffer {
        let count = self.dice.chance(permille: 2) ? 5000 : self.dice.below(60)
        return ByteBuffer(bytes: self.bytes(count))
    }

    private mutating func tag() -> Tag {
        Tag(session: SessionID(raw: self.number()), sequence: self.number())
    }

    private mutating func seal() -> BodySeal {
        BodySeal(
            head: self.bytes(self.dice.below(40)),
            blockCount: UInt32(truncatingIfNeeded: self.number()), contentBytes: self.number(),
            digest: self.digest())
    }

    private mutating func digest() -> BodyDigest {
        BodyDigest(
            a: self.dice.next(), b: self.dice.next(), c: self.dice.next(), d: self.dice.next())
    }

    private mutating func position() -> LogPosition {
        LogPosition(term: self.number(), index: self.number())
    }

    private mutating func name() -> String {
        String(repeating: "nø.", count: self.dice.below(9))
    }

    /// Any message.
    package mutating func message() -> PeerMessage {
        while true {
            let kind = self.known()
            switch kind.link {
            case .control?: return self.control(kind)
            case .bulk?: return self.bulk(kind)
            case nil: continue
            }
        }
    }

    private mutating func control(_ kind: PeerFrameKind) -> PeerMessage {
        switch kind {
        case .forward:
            return .forward(number: self.number(), command: self.bytes(self.dice.below(50)))
        case .forwardRefused:
            return .forwardRefused(
                number: self.number(), leader: Incarnation(raw: self.number()))
        case .renew:
            let shares = (0..<self.dice.below(4)).map { _ in
                HeldShare(
                    destination: self.name(), share: UInt32(truncatingIfNeeded: self.number()),
                    open: UInt32(truncatingIfNeeded: self.number()))
            }
            return .renew(
                Renewal(
                    session: SessionID(raw: self.number()),
                    sentAt: Instant(nanoseconds: Int64(bitPattern: self.number())),
                    term: self.number(), deal: self.number(),
                    base: UInt32(truncatingIfNeeded: self.number()),
                    baseOpen: UInt32(truncatingIfNeeded: self.number()), shares: shares))
        case .renewed:
            let shares = (0..<self.dice.below(4)).map { _ in
                DealtShare(
                    destination: self.name(), share: UInt32(truncatingIfNeeded: self.number()))
            }
            return .renewed(
                RenewalAnswer(
                    session: SessionID(raw: self.number()),
                    sentAt: Instant(nanoseconds: Int64(bitPattern: self.number())),
                    term: self.number(), deal: self.number(),
                    base: UInt32(truncatingIfNeeded: self.number()), shares: shares))
        case .founding: return .founding(self.bytes(self.dice.below(300)))
        case .standing:
            return .standing(
                Standing(
                    applied: self.position(), durable: self.position(),
                    sessionsIn: UInt32(truncatingIfNeeded: self.number()),
                    sessionsOut: UInt32(truncatingIfNeeded: self.number()),
                    diskFreePermille: UInt16(self.dice.below(1001)),
                    refusesBodies: self.dice.chance(permille: 500),
                    isDraining: self.dice.chance(permille: 500),
                    state: StateMark(index: self.number(), hash: self.number()),
                    wall: WallTime(milliseconds: Int64(truncatingIfNeeded: self.number())),
                    settings: self.number()))
        case _:
            return .raft(self.bytes(self.dice.below(50)))
        }
    }

    private mutating func bulk(_ kind: PeerFrameKind) -> PeerMessage {
        switch kind {
        case .bodyOpen: return .bodyOpen(stream: self.number())
        case .bodyChunk:
            return .bodyChunk(
                stream: self.number(), number: self.number(), blocks: self.buffer())
        case .bodyEnd:
            return .bodyEnd(stream: self.number(), tag: self.tag(), self.seal())
        case .bodyWhole:
            return .bodyWhole(tag: self.tag(), self.seal(), blocks: self.buffer())
        case .bodyStored: return .bodyStored(tag: self.tag())
        case .bodyRefused:
            let reasons = PeerBodyRefusal.allCases
            return .bodyRefused(
                self.dice.chance(permille: 500) ? .stream(self.number()) : .tag(self.tag()),
                reasons[self.dice.below(reasons.count)])
        case .bodyAbandoned: return .bodyAbandoned(stream: self.number())
        case .fetchBody:
            return .fetchBody(
                request: self.number(), tag: self.tag(),
                pieces: UInt32(truncatingIfNeeded: self.number()))
        case .fetchMore:
            return .fetchMore(
                request: self.number(), pieces: UInt32(truncatingIfNeeded: self.number()))
        case .fetchEnded: return .fetchEnded(request: self.number())
        case .fetchedHead: return .fetchedHead(request: self.number(), self.seal())
        case .fetchedPiece:
            return .fetchedPiece(
                request: self.number(), blocks: self.buffer(),
                isLast: self.dice.chance(permille: 500))
        case .fetchFailed:
            let reasons = PeerFetchFailure.allCases
            return .fetchFailed(
                request: self.number(), reasons[self.dice.below(reasons.count)])
        case .snapshotOffer:
            return .snapshotOffer(
                SnapshotOffer(
                    id: self.number(), position: self.position(), totalBytes: self.number(),
                    configuration: self.bytes(self.dice.below(50))))
        case .snapshotPiece:
            return .snapshotPiece(
                id: self.number(), offset: self.number(), bytes: self.buffer())
        case .snapshotDone: return .snapshotDone(id: self.number(), digest: self.digest())
        case _:
            let verdicts = SnapshotVerdict.allCases
            return .snapshotAnswer(
                id: self.number(), verdicts[self.dice.below(verdicts.count)],
                takenBytes: self.number())
        }
    }
}
