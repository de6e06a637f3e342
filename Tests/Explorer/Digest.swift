// Digest.swift - 128 bits that stand for a world, and a set of them.
//
// A world is numbers of equal members and equal messages, so equal worlds have equal words. Two
// different ones share a digest with a chance of 2^-128 a pair: for 10^9 worlds, 10^-21 in all.

struct Digest: Hashable {
    private(set) var a: UInt64 = 0x243F_6A88_85A3_08D3
    private(set) var b: UInt64 = 0x1319_8A2E_0370_7344

    mutating func add(_ word: UInt64) {
        self.a = Self.fold(self.a ^ word, 0xA076_1D64_78BD_642F)
        // The second one is made in another way: what collides in one does not in the other.
        self.b = (self.b ^ word) &* 0x9E37_79B9_7F4A_7C15
        self.b = self.b << 29 | self.b >> 35
    }

    /// The product, its halves laid over each other.
    private static func fold(_ x: UInt64, _ y: UInt64) -> UInt64 {
        let product = x.multipliedFullWidth(by: y)
        return product.high ^ product.low ^ x << 32
    }

    mutating func finish() {
        self.a = Self.fold(self.a, 0xE703_7ED1_A0B4_28DB)
        self.b ^= self.b >> 32
        self.b = self.b &* 0xBF58_476D_1CE4_E5B9
        self.b ^= self.b >> 29
        // 0 is an empty place.
        if self.a == 0 { self.a = 1 }
    }
}

/// A set by open addressing: 16 bytes a place.
struct DigestSet {
    private struct Place {
        var a: UInt64 = 0
        var b: UInt64 = 0
    }

    private var places = ContiguousArray(repeating: Place(), count: 1 << 12)
    private(set) var count = 0

    init() {}

    /// Where it is, or would be.
    private func place(_ a: UInt64, _ b: UInt64) -> Int {
        let mask = self.places.count - 1
        var at = Int(truncatingIfNeeded: a) & mask
        while self.places[at].a != 0, self.places[at].a != a || self.places[at].b != b {
            at = (at + 1) & mask
        }
        return at
    }

    func contains(_ digest: Digest) -> Bool {
        self.places[self.place(digest.a, digest.b)].a != 0
    }

    /// - Returns: whether it is new.
    mutating func insert(_ digest: Digest) -> Bool {
        let at = self.place(digest.a, digest.b)
        if self.places[at].a != 0 { return false }
        self.places[at] = Place(a: digest.a, b: digest.b)
        self.count += 1
        if self.count * 20 > self.places.count * 17 { self.grow() }
        return true
    }

    private mutating func grow() {
        var old = ContiguousArray(repeating: Place(), count: self.places.count * 2)
        swap(&old, &self.places)
        for place in old where place.a != 0 { self.places[self.place(place.a, place.b)] = place }
    }
}
