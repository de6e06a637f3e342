// ClusterNode.swift - the admin interface's questions, put to the node of this process.
//
// Takes     the node's `ClusterView`.
// Gives     wall times for queue times, replies as text, its failures as ours.

package import Cluster
package import MailQueue
package import NIOCore
package import Primitives

package struct ClusterNode: AdminNode {
    private let view: ClusterView

    package init(_ view: ClusterView) {
        self.view = view
    }

    package func readiness() async -> Readiness { self.view.readiness }

    package func status() async -> ClusterStatus { await self.view.status() }

    package func list(
        _ filter: QueueFilter, limit: Int
    ) async throws(AdminFailure) -> QueuePage {
        do throws(ClusterView.Failure) {
            let (messages, total) = try await self.view.list(filter, limit: limit)
            let start = await self.view.wallTime(of: .zero)
            return QueuePage(
                messages: messages.map { QueuedMessage($0, queueStart: start) }, total: total)
        } catch {
            throw AdminFailure(error)
        }
    }

    package func show(_ id: Tag) async throws(AdminFailure) -> QueuedMessage {
        do throws(ClusterView.Failure) {
            let message = try await self.view.view(id)
            return QueuedMessage(message, queueStart: await self.view.wallTime(of: .zero))
        } catch {
            throw AdminFailure(error)
        }
    }

    package func body(_ id: Tag) async throws(AdminFailure) -> MessageBody {
        do throws(ClusterView.Failure) {
            return try await self.view.body(id)
        } catch {
            throw AdminFailure(error)
        }
    }

    package func act(
        _ verb: Admin.Verb, _ filter: QueueFilter, dryRun: Bool, reason: String
    ) async throws(AdminFailure) -> ActionResult {
        do throws(ClusterView.Failure) {
            let counts = try await self.view.act(verb, filter, dryRun: dryRun, reason: reason)
            return ActionResult(
                matched: counts.matched, changed: counts.changed, inFlight: counts.inFlight)
        } catch {
            throw AdminFailure(error)
        }
    }

    package func change(
        _ change: ClusterChange, wait: Duration
    ) async throws(AdminFailure) -> ClusterProgress {
        do throws(ClusterView.Failure) {
            return try await self.view.change(change, wait: wait)
        } catch {
            throw AdminFailure(error)
        }
    }

    package func submit(
        sender: String, recipients: [String], message: ByteBuffer
    ) async throws(AdminFailure) -> Tag {
        do throws(ClusterView.Failure) {
            return try await self.view.submit(
                sender: sender, recipients: recipients, content: message)
        } catch {
            throw AdminFailure(error)
        }
    }
}

extension QueuedMessage {
    /// - Parameter queueStart: the wall time of queue time zero.
    fileprivate init(_ view: MessageView, queueStart: WallTime) {
        self.init(
            id: view.tag, from: view.sender, bytes: view.originalBytes,
            acceptedAt: view.acceptedAt,
            deliveries: view.deliveries.map { delivery in
                Delivery(
                    domain: delivery.destination, recipients: delivery.recipients,
                    state: delivery.state, attempts: delivery.attempts,
                    nextAttempt: delivery.nextAttempt.map { queueStart + ($0 - .zero) },
                    node: delivery.node, lastReply: delivery.lastReplyText)
            })
    }
}

extension AdminFailure {
    fileprivate init(_ failure: ClusterView.Failure) {
        self =
            switch failure {
            case .starting: .catchingUp
            case .stopping, .refused(.stopping): .stopping
            case .noSuchMessage: .noSuchMessage
            case .bodyUnavailable: .bodyUnavailable
            case .refused(.full): .full
            case .refused(.overQuota): .overQuota
            case .refused(.noCopies): .noCopies
            case .refused(.noLeader), .noQuorum: .noQuorum
            case .refused(.timedOut), .timedOut: .timedOut
            case .noSuchNode(let name): .noSuchNode(name)
            case .conflict(let reason): .conflict(reason)
            case .badAddress(let text): .invalid("\(text.debugDescription) is no address")
            }
    }
}
