// SessionContext.swift - what all sessions of one listener share.

import Cluster
import Logging
import NIOCore
import Networking
import OpenSSL
import Primitives
import SMTP
import Settings
import Synchronization

/// Limits that the driver keeps; those of the protocol are in `ServerLimits`.
struct SessionLimits: Sendable {
    var sessions: Int
    var sessionsPerAddress: Int
    var idle: Duration
    var session: Duration
    var earlyTalkerDelay: Duration
    /// A TLS handshake, all of it.
    var handshake = Duration.seconds(30)

    init(_ relay: Settings.Relay) {
        self.sessions = relay.maxSessions
        self.sessionsPerAddress = relay.maxSessionsPerAddress
        self.idle = relay.idleTimeout
        self.session = relay.sessionTimeout
        self.earlyTalkerDelay = relay.earlyTalkerDelay
    }
}

/// All that a reload may change, swapped as one. A class: a look at it copies one reference.
final class SessionRules: Sendable {
    let policy: ReceptionPolicy
    let options: ServerOptions
    let limits: SessionLimits

    init(_ settings: Settings, _ listener: Settings.Listener, _ policy: ReceptionPolicy) {
        let relay = settings.relay
        let isSubmission = listener.mode == .submission
        self.policy = policy
        self.limits = SessionLimits(relay)
        self.options = ServerOptions(
            hostname: settings.node.hostname,
            limits: ServerLimits(
                messageBytes: UInt64(relay.maxMessageBytes), recipients: relay.maxRecipients,
                messages: relay.maxMessagesPerSession, errors: relay.maxErrors,
                received: relay.maxReceived),
            offersTLS: listener.tls == .starttls, offersAuth: policy.hasUsers,
            requiresAuth: isSubmission, isSubmission: isSubmission)
    }
}

/// How a listener meets its connections. Those that are open keep what they began with.
struct ListenerFace: Sendable {
    /// Nil: no TLS.
    var certificates: CertificateStore?
    /// TLS begins with the connection.
    var isImplicit = false
    /// Each connection begins with a PROXY header; nil: none does.
    var proxy: ProxyDoor?
}

/// One per listener.
final class SessionContext: Sendable {
    let door: any MessageDoor  // existential: asked once per message
    let verifier: (any RecipientVerifier)?  // existential: asked for our own domains only
    let ledger: Ledger
    let memory: ContentMemory
    let authenticator: Authenticator
    let meters: ReceptionMeters
    let log: Logger
    private let state: Mutex<(rules: SessionRules, face: ListenerFace)>

    init(
        door: any MessageDoor, verifier: (any RecipientVerifier)?, ledger: Ledger,
        memory: ContentMemory = ContentMemory(), authenticator: Authenticator,
        meters: ReceptionMeters, log: Logger, face: ListenerFace = ListenerFace(),
        rules: SessionRules
    ) {
        self.door = door
        self.verifier = verifier
        self.ledger = ledger
        self.memory = memory
        self.authenticator = authenticator
        self.meters = meters
        self.log = log
        self.state = Mutex((rules, face))
    }

    /// What holds for sessions that begin now.
    var currentRules: SessionRules { self.state.withLock { $0.rules } }

    /// What holds for connections that are accepted now.
    var currentFace: ListenerFace { self.state.withLock { $0.face } }

    func use(_ rules: SessionRules) { self.state.withLock { $0.rules = rules } }

    func use(_ face: ListenerFace) { self.state.withLock { $0.face = face } }
}
