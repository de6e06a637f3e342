// QueueQuota.swift - how full the queue may become before new mail is refused.
//
// Takes     the queue's sums after each step.
// Gives     whether new mail is refused (452 4.3.1); outcomes, reports and operators' wishes always
//           have room. Refusing ends only at `Limit.recoverPercent`, so that it does not flicker.

/// `relay.max_queued_messages` and `relay.max_queued_bytes`.
struct QueueQuota: Equatable, Sendable {
    enum Limit {
        /// New mail is taken again when the queue is down to this part of both limits.
        static let recoverPercent: UInt64 = 90
    }

    var messagesMax: UInt64
    /// As stored, compressed, one copy.
    var bytesMax: UInt64
    private(set) var isOver = false

    init(messagesMax: UInt64, bytesMax: UInt64) {
        self.messagesMax = messagesMax
        self.bytesMax = bytesMax
    }

    /// - Returns: whether `isOver` has changed.
    mutating func update(messages: UInt64, bytes: UInt64) -> Bool {
        let before = self.isOver
        if messages >= self.messagesMax || bytes >= self.bytesMax {
            self.isOver = true
        } else if Self.isLow(messages, self.messagesMax) && Self.isLow(bytes, self.bytesMax) {
            self.isOver = false
        }
        return self.isOver != before
    }

    private static func isLow(_ value: UInt64, _ max: UInt64) -> Bool {
        let part = max.multipliedFullWidth(by: Limit.recoverPercent)
        let whole = value.multipliedFullWidth(by: 100)
        return (whole.high, whole.low) <= (part.high, part.low)
    }

    /// The fuller of both, 1 where it is at its limit.
    func usedRatio(messages: UInt64, bytes: UInt64) -> Double {
        max(
            Double(messages) / Double(max(1, self.messagesMax)),
            Double(bytes) / Double(max(1, self.bytesMax)))
    }
}
