// RowBatch.swift - changes to rows by key, packed: what a queue hands to its checkpoint at a time.
//
// Format    a change: key as a blob; varint 0 for a deletion, else 1 + bytes of the row, the row.
// Limits    none of its own: whoever fills it stops (rows, or `byteCount`).

/// Rows to be saved and keys to be deleted, in their order; one allocation for many rows.
package struct RowBatch: Equatable, Sendable {
    private var bytes: [UInt8] = []
    /// Changes.
    package private(set) var count = 0

    package init() {}

    package var isEmpty: Bool { self.count == 0 }

    /// What it weighs, keys and lengths included.
    package var byteCount: Int { self.bytes.count }

    /// `row` replaces the row of `key`.
    package mutating func upsert(_ key: UnsafeRawBufferPointer, _ row: UnsafeRawBufferPointer) {
        self.put(key, length: row.count + 1)
        self.bytes.append(contentsOf: row)
    }

    /// The row of `key` is gone; it need not have been there.
    package mutating func delete(_ key: UnsafeRawBufferPointer) { self.put(key, length: 0) }

    private mutating func put(_ key: UnsafeRawBufferPointer, length: Int) {
        // The writer has the array alone for as long as it appends.
        var writer = ByteWriter()
        swap(&writer.bytes, &self.bytes)
        writer.varint(key.count)
        writer.raw(key)
        writer.varint(length)
        swap(&writer.bytes, &self.bytes)
        self.count += 1
    }

    /// Every change in order; no row: the key is deleted. The bytes are valid during the call only.
    package func forEach<E: Error>(
        _ body: (_ key: UnsafeRawBufferPointer, _ row: UnsafeRawBufferPointer?) throws(E) -> Void
    ) throws(E) {
        // `withUnsafeBytes` would lose the error's type.
        let result = self.bytes.withUnsafeBytes { all -> Result<Void, E> in
            var place = 0
            while place < all.count {
                let key = Self.take(Self.length(all, &place), all, &place)
                let length = Self.length(all, &place)
                do throws(E) {
                    try body(key, length == 0 ? nil : Self.take(length - 1, all, &place))
                } catch {
                    return .failure(error)
                }
            }
            return .success(())
        }
        try result.get()
    }

    private static func take(
        _ count: Int, _ all: UnsafeRawBufferPointer, _ place: inout Int
    ) -> UnsafeRawBufferPointer {
        defer { place += count }
        return UnsafeRawBufferPointer(rebasing: all[place..<place + count])
    }

    /// A varint of our own making.
    private static func length(_ all: UnsafeRawBufferPointer, _ place: inout Int) -> Int {
        var value = 0
        var shift = 0
        while true {
            let byte = all[place]
            place += 1
            value |= Int(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
    }
}
