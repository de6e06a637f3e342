// NodeHolding.swift - bodies of peers, stored here for them.
//
// Durable   a confirmation leaves when the own journal has synced the body's end.
// Limits    `streamsMax` streams of one peer at once.
// See       BodyHolding (the rules), BodySender (the other side).

import Logging
import MailQueue
import NIOCore
import Networking
import OpenSSL
import Primitives
import Raft
import Spool
import Storage

extension Node {
    /// Streams of one peer that have not ended.
    private static let streamsMax = 1024

    // MARK: Holding.

    /// What the applied state says of a peer's tag.
    private func standing(of tag: Tag, _ holder: Holder) -> PeerSession {
        if self.machine.queue.session(of: holder.node) == tag.session { return .ofPeer }
        return tag.session.raw > self.machine.applied.index ? .unknown : .foreign
    }

    private func refuse(_ body: PeerBody, _ reason: PeerBodyRefusal, _ holder: Holder) {
        _ = self.mesh?.send(.bodyRefused(body, reason), to: holder.node)
    }

    /// A whole body of a peer.
    func hold(_ tag: Tag, _ seal: BodySeal, _ blocks: ByteBuffer, _ holder: Holder) {
        guard self.storage.level == .normal else { return self.refuse(.tag(tag), .full, holder) }
        guard self.phase != .stopping, self.phase != .stopped else {
            return self.refuse(.tag(tag), .stopping, holder)
        }
        guard self.standing(of: tag, holder) != .foreign else {
            return self.refuse(.tag(tag), .other, holder)
        }
        let position = blocks.withUnsafeReadableBytes { blocks in
            seal.head.withUnsafeBytes { head in
                self.storage.appendBody(
                    tag: tag, head: head, blocks: blocks, blockCount: Int(seal.blockCount),
                    contentBytes: seal.contentBytes, digest: seal.digest)
            }
        }
        self.confirm(tag, holder, at: position)
    }

    private func confirm(_ tag: Tag, _ holder: Holder, at position: UInt64) {
        self.bodyWaits.append(BodyWait(position: position, whose: .peer(holder, tag)))
        self.flushSoon()
    }

    func openIncoming(_ number: UInt64, _ holder: Holder) {
        let ofPeer = self.incoming.count { $0.holder == holder }
        guard ofPeer < Self.streamsMax else {
            return self.refuse(.stream(number), .tooManyStreams, holder)
        }
        guard self.storage.level == .normal else {
            return self.refuse(.stream(number), .full, holder)
        }
        guard !self.incoming.contains(where: { $0.holder == holder && $0.number == number })
        else { return self.refuse(.stream(number), .unknownStream, holder) }
        self.incoming.append(
            IncomingStream(holder: holder, number: number, stream: self.storage.openStream()))
    }

    func chunk(_ number: UInt64, _ ordinal: UInt64, _ blocks: ByteBuffer, _ holder: Holder) {
        guard let place = self.incomingPlace(number, holder) else {
            return self.refuse(.stream(number), .unknownStream, holder)
        }
        let action = self.incoming[place].holding.chunk(
            UInt32(clamping: ordinal), blocks: Self.blockCount(blocks))
        guard case .append = action else { return self.drop(place, .unknownStream) }
        self.incoming[place].chunks += 1
        self.storage.appendChunk(self.incoming[place].stream, blocks: Array(buffer: blocks))
    }

    func end(_ number: UInt64, _ tag: Tag, _ seal: BodySeal, _ holder: Holder) {
        guard let place = self.incomingPlace(number, holder) else {
            return self.refuse(.stream(number), .unknownStream, holder)
        }
        let end = BodyHeader(
            stream: number, tag: tag, digest: seal.digest, contentBytes: seal.contentBytes,
            headBytes: UInt32(seal.head.count), blockCount: seal.blockCount,
            chunkCount: self.incoming[place].chunks)
        let action = self.incoming[place].holding.end(
            end, blocks: 0, session: self.standing(of: tag, holder))
        guard case .finish = action else { return self.drop(place, .damaged) }
        let stream = self.incoming.remove(at: place).stream
        let position = self.storage.endStream(
            stream, tag: tag, head: seal.head, blockCount: Int(seal.blockCount),
            contentBytes: seal.contentBytes, digest: seal.digest)
        self.confirm(tag, holder, at: position)
    }

    func dropIncoming(_ number: UInt64, _ holder: Holder) {
        guard let place = self.incomingPlace(number, holder) else { return }
        self.storage.abandon(self.incoming.remove(at: place).stream)
    }

    private func drop(_ place: Int, _ reason: PeerBodyRefusal) {
        let stream = self.incoming.remove(at: place)
        self.storage.abandon(stream.stream)
        self.refuse(.stream(stream.number), reason, stream.holder)
    }

    private func incomingPlace(_ number: UInt64, _ holder: Holder) -> Int? {
        self.incoming.firstIndex { $0.holder == holder && $0.number == number }
    }

    /// Blocks in a chunk; none that is not whole is counted.
    private static func blockCount(_ blocks: ByteBuffer) -> UInt32 {
        blocks.withUnsafeReadableBytes { bytes in
            var count: UInt32 = 0
            var rest = bytes
            while !rest.isEmpty, let header = BlockHeader(rest) {
                count += 1
                rest = UnsafeRawBufferPointer(
                    rebasing: rest[(BlockHeader.bytes + header.storedBytes)...])
            }
            return count
        }
    }
}
