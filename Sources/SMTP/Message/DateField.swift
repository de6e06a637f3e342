// DateField.swift - a date as header fields print it, written without making a string.
//
// Standard  RFC 5322 §3.3.

package import Primitives

package import struct NIOCore.ByteBuffer

package enum DateField {
    private static let weekdays: StaticString = "SunMonTueWedThuFriSat"
    private static let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"

    /// Appends `Mon, 2 Mar 2026 17:04:05 +0000`.
    package static func write(_ time: WallTime, into out: inout ByteBuffer) {
        let civil = Civil(milliseconds: time.milliseconds)
        Self.three(Self.weekdays, civil.weekday, into: &out)
        out.writeStaticString(", ")
        if civil.day >= 10 { out.writeInteger(UInt8(0x30 + civil.day / 10)) }
        out.writeInteger(UInt8(0x30 + civil.day % 10))
        out.writeStaticString(" ")
        Self.three(Self.months, civil.month - 1, into: &out)
        out.writeStaticString(" ")
        Self.two(civil.year / 100, into: &out)
        Self.two(civil.year % 100, into: &out)
        out.writeStaticString(" ")
        Self.two(civil.hour, into: &out)
        out.writeStaticString(":")
        Self.two(civil.minute, into: &out)
        out.writeStaticString(":")
        Self.two(civil.second, into: &out)
        out.writeStaticString(" +0000")
    }

    private static func three(_ names: StaticString, _ index: Int, into out: inout ByteBuffer) {
        out.writeBytes(UnsafeBufferPointer(start: names.utf8Start + index * 3, count: 3))
    }

    private static func two(_ value: Int, into out: inout ByteBuffer) {
        out.writeInteger(UInt8(truncatingIfNeeded: 0x30 + value / 10 % 10))
        out.writeInteger(UInt8(truncatingIfNeeded: 0x30 + value % 10))
    }
}
