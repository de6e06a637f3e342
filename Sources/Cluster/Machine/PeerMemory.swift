// PeerMemory.swift - what each disk has shown, so that one that has gone back is known.
//
// Takes     what peers say of their disks, and the indexes that they acknowledge.
// Gives     whether a disk may speak, or was rolled back.
// Catches   here      a disk that was rolled back: fewer starts, an older term, or less log than it
//                     has acknowledged. Such a member could deny what it promised: it gets neither
//                     votes nor log. Each of the three alone is proof, whatever the others say.
//           in the queue (`OpenSession`)  two copies of a disk that are started the same number of
//                     times: a session is void unless its boot number is greater than the last one
//                     of that incarnation. That rule is replicated and outlives every process.
//           in the identity file  a wiped disk: it has another incarnation, and is not refused.
// Sound     only what never shrinks is remembered. A log may lose its end to another leader's, so
//           an index counts only once it is acknowledged AND committed; terms are those of the hard
//           state, not of the last entry.
// Forgets   with the process, and beyond `incarnationsMax` whoever was heard longest ago.

package import Primitives

package struct PeerMemory: Hashable, Sendable {
    package static let incarnationsMax = 1024

    package struct Shown: Hashable, Sendable {
        package var incarnation: Incarnation
        package var boot: BootNumber
        /// Of the hard state.
        package var term: UInt64
        /// Of a disk: the last index of its log. Remembered: acknowledged and committed.
        package var index: UInt64

        package init(incarnation: Incarnation, boot: BootNumber, term: UInt64, index: UInt64) {
            self.incarnation = incarnation
            self.boot = boot
            self.term = term
            self.index = index
        }
    }

    /// Heard longest ago first.
    private var known: [Shown] = []
    /// Disks that had gone back, each time they came.
    package private(set) var refused: UInt64 = 0

    package init() {}

    /// What `incarnation` has shown; nil: nothing yet.
    package func shown(by incarnation: Incarnation) -> Shown? {
        self.known.first { $0.incarnation == incarnation }
    }

    /// A disk introduces itself. False: it was rolled back or copied, and what it says counts for
    /// nothing.
    package mutating func meet(_ disk: Shown) -> Bool {
        if let known = self.shown(by: disk.incarnation),
            disk.boot < known.boot || disk.term < known.term || disk.index < known.index
        {
            self.refused += 1
            return false
        }
        self.change(disk.incarnation) {
            $0.boot = disk.boot
            $0.term = disk.term
        }
        return true
    }

    /// A disk that was let in has acknowledged its log up to `index`, in `term`.
    ///
    /// - Parameter commit: known to be committed here.
    package mutating func acknowledged(
        _ incarnation: Incarnation, index: UInt64, term: UInt64, commit: UInt64
    ) {
        self.change(incarnation) {
            $0.index = max($0.index, min(index, commit))
            $0.term = max($0.term, term)
        }
    }

    private mutating func change(_ incarnation: Incarnation, _ body: (inout Shown) -> Void) {
        var entry = Shown(incarnation: incarnation, boot: 0, term: 0, index: 0)
        if let last = self.known.last, last.incarnation == incarnation {
            // The usual case: nothing moves.
            entry = self.known.removeLast()
        } else if let at = self.known.firstIndex(where: { $0.incarnation == incarnation }) {
            entry = self.known.remove(at: at)
        } else if self.known.count == Self.incarnationsMax {
            self.known.removeFirst()
        }
        body(&entry)
        self.known.append(entry)
    }
}
