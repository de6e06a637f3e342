// CommandResult.swift - the answer to one command, and what a driver may have to do.
//
// Never     data that a replica could see differently: results are part of the state.

package import Primitives

/// What became of a command. Remembered until its session acknowledges it, so that a command that
/// is sent again gets the same answer and has no second effect (invariant 4).
package enum CommandResult: Hashable, Sendable {
    case done
    /// The message is in the queue, with so many recipients.
    case enqueued(recipients: UInt32)
    case sessionOpened(SessionID)
    /// Cancel: nobody gets the message.
    case cancelled
    /// Cancel: so many recipients have ended, or are leased elsewhere.
    case late(recipients: UInt32)
    /// Admin: deliveries changed at once, and those in flight that change after the attempt.
    case changed(deliveries: UInt32, inFlight: UInt32)
    case refused(Refusal)

    package enum Refusal: UInt8, Hashable, Sendable, CaseIterable {
        /// The session is closed, or never was.
        case sessionClosed = 1
        /// The boot number is not above the last one's.
        case staleBoot = 2
        /// The result was acknowledged before, or the number was given up.
        case acknowledged = 3
        /// More than `ResultWindow.widthMax` above the oldest number not acknowledged.
        case tooFarAhead = 4
        /// Fewer holders than R are members with that incarnation.
        case tooFewHolders = 5
        /// Recipients and destinations do not fit together, or there are none or too many.
        case malformed = 6
        /// No such message, delivery or report; or it is not leased to the asker.
        case notLeased = 7
        /// No such session, node or message.
        case unknown = 8
        /// The tag is cancelled.
        case cancelled = 9
        /// That node and incarnation is no member (any more), or not the one that asks.
        case notMember = 10
        /// The holder has a copy already; or a copy is left of what is said to be lost.
        case hasCopy = 11
        /// Messages would be left without a copy.
        case lastCopies = 12
        /// `HolderTable.setsMax` different placements are in use.
        case tooManyPlacements = 13
        /// `NodeRow.disksMax` disks of that name are members, or about to be.
        case tooManyDisks = 14
    }
}

/// What changed, for the drivers. Never the only way to know: `leases(of:)` and the views tell the
/// same from the state, after a restart too.
package enum Effect: Hashable, Sendable {
    case sessionOpened(SessionID)
    case sessionClosed(SessionID)
    /// Take `MailQueue.work(_:)` and attempt it, if the session is this node's.
    case leased(DeliveryID, SessionID)
    /// Take `MailQueue.reportWork(_:)` and compose it, if the session is this node's.
    case reportLeased(ReportID, SessionID)
    /// The lease is over by something else than the session's own outcome or release.
    case leaseEnded(DeliveryID, SessionID)
    /// Nothing is owed any more: the body may be garbage (ask `bodyState`).
    case messageFinished(Tag)
    case possibleDuplicates(DuplicateCause, count: UInt32)
    /// Recipients ended without an outcome of a session: expiry, operator, body lost.
    case recipientsFailed(Tag, count: UInt32)
}

/// The only two ways in which a recipient may get a message twice.
package enum DuplicateCause: UInt8, Hashable, Sendable, CaseIterable {
    /// A lease that a dead session held was granted again.
    case takeover = 1
    /// The client was told 451 when the message was on its way.
    case reply = 2

    package var label: StaticString {
        switch self {
        case .takeover: "takeover"
        case .reply: "reply"
        }
    }
}
