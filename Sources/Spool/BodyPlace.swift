// BodyPlace.swift - where the records of a body lie on this node.

/// A file that holds records: a segment of the journal (young), or a file of `bodies/` (old).
package struct RecordFileID: Hashable, Sendable {
    private static let oldBit: UInt32 = 0x8000_0000
    /// Files of each kind are numbered from 1 and never beyond this.
    package static let numberMax: UInt64 = 0x7FFF_FFF0

    package let raw: UInt32
    package init(raw: UInt32) { self.raw = raw }
    package static func segment(_ number: UInt64) -> Self { Self(raw: UInt32(number)) }
    package static func old(_ number: UInt64) -> Self { Self(raw: UInt32(number) | Self.oldBit) }
    package var isOld: Bool { self.raw & Self.oldBit != 0 }
    package var number: UInt64 { UInt64(self.raw & ~Self.oldBit) }
}

/// One record: file, first byte, bytes.
package struct RecordExtent: Hashable, Sendable {
    package var file: RecordFileID
    package var offset: UInt32
    package var length: UInt32
    package init(file: RecordFileID, offset: UInt32, length: UInt32) {
        self.file = file
        self.offset = offset
        self.length = length
    }
}
