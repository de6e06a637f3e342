// Rig.swift - a storage in a directory of its own, with what was told and what must still be there.

import Foundation
import Primitives
import Raft
import Spool
import Synchronization
import Testing

@testable import Storage

/// Swift Testing has a `Tag` of its own.
typealias Tag = Primitives.Tag

/// Small sizes: a few records fill a segment.
func smallOptions() -> StorageOptions {
    var options = StorageOptions()
    options.segmentBytes = 64 << 10
    options.bodyFileBytes = 64 << 10
    options.youngSegments = 2
    options.spareSegments = 2
    options.reserveBytes = 128 << 10
    options.lowWaterBytes = 0
    options.batchBytesMax = 16 << 10
    options.inFlightBytesMax = 64 << 10
    options.upkeepInterval = .milliseconds(20)
    return options
}

/// One change to the checkpoint's rows; nil: the row is deleted.
struct RowChange {
    var key: [UInt8]
    var row: [UInt8]?
}

extension RowBatch {
    init(_ changes: [RowChange]) {
        self.init()
        for change in changes {
            change.key.withUnsafeBytes { key in
                guard let row = change.row else { return self.delete(key) }
                row.withUnsafeBytes { self.upsert(key, $0) }
            }
        }
    }
}

/// A directory that is removed with the object.
final class TemporaryDirectory: Sendable {
    let path: String
    init() {
        var template = Array("/tmp/posthouse-storage-XXXXXX".utf8CString)
        self.path = String(cString: mkdtemp(&template))
    }
    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func copy() throws -> TemporaryDirectory {
        let other = TemporaryDirectory()
        rmdir(other.path)
        try FileManager.default.copyItem(atPath: self.path, toPath: other.path)
        return other
    }
}

/// What the storage told.
final class Told: Sendable {
    struct State {
        var durable: UInt64 = 0
        var fault: StorageError?
        var faults = 0
        var relieved = 0
        var levels: [SpaceLevel] = []
        var wanted: UInt64 = 0
        var alarms: [String] = []
        var live = 0
        var garbage: Set<Tag> = []
        var asked: [Tag] = []
    }
    let monitor = Monitor(State())

    var events: StorageEvents {
        StorageEvents(
            progress: { position in self.change { $0.durable = position } },
            fault: { error in
                self.change {
                    $0.fault = error
                    $0.faults += 1
                }
            },
            relieved: { self.change { $0.relieved += 1 } },
            level: { level in self.change { $0.levels.append(level) } },
            checkpointWanted: { index in self.change { $0.wanted = index } },
            alarm: { text in self.change { $0.alarms.append(text.text) } },
            prove: { tags, answer in
                let (may, live) = self.monitor.withLock { s in
                    s.asked += tags
                    return (tags.map { s.garbage.contains($0) }, s.live)
                }
                self.monitor.signal()
                answer(GarbageAnswer(mayDelete: may, live: live))
            })
    }

    func change(_ body: (inout State) -> Void) {
        self.monitor.withLock { body(&$0) }
        self.monitor.signal()
    }

    /// Waits until `condition` holds; false after 20 s.
    func until(_ condition: (State) -> Bool) -> Bool {
        // Not everything that a condition looks at signals, so it is looked at every 10 ms too.
        for _ in 0..<2000 {
            let holds = self.monitor.wait(timeout: .milliseconds(10)) { s -> Bool? in
                condition(s) ? true : nil
            }
            if holds == true { return true }
        }
        return false
    }
}

func tag(_ sequence: Int, session: UInt64 = 1) -> Tag {
    Tag(session: SessionID(raw: session), sequence: UInt64(sequence))
}

/// Content that depends on `seed` only; compresses when `seed` is even.
func content(_ seed: Int, _ count: Int) -> [UInt8] {
    var dice = Generator(seed: UInt64(seed))
    return (0..<count).map { i in
        seed % 2 == 0 ? UInt8(truncatingIfNeeded: i / 16) : UInt8(truncatingIfNeeded: dice.next())
    }
}

func blocks(_ content: [UInt8]) -> (bytes: [UInt8], count: Int) {
    var out: [UInt8] = []
    var count = 0
    content.withUnsafeBytes { raw in
        var start = 0
        while start < raw.count {
            let end = min(raw.count, start + BlockCodec.blockBytesMax)
            BlockCodec.encode(UnsafeRawBufferPointer(rebasing: raw[start..<end]), into: &out)
            start = end
            count += 1
        }
    }
    return (out, count)
}

