// Event.swift - what can happen next in a world, in 32 bits: millions of them are kept.
//
// Format    kind in bits 28…31, member in 26 and 27, argument below.

/// One step of a world.
struct Event: Hashable {
    enum Kind: UInt32 {
        /// The argument is a message.
        case deliver
        /// It arrives and stays under way: it was doubled.
        case deliverDoubled
        case lose
        /// The argument counts the stores, oldest first, that are on disk now.
        case sync
        /// The argument counts the records, oldest first, that outlive it.
        case crash
        case campaign
        case tick
        /// The argument is the data.
        case propose
        /// The argument is the place of a peer: its link is reported as broken.
        case unreachable
        case cut
        case heal
    }

    static let argumentMax: UInt32 = (1 << 26) - 1

    let raw: UInt32

    init(raw: UInt32) { self.raw = raw }

    init(_ kind: Kind, _ place: Int, _ argument: UInt32 = 0) {
        self.raw = kind.rawValue << 28 | UInt32(place) << 26 | argument
    }

    var kind: Kind {
        guard let kind = Kind(rawValue: self.raw >> 28) else { fatalError("no such event") }
        return kind
    }
    /// Of the member that it happens to.
    var place: Int { Int(self.raw >> 26 & 3) }
    var argument: UInt32 { self.raw & Self.argumentMax }
}
