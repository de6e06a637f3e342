import Cluster
import MailQueue
import Primitives
import Testing

@Suite("Peer protocol, Hello")
struct HelloTests {
    private func hello(
        node: String = "b", cluster: UInt64 = 7, incarnation: UInt64 = 3, boot: UInt64 = 2,
        index: UInt64 = 90, term: UInt64 = 4, versions: ClosedRange<UInt16> = 1...1
    ) -> Hello {
        Hello(
            cluster: ClusterID(raw: cluster), node: node,
            incarnation: Incarnation(raw: incarnation),
            boot: boot, durableIndex: index, durableTerm: term, versions: versions)
    }

    @Test func `a hello is read back, with members of later versions behind it`() throws {
        var writer = ByteWriter()
        self.hello().encode(into: &writer)
        writer.u64(99)
        var reader = ByteReader(writer.bytes)
        #expect(try Hello(from: &reader) == self.hello())
        #expect(writer.bytes[..<4] == [0x50, 0x48, 0x48, 0x4C])
    }

    @Test func `every cut and every damaged magic is refused`() {
        var writer = ByteWriter()
        self.hello().encode(into: &writer)
        for length in 0..<writer.count {
            var reader = ByteReader(writer.bytes, range: 0..<length)
            #expect(throws: CodecError.self) { try Hello(from: &reader) }
        }
        for byte in 0..<4 {
            var damaged = writer.bytes
            damaged[byte] ^= 1
            var reader = ByteReader(damaged)
            #expect(throws: CodecError.unknown("hello")) { try Hello(from: &reader) }
        }
    }

    @Test func `who may not speak is told why`() {
        let us = self.hello(node: "a", incarnation: 1)
        #expect(us.refusal(of: self.hello(), memory: PeerMemory()) == nil)
        #expect(us.refusal(of: self.hello(cluster: 0), memory: PeerMemory()) == nil)
        #expect(
            us.refusal(of: self.hello(cluster: 8), memory: PeerMemory())
                == .otherCluster(ClusterID(raw: 8)))
        #expect(us.refusal(of: self.hello(node: "a"), memory: PeerMemory()) == .ourName)
        #expect(
            us.refusal(of: self.hello(versions: 2...3), memory: PeerMemory()) == .version(2...3))
        var old = self.hello()
        old.featureLevel = Hello.featureLevelWritten - 1
        #expect(us.refusal(of: old, memory: PeerMemory()) == .featureLevel(old.featureLevel))
        var new = self.hello()
        new.featureLevel = Hello.featureLevel + 1
        #expect(us.refusal(of: new, memory: PeerMemory()) == nil, "it writes what we can read")
    }

    @Test func `a disk that has gone back in time is refused, a wiped one is not`() {
        let us = self.hello(node: "a", incarnation: 1)
        var seen = PeerMemory()
        let isMet = seen.meet(self.hello().shown)
        #expect(isMet)
        seen.acknowledged(Incarnation(raw: 3), index: 90, term: 4, commit: 90)
        #expect(us.refusal(of: self.hello(), memory: seen) == nil)
        #expect(us.refusal(of: self.hello(boot: 1), memory: seen) == .rolledBack)
        #expect(us.refusal(of: self.hello(index: 89), memory: seen) == .rolledBack)
        #expect(us.refusal(of: self.hello(term: 3), memory: seen) == .rolledBack)
        #expect(
            us.refusal(of: self.hello(incarnation: 4, boot: 1, index: 0), memory: seen) == nil)
    }
}

@Suite("Queue time")
struct QueueClockTests {
    private func at(_ milliseconds: Int64) -> Instant {
        Instant(nanoseconds: milliseconds * 1_000_000)
    }

    @Test func `time goes on by what has passed, in steps of at most a minute`() {
        var clock = QueueClock(
            last: QueueTime(milliseconds: 500), stopped: .zero, now: self.at(1000))
        #expect(clock.stamp(at: self.at(1010)) == QueueTime(milliseconds: 510))
        #expect(clock.stamp(at: self.at(1010)) == QueueTime(milliseconds: 510))
        #expect(clock.stamp(at: self.at(61_010)) == QueueTime(milliseconds: 60_510))
        #expect(clock.stamp(at: self.at(999_999_999)) == QueueTime(milliseconds: 120_510))
        #expect(clock.stamp(at: self.at(1_000_000_009)) == QueueTime(milliseconds: 120_520))
    }

    @Test func `a clock that goes back stands still`() {
        var clock = QueueClock(last: .zero, stopped: .zero, now: self.at(1000))
        #expect(clock.stamp(at: self.at(900)) == .zero)
        #expect(clock.stamp(at: self.at(1500)) == QueueTime(milliseconds: 500))
    }

