// NodeQuota.swift - the queue's quota, kept by the node: the obstacle, an alarm, a metric.

import Logging
import MailQueue
import Metrics
import Settings

extension QueueQuota {
    init(_ relay: Settings.Relay) {
        self.init(
            messagesMax: UInt64(relay.maxQueuedMessages), bytesMax: UInt64(relay.maxQueuedBytes))
    }
}

extension Node {
    static let quotaAlarm = "quota"
    private static let quotaUsed = Gauge(label: "posthouse_queue_quota_used_ratio")

    /// After each batch of entries: a queue that is full says so before the next MAIL.
    func checkQuota() {
        let load = self.machine.queue.load
        guard self.quota.update(messages: UInt64(load.messages), bytes: load.storedBytes) else {
            return
        }
        self.updateObstacle()
        if self.quota.isOver {
            self.logger.error(
                "the queue is full: new mail is refused with 452",
                metadata: ["messages": "\(load.messages)", "bytes": "\(load.storedBytes)"])
            self.alarms.append(Self.quotaAlarm)
        } else {
            self.logger.notice("the queue has room again")
            self.alarms.removeAll { $0 == Self.quotaAlarm }
        }
    }

    func sampleQuota() {
        let load = self.machine.queue.load
        Self.quotaUsed.record(
            self.quota.usedRatio(messages: UInt64(load.messages), bytes: load.storedBytes))
    }

    /// Other limits: they hold from now on.
    func useQuota(_ relay: Settings.Relay) {
        let fresh = QueueQuota(relay)
        self.quota.messagesMax = fresh.messagesMax
        self.quota.bytesMax = fresh.bytesMax
        self.checkQuota()
    }
}
