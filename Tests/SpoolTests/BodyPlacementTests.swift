import Primitives
import Spool
import Testing

private func holder(_ node: String, _ incarnation: UInt64 = 1) -> Holder {
    Holder(node: node, incarnation: Incarnation(raw: incarnation))
}
private let (a, b, c, d) = (holder("a"), holder("b"), holder("c"), holder("d"))
private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

private func placement(_ copies: Int, _ candidates: [Holder] = [b, c, d]) -> BodyPlacement {
    BodyPlacement(copies: copies, own: a, candidates: candidates)
}

@Suite("Placement of a body (1, 8)")
struct BodyPlacementTests {
    @Test func `the own journal and R - 1 peers; the first R that have synced are the placement`() {
        var body = placement(2)
        #expect(body.start(now: at(0)) == [.stream(to: b, from: 0)])
        #expect(body.appended(now: at(1)).isEmpty)
        #expect(body.ended(now: at(2)).isEmpty)
        #expect(body.confirmed(b).isEmpty)
        #expect(body.confirmed(b).isEmpty)
        #expect(body.confirmed(a) == [.placed([a, b])])
        #expect(body.confirmed(c).isEmpty && body.tick(now: at(9000)).isEmpty)
        #expect(body.wake == nil)
    }

    @Test func `a cluster of one needs its own sync only`() {
        var body = placement(1, [])
        #expect(body.start(now: at(0)).isEmpty)
        _ = body.ended(now: at(0))
        #expect(body.confirmed(a) == [.placed([a])])
    }

    @Test func `a confirmation before the end is no confirmation`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        _ = body.appended(now: at(0))
        #expect(body.confirmed(a).isEmpty && body.confirmed(b).isEmpty)
        _ = body.ended(now: at(1))
        #expect(body.confirmed == [])
        #expect(body.confirmed(b).isEmpty)
    }

    @Test func `at 500 ms without a step a peer is joined, and not one millisecond sooner`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        _ = body.appended(now: at(10))
        #expect(body.wake == at(510))
        #expect(body.tick(now: at(509)).isEmpty && body.slow.isEmpty)
        #expect(body.tick(now: at(510)) == [.stream(to: c, from: 0)])
        #expect(body.tick(now: at(511)).isEmpty && body.slow == [b])
        _ = body.ended(now: at(520))
        _ = body.confirmed(a)
        #expect(body.confirmed(c) == [.abandon(b), .placed([a, c])])
    }

    @Test func `a slow client is nobody's fault`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        #expect(body.wake == nil && body.tick(now: at(10_000)).isEmpty)
        _ = body.appended(now: at(10_000))
        #expect(body.taken(b, chunks: 1, now: at(10_100)).isEmpty)
        #expect(body.wake == nil && body.tick(now: at(20_000)).isEmpty)
        _ = body.appended(now: at(20_000))
        #expect(body.wake == at(20_500))
        // More than was sent is no progress.
        #expect(body.taken(b, chunks: 9, now: at(20_100)).isEmpty)
        #expect(body.wake == at(20_500))
    }

    @Test func `each step begins the wait again, and one stall asks one more`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        for _ in 0..<3 { _ = body.appended(now: at(0)) }
        _ = body.taken(b, chunks: 1, now: at(400))
        #expect(body.tick(now: at(899)).isEmpty)
        #expect(body.tick(now: at(900)) == [.stream(to: c, from: 0)])
        // It goes on, and stalls again: the one that was asked is there already.
        _ = body.taken(b, chunks: 2, now: at(950))
        _ = body.taken(c, chunks: 3, now: at(950))
        #expect(body.tick(now: at(1450)).isEmpty)
        _ = body.ended(now: at(1500))
        #expect(body.tick(now: at(2000)) == [.stream(to: d, from: 0)])
    }

    @Test func `an own disk that does not sync is joined like any other, and is not mandatory`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        _ = body.appended(now: at(0))
        _ = body.taken(b, chunks: 1, now: at(1))
        _ = body.ended(now: at(2))
        _ = body.confirmed(b)
        #expect(body.tick(now: at(502)) == [.stream(to: c, from: 0)])
        #expect(body.confirmed(c) == [.placed([b, c])])
        #expect(body.confirmed(a).isEmpty)
    }

    @Test func `who refuses or is lost is replaced; a confirmed copy outlives its link only`() {
        var body = placement(3)
        #expect(body.start(now: at(0)) == [.stream(to: b, from: 0), .stream(to: c, from: 0)])
        _ = body.ended(now: at(0))
        #expect(body.refused(b, now: at(1)) == [.stream(to: d, from: 0)])
        _ = body.confirmed(c)
        #expect(body.lost(c, .link, now: at(2)).isEmpty)
        #expect(body.confirmed == [c])
        #expect(body.lost(c, .incarnation, now: at(3)) == [.short(by: 1)])
        #expect(body.confirmed == [])
    }

    @Test func `never fewer than R: it says what is missing and waits for whoever comes`() {
        var body = placement(3, [b])
        #expect(body.start(now: at(0)) == [.stream(to: b, from: 0), .short(by: 1)])
        _ = body.ended(now: at(0))
        _ = body.confirmed(a)
        #expect(body.confirmed(b).isEmpty)
        #expect(body.joined(b, now: at(1)).isEmpty)
        #expect(body.joined(d, now: at(1)) == [.stream(to: d, from: 0), .short(by: 0)])
        #expect(body.lost(d, .link, now: at(2)) == [.short(by: 1)])
        #expect(body.joined(d, now: at(3)) == [.stream(to: d, from: 0), .short(by: 0)])
        #expect(body.confirmed(d) == [.placed([a, b, d])])
    }

    @Test func `given up, nothing of it is placed any more`() {
        var body = placement(2)
        _ = body.start(now: at(0))
        _ = body.ended(now: at(0))
        _ = body.confirmed(a)
        #expect(body.giveUp() == [.abandon(b)])
        #expect(body.confirmed(b).isEmpty && body.joined(c, now: at(1)).isEmpty)
        #expect(body.giveUp().isEmpty)
    }

    @Test func `whatever happens, no fewer than R different holders with a sync are placed`() {
        for seed in 1...400 {
            var dice = Generator(seed: UInt64(seed))
            let copies = 1 + dice.below(3)
            var body = placement(copies, Array([b, c, d].prefix(dice.below(4))))
            var synced: Set<Holder> = []
            var asked: [Holder] = [a]
            var placed: [[Holder]] = []
            var isEnded = false
            var actions = body.start(now: at(0))
            for step in 1...60 {
                for action in actions {
                    switch action {
                    case .stream(let holder, _):
                        // Never two streams to one holder at once.
                        #expect(!asked.contains(holder))
                        asked.append(holder)
                    case .placed(let holders): placed.append(holders)
                    case .abandon, .short: break
                    }
                }
                let who = [a, b, c, d][dice.below(4)]
                let now = at(step * 100)
                switch dice.below(7) {
                case 0: actions = body.appended(now: now)
                case 1:
                    actions = body.ended(now: now)
                    isEnded = true
                case 2: actions = body.taken(who, chunks: UInt32(dice.below(9)), now: now)
                case 3 where asked.contains(who):
                    if isEnded { synced.insert(who) }
                    actions = body.confirmed(who)
                case 4 where who != a:
                    asked.removeAll { $0 == who }
                    synced.remove(who)
                    actions = body.lost(who, .incarnation, now: now)
                case 5: actions = body.joined(who, now: now)
                case _: actions = body.tick(now: now)
                }
            }
            #expect(placed.count <= 1)
            if let holders = placed.first {
                #expect(holders.count == copies && holders == holders.sorted())
                #expect(Set(holders).count == copies)
            }
            if placed.isEmpty { #expect(synced.count < copies) }
        }
    }
}

