// NotedFacts.swift - which notes of a former process are still to be said.

package import MailQueue
import Primitives

package enum NotedFacts {
    /// Whether the command may not be known to the cluster.
    ///
    /// - Parameters:
    ///   - command: a fact, as it was noted.
    ///   - queue: the state of the newest checkpoint.
    package static func mayBeNews(_ command: Command, to queue: borrowing MailQueue) -> Bool {
        guard let own = command.tag else { return false }
        switch command.action {
        case .outcome(let outcome):
            // Of a message that has ended, nothing is left to be said.
            let message = outcome.delivery.message
            return queue.contains(message) || !queue.isResolved(message)
        case .cancel:
            // Of a closed session's command the state does not know; said twice, it counts once.
            return !queue.isOpen(own.session) || !queue.isResolved(own)
        case .openSession, .closeSession, .expireSession, .enqueue, .release, .grant, .suspend,
            .clearSuspension, .report, .waiveReport, .admin, .expire, .bodyLost, .tick, .settings,
            .drain, .replicaAdded, .replicasLost, .removeNode, .admit, .wish:
            return false
        }
    }
}
