// Acknowledgements.swift - results that the state need not remember for this node any longer.
//
// Takes     numbers whose results are known, or that no command will bear.
// Gives     ranges, sent along with a command now and then: not with every one.
// Limits    `Origin.rangesMax` ranges with one command.
// Order     an Enqueue is not acknowledged while its Cancel is under way: what the state remembers
//           of it is what the Cancel counts by.

import MailQueue

struct Acknowledgements {
    /// Numbers that are collected before they are sent.
    private static let batch = 64
    private var ranges: [ClosedRange<UInt64>] = []
    private var count = 0
    private var isUrgent = false
    /// Those whose Cancel has no result; true: their own is known. Looked up only.
    private var held: [UInt64: Bool] = [:]

    /// Goes with the next command.
    mutating func addUrgent(_ sequence: UInt64) {
        self.add(sequence)
        self.isUrgent = true
    }

    mutating func add(_ sequence: UInt64) {
        guard self.held.isEmpty || self.held[sequence] == nil else {
            self.held[sequence] = true
            return
        }
        self.count += 1
        if let last = self.ranges.last, last.upperBound + 1 == sequence {
            self.ranges[self.ranges.count - 1] = last.lowerBound...sequence
        } else {
            self.ranges.append(sequence...sequence)
        }
    }

    /// The Enqueue of this number is to be cancelled.
    mutating func hold(_ sequence: UInt64) {
        self.held[sequence] = self.takeBack(sequence)
    }

    /// - Returns: whether it was collected and not sent.
    private mutating func takeBack(_ sequence: UInt64) -> Bool {
        guard let place = self.ranges.firstIndex(where: { $0.contains(sequence) }) else {
            return false
        }
        let range = self.ranges.remove(at: place)
        if sequence < range.upperBound {
            self.ranges.insert(sequence + 1...range.upperBound, at: place)
        }
        if range.lowerBound < sequence {
            self.ranges.insert(range.lowerBound...sequence - 1, at: place)
        }
        return true
    }

    /// The Cancel has its result.
    mutating func release(_ sequence: UInt64) {
        if self.held.removeValue(forKey: sequence) == true { self.add(sequence) }
    }

    /// The ranges to send now; empty while few are known.
    mutating func take() -> [ClosedRange<UInt64>] {
        guard self.count >= Self.batch || self.isUrgent else { return [] }
        self.count = 0
        self.isUrgent = false
        if self.ranges.count > 1 { self.merge() }
        guard self.ranges.count > Origin.rangesMax else {
            defer { self.ranges.removeAll(keepingCapacity: true) }
            return self.ranges
        }
        // The lowest first: they hold up the window. The rest goes with the next command.
        self.isUrgent = true
        defer { self.ranges.removeFirst(Origin.rangesMax) }
        return Array(self.ranges[..<Origin.rangesMax])
    }

    /// Numbers come in any order: a Cancel and its Enqueue are known together.
    private mutating func merge() {
        self.ranges.sort { $0.lowerBound < $1.lowerBound }
        var merged: [ClosedRange<UInt64>] = []
        for range in self.ranges {
            if let last = merged.last, range.lowerBound <= last.upperBound + 1 {
                merged[merged.count - 1] =
                    last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                merged.append(range)
            }
        }
        self.ranges = merged
    }
}
