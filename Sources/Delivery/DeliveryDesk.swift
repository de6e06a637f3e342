// DeliveryDesk.swift - what Delivery needs of the node: the lease desk, as a protocol.
//
// The node's own desk conforms; tests bring another.

package import Cluster
package import MailQueue
package import NIOCore
package import Primitives
package import SMTP

/// See `LeaseDesk`, whose functions these are.
package protocol DeliveryDesk: AnyObject, Sendable {
    func settle(_ outcome: DeliveryOutcome)
    func release(_ deliveries: [LeasedDelivery])
    func abandon(_ delivery: LeasedDelivery)
    func releaseReports(_ reports: [ReportID])
    func suspend(destination: String, reply: Reply)
    func clearSuspension(destination: String)
    func share(of destination: String) -> Int
    func takeConnection(to destination: String) -> Bool
    func returnConnection(to destination: String)
    func standing(of delivery: LeasedDelivery) -> LeaseStanding
    func mayFinish(_ delivery: LeasedDelivery) -> Bool
    var dotGuard: Duration? { get }
    var sessionTerm: Duration { get }
    func readBody(
        of message: Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<MessageBody, BodyReadError>) -> Void)
    func openBody(
        of message: Tag, on loop: any EventLoop,
        _ answer: @escaping (Result<BodySource, BodyReadError>) -> Void)
    func submitReport(
        _ report: ReportID, envelope: Envelope, destinations: [String], content: ByteBuffer,
        head: @escaping @Sendable (Tag) -> ByteBuffer)
    func waiveReport(_ report: ReportID)
    func note(connections: Int)
}

extension LeaseDesk: DeliveryDesk {}
