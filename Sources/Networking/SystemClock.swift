// SystemClock.swift - the only readings of the machine's clocks; machines get them as values.

import Glibc
package import Primitives

/// Both cost about 25 ns: read by the C library, without a system call.
package enum SystemClock {
    /// CLOCK_BOOTTIME: goes on during suspend, never jumps.
    package static func bootTime() -> Instant {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
    }

    /// CLOCK_REALTIME, for printing.
    package static func wallTime() -> WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(milliseconds: Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000)
    }
}
