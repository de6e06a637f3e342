// PeerRecord.swift - what is known of one peer: where it is, and its two links.

import NIOCore
import Primitives
import Settings

/// One of each for the two connections of a pair.
struct PerLink<Value> {
    var control: Value
    var bulk: Value

    subscript(_ kind: PeerLinkKind) -> Value {
        get {
            switch kind {
            case .control: self.control
            case .bulk: self.bulk
            }
        }
        set {
            switch kind {
            case .control: self.control = newValue
            case .bulk: self.bulk = newValue
            }
        }
    }
}

/// Confined to the mesh's loop.
final class PeerRecord {
    /// What goes on to get a link.
    enum Dial {
        case idle
        case waiting(Scheduled<Void>)
        case connecting
    }

    let name: NodeName
    /// A seed's address is the settings', not what it says of itself.
    let isSeed: Bool
    /// Nil: we cannot dial it, it dials us.
    var address: Endpoint?
    var links = PerLink<PeerLink?>(control: nil, bulk: nil)
    var dials = PerLink<Dial>(control: .idle, bulk: .idle)
    /// How long to wait before the next attempt.
    var delays: PerLink<Duration>
    /// Why it was not reached last.
    var lastError: String?
    /// A member that was removed.
    var isForgotten = false
    /// Whether links with it are to be made.
    var isWanted: Bool { !self.isForgotten || self.isSeed }

    init(_ name: NodeName, address: Endpoint?, isSeed: Bool, delay: Duration) {
        self.name = name
        self.address = address
        self.isSeed = isSeed
        self.delays = PerLink(control: delay, bulk: delay)
    }

    func cancelDials() {
        for kind in PeerLinkKind.allCases {
            if case .waiting(let timer) = self.dials[kind] {
                timer.cancel()
                self.dials[kind] = .idle
            }
        }
    }
}
