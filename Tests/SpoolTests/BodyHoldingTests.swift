import Primitives
import Spool
import Testing

private let tag = Primitives.Tag(session: SessionID(raw: 7), sequence: 3)

private func end(
    chunks: UInt32, blocks: UInt32, tag: Primitives.Tag = tag
) -> BodyHeader {
    BodyHeader(
        stream: 9, tag: tag, digest: .zero, contentBytes: 10, headBytes: 1, blockCount: blocks,
        chunkCount: chunks)
}

@Suite("Holding a peer's body (8)")
struct BodyHoldingTests {
    @Test func `chunks in order, the end, the sync, and only then the confirmation`() {
        var body = BodyHolding()
        #expect(body.chunk(0, blocks: 4) == .append)
        #expect(body.chunk(1, blocks: 2) == .append)
        #expect(body.synced() == .ignore)
        #expect(body.tag == nil)
        #expect(body.end(end(chunks: 2, blocks: 7), blocks: 1, session: .ofPeer) == .finish)
        #expect(body.tag == tag)
        #expect(body.synced() == .confirm(tag))
        #expect(body.synced() == .ignore)
        #expect(body.lost() == .ignore && body.tag == tag)
    }

    @Test func `a small body is its end alone`() {
        var body = BodyHolding()
        #expect(body.end(end(chunks: 0, blocks: 1), blocks: 1, session: .unknown) == .finish)
        #expect(body.synced() == .confirm(tag))
    }

    @Test(arguments: [UInt32(0), 2, .max])
    func `a chunk that is missing or came twice breaks the stream`(_ ordinal: UInt32) {
        var body = BodyHolding()
        #expect(body.chunk(0, blocks: 1) == .append)
        #expect(body.chunk(ordinal, blocks: 1) == .refuse(.brokenStream))
        #expect(body.chunk(1, blocks: 1) == .ignore)
        #expect(body.end(end(chunks: 2, blocks: 2), blocks: 0, session: .ofPeer) == .ignore)
        #expect(body.synced() == .ignore)
    }

    @Test(arguments: [(UInt32(0), UInt32(1)), (2, 1), (1, 0), (1, 2)])
    func `an end that does not fit what came breaks the stream`(_ chunks: UInt32, _ blocks: UInt32)
    {
        var body = BodyHolding()
        #expect(body.chunk(0, blocks: 1) == .append)
        let answer = body.end(end(chunks: chunks, blocks: blocks), blocks: 0, session: .ofPeer)
        #expect(answer == .refuse(.brokenStream))
        #expect(body.tag == nil)
    }

    @Test func `blocks beyond what can be counted break the stream`() {
        var body = BodyHolding()
        #expect(body.chunk(0, blocks: .max) == .append)
        #expect(body.chunk(1, blocks: 1) == .refuse(.brokenStream))
    }

    @Test func `a tag of a session that is not the peer's is refused`() {
        var body = BodyHolding()
        #expect(
            body.end(end(chunks: 0, blocks: 1), blocks: 1, session: .foreign)
                == .refuse(.foreignTag))
        for odd in [
            Primitives.Tag(session: .none, sequence: 1),
            Primitives.Tag(session: SessionID(raw: 1), sequence: 0),
        ] {
            var other = BodyHolding()
            let answer = other.end(
                end(chunks: 0, blocks: 1, tag: odd), blocks: 1, session: .unknown)
            #expect(answer == .refuse(.foreignTag))
        }
    }

    @Test func `a link lost before the end drops what came; behind it the copy stays`() {
        var early = BodyHolding()
        _ = early.chunk(0, blocks: 1)
        #expect(early.lost() == .drop && early.lost() == .ignore)
        var late = BodyHolding()
        _ = late.end(end(chunks: 0, blocks: 0), blocks: 0, session: .ofPeer)
        #expect(late.abandoned() == .ignore)
        #expect(late.synced() == .confirm(tag))
    }

    @Test func `a node that is full refuses what has no end yet`() {
        var body = BodyHolding()
        _ = body.chunk(0, blocks: 1)
        #expect(body.full() == .refuse(.full) && body.full() == .ignore)
        var whole = BodyHolding()
        _ = whole.end(end(chunks: 0, blocks: 0), blocks: 0, session: .ofPeer)
        #expect(whole.full() == .ignore)
    }
}
