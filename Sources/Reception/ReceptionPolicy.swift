// ReceptionPolicy.swift - all that decides about senders and recipients: one immutable value,
// swapped by a reload.
//
// Takes     settings and the file of users.
// Gives     a decision per recipient: RelayPolicy says who may, the routes who is asked first.

package import Cluster
import Primitives
package import SMTP
package import Settings

package struct ReceptionPolicy: Sendable {
    /// What becomes of one recipient.
    package enum Decision: Equatable, Sendable {
        case accept
        /// Ask its next host first.
        case verify
        case refuse(ServerReply)
    }

    package let routes: RouteTable
    /// Some route asks its next host whatever the client.
    private let verifies: Bool
    private let relay: RelayPolicy
    /// By name; only ever looked up.
    let users: UserFile
    /// AUTH is offered.
    package let hasUsers: Bool
    let messagesPerUserPerHour: Int

    /// - Parameter users: the content of `relay.users`; nil if there is no such file.
    package init(_ settings: Settings, users: UserFile?) {
        self.routes = RouteTable(settings)
        self.verifies = self.routes.verifies
        self.relay = RelayPolicy(allow: settings.relay.allow, domains: settings.relay.domains)
        self.users = users ?? UserFile()
        self.hasUsers = users != nil
        self.messagesPerUserPerHour = settings.relay.maxMessagesPerUserPerHour
    }

    /// May relay anywhere without AUTH.
    package func isTrusted(_ caller: Caller) -> Bool { self.relay.range(trusting: caller) != nil }

    /// - Parameter mayRelay: the client is trusted, or a user has authenticated.
    package func decide(_ recipient: Recipient, mayRelay: Bool) -> Decision {
        let isOurs: Bool
        switch self.relay.decide(recipient, mayRelay: mayRelay) {
        case .refuse(let reply): return .refuse(reply)
        case .accept(.postmaster): return .accept
        case .accept(.ours): isOurs = true
        case .accept(.client): isOurs = false
        }
        guard self.verifies || isOurs else { return .accept }
        let domain = recipient.domain
        switch self.routes.route(for: domain)?.verify {
        case .some(.rcpt): return .verify
        case .some(.none): return .accept
        // Ours by default, if its next host is known; who may relay gets the bounce if it fails.
        case nil:
            return isOurs && !mayRelay && self.routes.route(for: domain) != nil
                ? .verify : .accept
        }
    }
}
