// PeerMemory.swift - what each disk has shown, so that one that has gone back is known.
//
// Takes     what peers say of their disks, and the indexes that they acknowledge.
// Gives     whether a disk may speak, or was rolled back.
// Catches   here      a disk that was rolled back: fewer starts, an older term, or less log than it
//                     has acknowledged. Such a member could deny what it promised: it gets neither
//                     votes nor log. Each of the three alone is proof, whatever the others say.
//           here      a copied disk: one start in two processes.
//           in the queue (`OpenSession`)  two copies of a disk that are started the same number of
//                     times, whoever met them: a session is void unless its boot number is greater
//                     than the last one of that incarnation. That rule is replicated and outlives
//                     every process.
//           in the identity file  a wiped disk: it has another incarnation, and is not refused.
// Sound     only what never shrinks is remembered. A log may lose its end to another leader's, so
//           an index counts only once it is acknowledged AND committed; terms are those of the hard
//           state, not of the last entry. One process is never behind itself: of two Hellos
//           under way, the later one may say less, and means nothing by it.
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
        /// Drawn by each start of the program; 0: not known.
        package var process: UInt64

        package init(
            incarnation: Incarnation, boot: BootNumber, term: UInt64, index: UInt64,
            process: UInt64 = 0
        ) {
            self.incarnation = incarnation
            self.boot = boot
            self.term = term
            self.index = index
            self.process = process
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

    /// Whether a disk may speak. False: it was rolled back or copied.
    package func admits(_ disk: Shown) -> Bool {
        guard let known = self.shown(by: disk.incarnation) else { return true }
        if known.process != 0, disk.process != 0 {
            if disk.process == known.process { return true }
            if disk.boot == known.boot { return false }
        }
        return disk.boot >= known.boot && disk.term >= known.term && disk.index >= known.index
    }

    /// A disk introduces itself. False: it was rolled back or copied, and what it says counts for
    /// nothing.
    package mutating func meet(_ disk: Shown) -> Bool {
        guard self.admits(disk) else {
            self.refused += 1
            return false
        }
        self.change(disk.incarnation) {
            if disk.boot >= $0.boot { $0.process = disk.process }
            $0.boot = max($0.boot, disk.boot)
            $0.term = max($0.term, disk.term)
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
