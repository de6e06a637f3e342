// DataFile.swift - one open file of records, and what a sealed segment holds.

import Primitives
import Spool

/// An open file of records. Closed when the last reader lets go of it.
final class DataFile: Sendable {
    let id: RecordFileID
    let path: String
    let descriptor: Int32
    private let files: any FileSystem

    init(_ id: RecordFileID, path: String, descriptor: Int32, files: any FileSystem) {
        self.id = id
        self.path = path
        self.descriptor = descriptor
        self.files = files
    }

    deinit { self.files.close(self.descriptor) }
}

/// What stands in a segment of the journal, as far as its evacuation needs it.
struct SegmentContents {
    var number: UInt64
    var lastEntryIndex: UInt64 = 0
    /// Bodies whose record (whole or end) is here.
    var tags: [Tag] = []
    /// Streams with chunks here.
    var streams: Set<UInt64> = []
    var hasNotes = false
    var usedBytes = 0

    init(number: UInt64) { self.number = number }

    mutating func add(_ buffer: PendingBuffer) {
        self.lastEntryIndex = max(self.lastEntryIndex, buffer.lastEntryIndex)
        for mark in buffer.marks { self.add(mark) }
    }

    mutating func add(_ mark: RecordMark) {
        switch mark.kind {
        case .body, .end: self.tags.append(mark.tag)
        case .chunk: self.streams.insert(mark.stream)
        case .note: self.hasNotes = true
        case .abandoned: break
        }
    }
}

/// A sealed segment.
struct SealedSegment {
    var contents: SegmentContents
    var file: DataFile
}
