// NumberedRing.swift - values by ascending numbers, most of which leave in about that order.
//
// Cost      O(1) for each of the usual steps; a value that stays long costs a place for each
//           number behind it.

package import Primitives

/// Values by number, from the least that is still there on.
struct NumberedRing<Value> {
    private var places: RingBuffer<Value?>
    /// The number of the first place.
    private var first: UInt64 = 1
    private(set) var count = 0

    init(capacity: Int) { self.places = RingBuffer(capacity: capacity) }

    var isEmpty: Bool { self.count == 0 }

    /// Numbers that may be asked for: those with a value are among them.
    var numbers: Range<UInt64> { self.first..<self.first + UInt64(self.places.count) }

    /// The value of `number`; nil: there is none.
    subscript(number: UInt64) -> Value? {
        guard self.numbers.contains(number) else { return nil }
        return self.places[Int(number - self.first)]
    }

    mutating func update(_ number: UInt64, _ value: Value) {
        invariant(self[number] != nil, "only what is there is replaced")
        self.places[Int(number - self.first)] = value
    }

    /// Numbers may come in any order, but none below one that was let go of with all before it.
    mutating func insert(_ value: Value, at number: UInt64) {
        if self.places.isEmpty { self.first = number }
        if number < self.first { self.prependPlaces(self.first - number) }
        while number > self.first + UInt64(self.places.count) { self.places.append(nil) }
        if number == self.first + UInt64(self.places.count) {
            self.places.append(value)
        } else {
            invariant(self[number] == nil, "a number has one value")
            self.places[Int(number - self.first)] = value
        }
        self.count += 1
    }

    /// A number below all that are there came late, by as many numbers as were let go of since it
    /// was drawn: one pass over them and over what is there.
    private mutating func prependPlaces(_ count: UInt64) {
        var all = RingBuffer<Value?>(capacity: self.places.count + Int(count))
        for _ in 0..<count { all.append(nil) }
        for place in 0..<self.places.count { all.append(self.places[place]) }
        self.places = all
        self.first -= count
    }

    /// Takes the value of `number` out; nil: there is none.
    mutating func remove(_ number: UInt64) -> Value? {
        guard let value = self[number] else { return nil }
        self.places[Int(number - self.first)] = nil
        self.count -= 1
        while let front = self.places.first, front == nil {
            _ = self.places.popFirst()
            self.first += 1
        }
        return value
    }

    mutating func removeAll() {
        while self.places.popFirst() != nil {}
        self.count = 0
        self.first = 1
    }
}
