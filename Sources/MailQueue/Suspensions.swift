// Suspensions.swift - destinations that nobody reaches rest as a whole, and no attempt is counted.
//
// Suspended: 1 min, doubling to 15 (both in ClusterSettings) while the next one comes before the
// last is forgotten. New and waiting deliveries rest with it: one command for any backlog.
//
// Leases    stay. The session gives back by `release` those that it has not begun. Were they taken
//           back here: 1 the session proposes; 2 a Grant or an Enqueue before it in the log leases
//           one more, which is begun; 3 this is applied and frees it; 4 it is granted again while
//           the first attempt is behind its final dot: two dots, and nobody counts them (6).

import Primitives
import SMTP

extension MailQueue {
    mutating func suspend(_ name: String, _ reply: Reply) -> CommandResult {
        guard !name.isEmpty else { return .refused(.malformed) }
        let slot = self.destinations.slot(name)
        let now = self.time.milliseconds
        if self.destinations[slot].suspendedUntil <= now {
            let step = self.destinations[slot].step
            self.destinations[slot].step = min(step + 1, 32)
            let first = UInt64(max(1, self.settings.suspensionFirst.inMilliseconds))
            let longest = UInt64(max(1, self.settings.suspensionMax.inMilliseconds))
            let (doubled, overflow) = first.multipliedReportingOverflow(by: 1 << UInt64(step))
            let wait = overflow ? longest : min(doubled, longest)
            self.destinations[slot].suspendedUntil = now + wait
            self.destinations[slot].forgetAt = now + wait + longest
            self.destinations.resumes.insert(now + wait, slot)
            self.destinations.forgets.insert(now + wait + longest, slot)
            self.setSuspended(slot, true)
        }
        let number = self.verdicts.retain(Verdict(.deferred, reply))
        self.verdicts.release(self.destinations[slot].reason)
        self.destinations[slot].reason = number
        return .done
    }

    mutating func clearSuspension(_ name: String) -> CommandResult {
        let slot = self.destinations.find(name)
        guard slot != Slot.none, self.destinations[slot].step > 0 else { return .done }
        self.forgetSuspension(slot)
        return .done
    }

    /// As if it had never been suspended.
    mutating func forgetSuspension(_ slot: UInt32) {
        self.verdicts.release(self.destinations[slot].reason)
        self.destinations[slot].reason = 0
        self.destinations[slot].step = 0
        self.destinations[slot].suspendedUntil = 0
        self.destinations[slot].forgetAt = 0
        self.setSuspended(slot, false)
        self.destinations.dropIfUnused(slot)
    }

    /// The rest is over, but the next one will be longer.
    mutating func resume(_ slot: UInt32) {
        if self.destinations[slot].suspendedUntil > self.time.milliseconds {
            self.destinations[slot].suspendedUntil = self.time.milliseconds
        }
        self.setSuspended(slot, false)
    }

    mutating func setSuspended(_ slot: UInt32, _ isSuspended: Bool) {
        if self.destinations[slot].isSuspended != isSuspended {
            self.destinations[slot].isSuspended = isSuspended
            let ready = Int(self.destinations[slot].ready)
            self.sums.readySuspended += isSuspended ? ready : -ready
        }
        self.updateRing(slot)
    }
}

extension MailQueue {
    /// The destination was suspended, and that still counts for the next suspension.
    package func remembersSuspension(of destination: String) -> Bool {
        let slot = self.destinations.find(destination)
        return slot != Slot.none && self.destinations[slot].step > 0
    }
}
