// SnapshotRig.swift - snapshots between two storages of one process, step by step.

import Foundation
import Primitives
import Raft
import Spool
import Testing

@testable import Storage

/// Not SHA-256, which Storage does not know.
final class TestDigest: ContentDigest {
    private var crc = CRC32C.start
    private var count: UInt64 = 0
    func update(_ bytes: UnsafeRawBufferPointer) {
        self.crc = CRC32C.update(self.crc, bytes)
        self.count += UInt64(bytes.count)
    }
    func finish() -> BodyDigest {
        BodyDigest(a: UInt64(CRC32C.finish(self.crc)), b: self.count, c: 3, d: 4)
    }
}

/// A state of so many rows.
struct TestState: Equatable {
    var rows: [[UInt8]: [UInt8]]
    var index: Int
    var term: UInt64

    /// - Parameter seed: of the rows' content.
    init(seed: Int, rows count: Int, index: Int, term: UInt64) {
        self.rows = [:]
        for i in 0..<count {
            self.rows[Array("row \(i)".utf8)] = content(seed * 1000 + i * 2 + 1, 300)
        }
        self.index = index
        self.term = term
    }

    init?(_ recovery: Recovery) throws {
        guard let checkpoint = recovery.checkpoint else { return nil }
        var rows: [[UInt8]: [UInt8]] = [:]
        try recovery.forEachRow { rows[Array($0)] = Array($1) }
        self.rows = rows
        self.index = Int(checkpoint.appliedIndex)
        self.term = checkpoint.appliedTerm
    }

    var changes: [RowChange] {
        self.rows.keys.sorted { $0.lexicographicallyPrecedes($1) }
            .map { RowChange(key: $0, row: self.rows[$0]) }
    }
    var meta: [UInt8] { Array("meta \(self.index)".utf8) }
}

/// A snapshot as bytes.
struct TestSnapshot {
    var bytes: [UInt8] = []
    var digest = BodyDigest(a: 0, b: 0, c: 0, d: 0)
    var state: TestState

    /// Of a storage that has this state.
    init(_ state: TestState) throws {
        self.state = state
        let rig = try Rig()
        for i in 1...3 { rig.entry(i) }
        #expect(
            rig.checkpoint(state.changes, index: state.index, term: state.term, meta: state.meta)
                == nil)
        let export = try rig.export().get()
        while UInt64(self.bytes.count) < export.byteCount {
            self.bytes += try rig.read(export, at: self.bytes.count, bytes: 10_000).get()
        }
        self.digest = export.digest
        rig.storage.releaseSnapshot(export)
    }
}

extension Rig {
    private func wait<R: Sendable>(
        _ body: (@escaping @Sendable (Result<R, SnapshotError>) -> Void) -> Void
    ) -> Result<R, SnapshotError> {
        let box = Monitor<Result<R, SnapshotError>?>(nil)
        body { result in
            box.withLock { $0 = result }
            box.signal()
        }
        return box.wait(timeout: .seconds(20)) { $0 } ?? .failure(.absent)
    }

    func export() -> Result<SnapshotExport, SnapshotError> {
        self.wait { self.storage.exportSnapshot(digest: { TestDigest() }, answer: $0) }
    }

    func read(
        _ export: SnapshotExport, at offset: Int, bytes: Int
    ) -> Result<[UInt8], SnapshotError> {
        self.wait {
            self.storage.readSnapshot(export, at: UInt64(offset), bytes: bytes, answer: $0)
        }
    }

    func begin(_ byteCount: Int) -> Result<IncomingSnapshot, SnapshotError> {
        self.wait { self.storage.beginSnapshot(byteCount: UInt64(byteCount), answer: $0) }
    }

    func write(
        _ snapshot: IncomingSnapshot, _ bytes: [UInt8]
    ) -> Result<UInt64, SnapshotError> {
        self.wait { self.storage.writeSnapshot(snapshot, bytes, answer: $0) }
    }

    /// The rows that it has.
    func check(
        _ snapshot: IncomingSnapshot, _ digest: BodyDigest
    ) -> Result<Int, SnapshotError> {
        self.wait {
            self.storage.checkSnapshot(
                snapshot, digest, digest: { TestDigest() },
                load: { rows in
                    var count = 0
                    try rows.forEach { _, _ in count += 1 }
                    return count
                }, answer: $0)
        }
    }

    func install(_ snapshot: IncomingSnapshot) -> Result<UInt64, SnapshotError> {
        self.wait { self.storage.installSnapshot(snapshot, answer: $0) }
    }

    /// All steps up to the last one.
    func receive(_ snapshot: TestSnapshot) throws -> IncomingSnapshot {
        let incoming = try self.begin(snapshot.bytes.count).get()
        var at = 0
        while at < snapshot.bytes.count {
            let piece = Array(snapshot.bytes[at..<min(at + 7000, snapshot.bytes.count)])
            at += piece.count
            #expect(try self.write(incoming, piece).get() == UInt64(at))
        }
        #expect(try self.check(incoming, snapshot.digest).get() == snapshot.state.rows.count)
        return incoming
    }

    /// Files of checkpoints and snapshots.
    var stateFiles: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: self.directory.path + "/data")
                .filter { $0.hasPrefix("queue.") || $0.hasPrefix("snapshot.") }
                .filter { !$0.hasSuffix("-journal") }.sorted()
        }
    }
}