func digest(_ seed: Int) -> BodyDigest { BodyDigest(a: UInt64(seed), b: 1, c: 2, d: 3) }

/// One start of a storage.
final class Rig {
    let directory: TemporaryDirectory
    let storage: Storage
    let recovery: Recovery
    let told = Told()
    private var isClosed = false

    init(
        _ directory: TemporaryDirectory = TemporaryDirectory(),
        options: StorageOptions = smallOptions(), files: any FileSystem = DiskFiles(),
        start: Bool = true
    ) throws {
        self.directory = directory
        (self.storage, self.recovery) = try Storage.open(
            directory: directory.path + "/data", node: "a", incarnation: Incarnation(raw: 7),
            cluster: ClusterID(raw: 9), options: options, files: files)
        if start { self.storage.start(self.told.events) }
    }

    deinit { self.close() }

    func close() {
        if !self.isClosed { self.storage.close() }
        self.isClosed = true
    }

    /// A whole body of `count` content bytes.
    @discardableResult
    func body(_ n: Int, _ count: Int) -> UInt64 {
        let content = content(n, count)
        let (bytes, blocks) = blocks(content)
        return self.storage.appendBody(
            tag: tag(n), head: Array("head \(n)\r\n".utf8), blocks: bytes, blockCount: blocks,
            contentBytes: UInt64(count), digest: digest(n))
    }

    /// A body in chunks of 4,096 content bytes.
    @discardableResult
    func streamed(_ n: Int, _ count: Int) -> UInt64 {
        let content = content(n, count)
        let stream = self.storage.openStream()
        var start = 0
        var number = 0
        while start < count {
            let end = min(count, start + 4096)
            self.storage.appendChunk(stream, blocks: blocks(Array(content[start..<end])).bytes)
            start = end
            number += 1
        }
        return self.storage.endStream(
            stream, tag: tag(n), head: Array("head \(n)\r\n".utf8), blockCount: number,
            contentBytes: UInt64(count), digest: digest(n))
    }

    @discardableResult
    func entry(_ index: Int, _ bytes: [UInt8]? = nil) -> UInt64 {
        self.storage.append([
            Entry(
                term: 1, index: UInt64(index), data: bytes ?? Array("entry \(index)".utf8))
        ])
    }

    /// Waits until `position` is durable; false when the storage is faulty.
    @discardableResult
    func durable(_ position: UInt64) -> Bool {
        self.storage.flush()
        _ = self.told.until { $0.durable >= position || $0.fault != nil }
        return self.told.monitor.withLock { $0.durable >= position }
    }

    func read(_ tag: Tag) -> Result<StoredBody, BodyError> {
        let box = Monitor<Result<StoredBody, BodyError>?>(nil)
        self.storage.readBody(tag) { result in
            box.withLock { $0 = result }
            box.signal()
        }
        return box.wait(timeout: .seconds(20)) { $0 } ?? .failure(.closed)
    }

    /// One part of a checkpoint; with `last` it is the last.
    func part(_ changes: [RowChange], last: CheckpointMeta? = nil) -> CheckpointAnswer {
        let box = Monitor<CheckpointAnswer?>(nil)
        self.storage.checkpoint(RowBatch(changes), last: last) { answer in
            box.withLock { $0 = answer }
            box.signal()
        }
        return box.wait(timeout: .seconds(20)) { $0 } ?? .failed(.full(path: "timeout"))
    }

    /// A checkpoint of one part.
    func checkpoint(
        _ changes: [RowChange], index: Int, term: UInt64 = 1, meta: [UInt8] = []
    ) -> StorageError? {
        let meta = CheckpointMeta(
            appliedIndex: UInt64(index), appliedTerm: term, meta: meta)
        while true {
            switch self.part(changes, last: meta) {
            case .saved: return nil
            case .again: continue
            case .next: unreachable("it was the last part")
            case .failed(let error): return error
            }
        }
    }

    func expectBody(_ n: Int, _ count: Int, _ location: SourceLocation = #_sourceLocation) {
        let expected = StoredBody(
            head: Array("head \(n)\r\n".utf8), content: content(n, count), digest: digest(n))
        let found = self.read(tag(n))
        let isThere = found == .success(expected)
        #expect(isThere, "body \(n)", sourceLocation: location)
    }
}
