// Generator.swift - the only dice: seeded, passed in, repeatable.

/// xoshiro256** by Blackman and Vigna. The same seed gives the same draws on every machine.
package struct Generator: RandomNumberGenerator, Sendable {
    private var s0: UInt64, s1: UInt64, s2: UInt64, s3: UInt64

    /// Every seed is good: the state is filled by splitmix64.
    package init(seed: UInt64) {
        var x = seed
        func mix() -> UInt64 {
            x &+= 0x9E37_79B9_7F4A_7C15
            var z = x
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        self.s0 = mix()
        self.s1 = mix()
        self.s2 = mix()
        self.s3 = mix()
    }

    package mutating func next() -> UInt64 {
        let product = self.s1 &* 5
        let result = ((product << 7) | (product >> 57)) &* 9
        let t = self.s1 << 17
        self.s2 ^= self.s0
        self.s3 ^= self.s1
        self.s1 ^= self.s2
        self.s0 ^= self.s3
        self.s2 ^= t
        self.s3 = (self.s3 << 45) | (self.s3 >> 19)
        return result
    }

    /// A number in `0 ..< bound`, each equally likely. `bound` > 0.
    package mutating func below(_ bound: Int) -> Int {
        invariant(bound > 0, "a draw needs at least one outcome")
        return Int(self.next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True `permille` times in a thousand.
    package mutating func chance(permille: Int) -> Bool { self.below(1000) < permille }

    /// Puts `items` in an order of which each is equally likely (Fisher and Yates).
    package mutating func mix<T>(_ items: inout [T]) {
        guard items.count > 1 else { return }
        for i in stride(from: items.count - 1, to: 0, by: -1) {
            items.swapAt(i, self.below(i + 1))
        }
    }
}
