import Foundation
import Primitives
import Testing

@Suite("Instants, durations and civil time")
struct TimeTests {
    @Test func `an instant plus a duration saturates at the distant future`() {
        #expect(Instant(nanoseconds: 5) + .nanoseconds(7) == Instant(nanoseconds: 12))
        #expect(Instant(nanoseconds: .max - 1) + .nanoseconds(1) == .distantFuture)
        #expect(Instant(nanoseconds: .max - 1) + .seconds(1) == .distantFuture)
    }

    @Test func `durations count in whole units and saturate`() {
        #expect(Duration.milliseconds(1999).inMilliseconds == 1999)
        #expect(Duration.seconds(-2).inNanoseconds == -2_000_000_000)
        #expect(Duration.seconds(Int64.max).inNanoseconds == .max)
        #expect(Duration.seconds(100).scaled(permille: 950) == .seconds(95))
    }

    @Test func `civil time agrees with Foundation over four centuries`() {
        var generator = Generator(seed: 11)
        let iso = ISO8601DateFormatter()
        iso.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        let mail = DateFormatter()
        mail.locale = Locale(identifier: "en_US_POSIX")
        mail.timeZone = TimeZone(identifier: "UTC")
        mail.dateFormat = "EEE, d MMM yyyy HH:mm:ss '+0000'"
        for _ in 0..<2000 {
            let second = Int64(generator.below(12_600_000_000)) - 6_000_000_000
            let time = WallTime(milliseconds: second * 1000)
            let date = Date(timeIntervalSince1970: Double(second))
            #expect(time.rfc3339 == iso.string(from: date))
            #expect(time.rfc5322 == mail.string(from: date))
        }
    }

    @Test func `milliseconds are printed with three digits`() {
        #expect(WallTime(milliseconds: 7).rfc3339 == "1970-01-01T00:00:00.007Z")
        #expect(WallTime(milliseconds: -1).rfc3339 == "1969-12-31T23:59:59.999Z")
    }
}
