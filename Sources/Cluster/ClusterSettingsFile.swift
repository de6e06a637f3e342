// ClusterSettingsFile.swift - what of a node's settings file counts for the whole cluster, if it
// leads.

import MailQueue
import Settings

extension ClusterSettings {
    init(_ settings: Settings) {
        self.init()
        self.retry = settings.delivery.retry
        self.expire = settings.delivery.expire
        self.delayNotice = settings.delivery.delayNotice
        self.connectionsPerDestination = UInt32(settings.delivery.connectionsPerDestination)
        if settings.isSeveral, let cluster = settings.cluster {
            self.copies = UInt32(cluster.copies ?? cluster.seeds.count / 2 + 1)
            self.session = SessionTiming(
                term: cluster.sessionTime, holdDown: cluster.holdDown,
                driftPermille: Int64(cluster.clockDrift * 10))
        }
    }
}
