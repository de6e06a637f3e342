// WallTime.swift - civil time: printed, never decided upon but for how long all nodes stood still.
//
// Standard  RFC 3339 (admin interfaces), RFC 5322 §3.3 (message headers).

/// Milliseconds since 1970-01-01T00:00:00Z, as the wall clock said.
package struct WallTime: Comparable, Hashable, Sendable {
    package var milliseconds: Int64

    package init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    package static func < (a: WallTime, b: WallTime) -> Bool { a.milliseconds < b.milliseconds }

    package static func + (a: WallTime, b: Duration) -> WallTime {
        WallTime(milliseconds: a.milliseconds &+ b.inMilliseconds)
    }

    package static func - (a: WallTime, b: WallTime) -> Duration {
        .milliseconds(a.milliseconds &- b.milliseconds)
    }

    /// `2026-03-02T17:04:05.678Z` (RFC 3339 §5.6).
    package var rfc3339: String {
        let c = Civil(milliseconds: self.milliseconds)
        return "\(pad(c.year, 4))-\(pad(c.month, 2))-\(pad(c.day, 2))T\(pad(c.hour, 2)):"
            + "\(pad(c.minute, 2)):\(pad(c.second, 2)).\(pad(c.millisecond, 3))Z"
    }

    /// `Mon, 2 Mar 2026 17:04:05 +0000` (RFC 5322 §3.3).
    package var rfc5322: String {
        let c = Civil(milliseconds: self.milliseconds)
        return
            "\(Self.weekdays[c.weekday]), \(c.day) \(Self.months[c.month - 1]) \(pad(c.year, 4)) "
            + "\(pad(c.hour, 2)):\(pad(c.minute, 2)):\(pad(c.second, 2)) +0000"
    }

    private static let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
}

/// Decimal digits of a number that is not negative, with zeros in front up to `width`.
private func pad(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

/// A proleptic Gregorian date and time of day in UTC.
package struct Civil: Sendable {
    package private(set) var year = 0, month = 0, day = 0
    package private(set) var hour = 0, minute = 0, second = 0, millisecond = 0
    /// 0 = Sunday.
    package private(set) var weekday = 0

    /// Milliseconds since 1970-01-01T00:00:00Z.
    package init(milliseconds: Int64) {
        let dayMilliseconds: Int64 = 86_400_000
        var days = milliseconds / dayMilliseconds
        var rest = milliseconds % dayMilliseconds
        if rest < 0 {
            rest += dayMilliseconds
            days -= 1
        }
        self.millisecond = Int(rest % 1000)
        self.second = Int(rest / 1000 % 60)
        self.minute = Int(rest / 60_000 % 60)
        self.hour = Int(rest / 3_600_000)
        self.weekday = Int(((days % 7) + 11) % 7)
        // Days are counted from 0000-03-01, so that the leap day ends each 400-year era.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        self.day = Int(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
        self.month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
        self.year = Int(yearOfEra + era * 400 + (self.month <= 2 ? 1 : 0))
    }
}