@Suite("Whom to ask for a copy")
struct BodyCandidateTests {
    private static let peers = ["b", "c", "d", "e"].map { BodyPeer(holder: holder($0), isUp: true) }

    @Test func `who is down or low on disk is not asked, who drains last`() {
        var peers = Self.peers
        peers[0].isUp = false
        peers[1].isLowOnDisk = true
        peers[2].isDraining = true
        peers.append(BodyPeer(holder: a, isUp: true))
        for stream in UInt64(0)..<20 {
            #expect(BodyCandidates.order(peers, own: a, stream: stream).map(\.node) == ["e", "d"])
        }
    }

    @Test func `who was slow is asked behind all others, and still before nobody`() {
        var peers = Self.peers
        peers[0].isSlow = true
        peers[2].isDraining = true
        for stream in UInt64(0)..<20 {
            let order = BodyCandidates.order(peers, own: a, stream: stream).map(\.node)
            #expect(order.suffix(2) == ["d", "b"] && order.count == 4)
        }
        let all = peers.map { BodyPeer(holder: $0.holder, isUp: true, isSlow: true) }
        for stream in UInt64(0)..<20 {
            #expect(
                BodyCandidates.order(all, own: a, stream: stream)
                    == BodyCandidates.order(Self.peers, own: a, stream: stream))
        }
    }

    @Test func `streams are spread evenly, and the order of the peers does not matter`() {
        var counts: [String: Int] = [:]
        for stream in UInt64(0)..<4000 {
            let order = BodyCandidates.order(Self.peers, own: a, stream: stream)
            #expect(BodyCandidates.order(Self.peers.reversed(), own: a, stream: stream) == order)
            #expect(order.count == 4)
            counts[order[0].node, default: 0] += 1
        }
        #expect(counts.count == 4 && counts.values.allSatisfy { (900...1100).contains($0) })
    }

    @Test func `a peer that goes moves its own streams only`() {
        let rest = Array(Self.peers.dropFirst())
        for stream in UInt64(0)..<500 {
            let order = BodyCandidates.order(Self.peers, own: a, stream: stream)
            let without = BodyCandidates.order(rest, own: a, stream: stream)
            #expect(without == order.filter { $0.node != "b" })
        }
    }
}
