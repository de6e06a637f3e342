// TLSFallback.swift - what happens when STARTTLS does not work: one table.
//
// Standard  RFC 3207 §4.1, RFC 7435 §3 (opportunistic: unauthenticated or plain is better than no
//           mail), RFC 3463 §3.8 (x.7.4, x.7.5).
//
//                          none     may                       encrypt      verify
//   not offered            plain    plain                     next host    next host
//   454 or 5yz to it       plain    plain                     next host    next host
//   handshake failed       –        same host again in plain  next host    next host
//   certificate not good   –        not looked at             not looked   next host
//
// "next host" ends as deferred: the other side's certificate is repaired more often than never.

/// What STARTTLS ran into.
package enum TLSObstacle: Hashable, Sendable, CaseIterable {
    case notOffered
    case refused
    case handshakeFailed
    case certificateNotGood
}

/// What a session does about it.
package enum TLSFallback: Hashable, Sendable {
    /// This connection goes on without TLS.
    case plain
    /// A new connection to the same host, without TLS.
    case sameHostInPlain
    /// This host cannot be used now.
    case nextHost

    /// The table above.
    package static func rule(_ level: TLSLevel, _ obstacle: TLSObstacle) -> TLSFallback {
        switch (level, obstacle) {
        case (.none, _): .plain
        case (.may, .notOffered), (.may, .refused): .plain
        case (.may, .handshakeFailed), (.may, .certificateNotGood): .sameHostInPlain
        case (.encrypt, _), (.verify, _): .nextHost
        }
    }

    /// Our reply where the host is given up.
    package static func reply(_ obstacle: TLSObstacle, _ detail: String) -> Reply {
        switch obstacle {
        case .notOffered:
            Reply(451, EnhancedCode(4, 7, 4), "TLS is required, but the host does not offer it")
        case .refused:
            Reply(451, EnhancedCode(4, 7, 4), "TLS is required, but the host refused it: \(detail)")
        case .handshakeFailed:
            Reply(451, EnhancedCode(4, 7, 5), "TLS handshake failed: \(detail)")
        case .certificateNotGood:
            Reply(451, EnhancedCode(4, 7, 5), "the host's certificate is not good: \(detail)")
        }
    }
}
