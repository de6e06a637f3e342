// SessionViews.swift - what the state tells a node of its own session, when it has not applied the
// entries itself: a snapshot stands in for them.

package import Primitives

/// What became of an OpenSession.
package enum OpenFate: Equatable, Sendable {
    /// Not applied yet, or refused for ever.
    case unknown
    /// Its session is open.
    case open(SessionID)
    /// Its session was opened, and is closed.
    case closed
}

extension MailQueue {
    /// The remembered result of an open session's command; nil: it has none here.
    package func result(of tag: Tag) -> CommandResult? {
        guard let place = self.openPlace(of: tag.session),
            case .known(let result) = self.sessions[place].results.lookup(tag.sequence)
        else { return nil }
        return result
    }

    /// What became of `open`. A boot number is used by one start of one disk, once.
    package func fate(of open: OpenSession) -> OpenFate {
        guard let node = self.nodes.firstIndex(where: { $0.name == open.node }),
            self.nodes[node].incarnation == open.incarnation, self.nodes[node].boot == open.boot
        else { return .unknown }
        let own = self.sessions.first {
            $0.isOpen && Int($0.node) == node && $0.nonce == open.nonce
        }
        return own.map { .open($0.id) } ?? .closed
    }
}
