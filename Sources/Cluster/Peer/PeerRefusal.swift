// PeerRefusal.swift - why a peer's connection is refused or ended: one label, one sentence.
//
// Gives     what the peer reads in its goodbye, what the log says, what is counted.
// Limits    one warning per peer and cause a minute, `rememberedMax` of them.

import Primitives

package struct PeerRefusal: Error, Equatable, Sendable {
    /// Bounded, for metrics: `posthouse_peer_refusals_total{cause}`.
    package enum Cause: String, CaseIterable, Sendable {
        case version
        case featureLevel = "feature_level"
        case otherCluster = "other_cluster"
        case ourName = "our_name"
        case rolledBack = "rolled_back"
        /// Another incarnation bears the name of a peer that is connected.
        case sameName = "same_name"
        /// The certificate is for another name than the Hello's, or than the one dialed.
        case certificateName = "certificate_name"
        case certificateExpired = "certificate_expired"
        case certificateUntrusted = "certificate_untrusted"
        case certificateMissing = "certificate_missing"
        /// TLS failed otherwise; also when the other side did not like our certificate.
        case tls
        /// No Hello, or one that makes no sense.
        case hello
        /// Bytes that are no frame.
        case frame
        /// A frame that is no message.
        case payload
        /// No Hello within its time.
        case timeout
        /// Nothing came for too long.
        case silent
        /// Nothing was taken for too long.
        case stalled
        /// More waits to be sent than the queue may hold.
        case queueFull = "queue_full"
        case tooMany = "too_many"
        /// It was a member, and its disk never will be again.
        case removed
        /// The other side has refused us.
        case told
        /// The other side says that this node was removed.
        case toldRemoved = "told_removed"
    }

    /// Of `.removed`.
    package static let removedSentence = "this node was removed from the cluster"

    package var cause: Cause
    package var sentence: String

    package init(_ cause: Cause, _ sentence: String) {
        self.cause = cause
        self.sentence = sentence
    }

    init(_ refusal: Hello.Refusal) {
        let cause: Cause =
            switch refusal {
            case .version: .version
            case .featureLevel: .featureLevel
            case .otherCluster: .otherCluster
            case .ourName: .ourName
            case .rolledBack: .rolledBack
            }
        self.init(cause, refusal.sentence)
    }
}

/// Which warnings were said within the last minute.
struct WarningGate {
    static let interval = Duration.seconds(60)
    static let rememberedMax = 1024

    private var said: [String: Instant] = [:]

    /// Whether a warning about `who` for `cause` may be said now.
    mutating func admits(_ who: String, _ cause: String, now: Instant) -> Bool {
        let key = "\(cause) \(who)"
        if let last = self.said[key], now - last < Self.interval { return false }
        if self.said.count >= Self.rememberedMax {
            self.said = self.said.filter { now - $0.value < Self.interval }
            guard self.said.count < Self.rememberedMax else { return false }
        }
        self.said[key] = now
        return true
    }
}