    @Test func `fractions of a millisecond are not lost`() {
        var clock = QueueClock(last: .zero, stopped: .zero, now: self.at(0))
        for i in 1...1000 { _ = clock.stamp(at: Instant(nanoseconds: Int64(i) * 300_000)) }
        #expect(clock.reading(at: self.at(300)) == QueueTime(milliseconds: 300))
    }

    @Test func `a stop counts by the wall clock, a day at most`() {
        let hour = QueueClock(last: .zero, stopped: .seconds(3600), now: self.at(0))
        #expect(hour.reading(at: self.at(0)) == QueueTime(milliseconds: 3_600_000))
        let back = QueueClock(last: .zero, stopped: .seconds(-3600), now: self.at(0))
        #expect(back.reading(at: self.at(0)) == .zero)
        let week = QueueClock(last: .zero, stopped: .seconds(7 * 86_400), now: self.at(0))
        #expect(week.reading(at: self.at(0)) == QueueTime(milliseconds: 86_400_000))
    }

    @Test func `where others have gone on, their time counts and not the own wall clock`() {
        let known = QueueTime(milliseconds: 1000)
        var clock = QueueClock(last: known, stopped: .seconds(3600), now: self.at(0))
        // What this start has read itself says nothing of others.
        clock.observe(known, at: self.at(1))
        #expect(clock.reading(at: self.at(1)) == QueueTime(milliseconds: 3_601_001))
        clock.observe(QueueTime(milliseconds: 9000), at: self.at(5))
        #expect(clock.reading(at: self.at(5)) == QueueTime(milliseconds: 9000))
        #expect(clock.stamp(at: self.at(15)) == QueueTime(milliseconds: 9010))
        // Behind a full stop the first one to lead stamps by it, and the others follow.
        var first = QueueClock(last: known, stopped: .seconds(3600), now: self.at(0))
        #expect(first.stamp(at: self.at(0)) == QueueTime(milliseconds: 3_601_000))
        first.observe(QueueTime(milliseconds: 2000), at: self.at(1))
        #expect(first.reading(at: self.at(1)) == QueueTime(milliseconds: 3_601_001))
    }

    @Test func `a guess that is dropped goes on from where the stamps stood`() {
        let known = QueueTime(milliseconds: 1000)
        var clock = QueueClock(last: known, stopped: .seconds(3600), now: self.at(0))
        #expect(clock.isGuessed)
        clock.dropGuess()
        #expect(!clock.isGuessed)
        #expect(clock.stamp(at: self.at(5)) == QueueTime(milliseconds: 1005))
        // A clock that has gone back is a guess too, and moves nothing.
        var back = QueueClock(last: known, stopped: .seconds(-3600), now: self.at(0))
        #expect(back.isGuessed)
        back.dropGuess()
        #expect(back.reading(at: self.at(7)) == QueueTime(milliseconds: 1007))
        // Nobody knows how long it was.
        let blind = QueueClock(last: known, stopped: nil, now: self.at(0))
        #expect(blind.isGuessed && blind.isBlindGuess && !back.isBlindGuess)
        #expect(blind.reading(at: self.at(7)) == QueueTime(milliseconds: 1007))
        // Without a stop there is nothing to guess.
        #expect(!QueueClock(last: known, stopped: .zero, now: self.at(0)).isGuessed)
    }

    @Test func `a stamp ends the guess, one's own or another's`() {
        let known = QueueTime(milliseconds: 1000)
        var leads = QueueClock(last: known, stopped: .seconds(3600), now: self.at(0))
        #expect(leads.stamp(at: self.at(0)) == QueueTime(milliseconds: 3_601_000))
        #expect(!leads.isGuessed)
        leads.dropGuess()
        #expect(leads.reading(at: self.at(0)) == QueueTime(milliseconds: 3_601_000))
        var follows = QueueClock(last: known, stopped: .seconds(3600), now: self.at(0))
        follows.observe(QueueTime(milliseconds: 2000), at: self.at(0))
        #expect(!follows.isGuessed)
        follows.dropGuess()
        #expect(follows.reading(at: self.at(0)) == QueueTime(milliseconds: 2000))
    }

    @Test func `wall clocks agree within sixty seconds`() {
        #expect(QueueClock.agreementMax == .seconds(60))
        #expect(QueueClock.agrees(.zero))
        for sign in [1, -1] {
            #expect(QueueClock.agrees(.milliseconds(60_000) * sign))
            #expect(!QueueClock.agrees(.milliseconds(60_001) * sign))
        }
    }
}
