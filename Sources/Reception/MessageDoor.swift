// MessageDoor.swift - the way into the queue as a session sees it: `Cluster.Intake`, or a test's.

import Cluster
import NIOCore
import Primitives
import SMTP

/// See `Intake`.
protocol MessageDoor: Sendable {
    var obstacle: IntakeRefusal? { get }
    // existential: a class reference, one witness call per piece of 4 to 64 KiB.
    func open(
        on loop: any EventLoop, resume: @escaping () -> Void
    ) -> Result<any MessageSink, IntakeRefusal>
    /// So many sessions more, or fewer.
    func count(sessions change: Int)
}

/// See `IncomingBody`.
protocol MessageSink: AnyObject {
    func append(_ piece: consuming ByteBuffer) -> Bool
    var heldBytes: Int { get }
    func shed()
    func finish(
        envelope: Envelope, destinations: [String], receivedFrom: String,
        head: @escaping @Sendable (Tag) -> ByteBuffer,
        verdict: @escaping (IntakeVerdict) -> Void)
    func abandon()
    func refuse()
}

extension Intake: MessageDoor {
    func open(
        on loop: any EventLoop, resume: @escaping () -> Void
    ) -> Result<any MessageSink, IntakeRefusal> {
        self.begin(on: loop, resume: resume).map { $0 }
    }
}

extension IncomingBody: MessageSink {}
