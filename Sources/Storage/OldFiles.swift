// OldFiles.swift - files of old bodies: survivors of the journal, copied forward.
//
// Takes     sound records, from the keeper's thread only.
// Gives     synced files, each with a sidecar; a move counts only when both are synced.
// Limits    a slice of 1 MiB between two syncs; a file of `bodyFileBytes`.

import Glibc
import Primitives
import Spool

/// A record that was copied and the place that it has now.
struct MovedRecord {
    var owner: RecordOwner
    var from: RecordExtent
    var to: RecordExtent
}

/// Confined to the keeper's thread, and to the one that opens the storage before it starts.
final class OldFiles {
    private let files: any FileSystem
    private let bodies: Bodies
    private let limit: Int
    let directory: String
    private var next: UInt64 = 1
    private var file: DataFile?
    private var offset = 0
    private var entries: [SidecarEntry] = []
    /// Entries and bytes that the sidecar on disk covers.
    private var coveredEntries = 0
    private var coveredBytes = 0
    private var moved: [MovedRecord] = []
    private var slice: [UInt8] = []
    /// Files that are to be looked at, one at a time.
    var unseen: [RecordFileID] = []

    private static let sliceBytes = 1 << 20
    /// Slices written so far, and how long the last one took.
    private(set) var slices = 0
    private(set) var sliceTime: Duration = .zero
    static let sidecarBytesMax = 256 << 20

    init(directory: String, options: StorageOptions, files: any FileSystem, bodies: Bodies) {
        self.directory = directory + "/bodies"
        self.limit = options.bodyFileBytes
        self.files = files
        self.bodies = bodies
    }

    var current: RecordFileID? { self.file?.id }

    private func path(_ number: UInt64) -> String {
        self.directory + "/" + SegmentPool.segmentName(number)
    }

    // MARK: Start.

    /// Enters what the files of an earlier start hold. Chunks come before ends.
    func load(_ damage: inout [Damage]) throws(FileFault) {
        var chunks: [(stream: UInt64, ordinal: Int, extent: RecordExtent)] = []
        var ends: [(entry: SidecarEntry, extent: RecordExtent)] = []
        for name in try self.files.list(self.directory) {
            guard let number = SegmentPool.number(of: name) else {
                // A sidecar without its file, or one that was not put in place.
                let data = SegmentPool.number(of: name, suffix: ".idx").map(self.path)
                if data.map({ !self.files.exists($0) }) ?? name.hasSuffix(".new") {
                    try self.files.remove(self.directory + "/" + name)
                }
                continue
            }
            self.next = max(self.next, number + 1)
            let id = RecordFileID.old(number)
            let path = self.path(number)
            let file = DataFile(
                id, path: path, descriptor: try self.files.open(path, .read), files: self.files)
            let sidecar = try self.sidecar(file, &damage)
            self.bodies.add(file, bytes: sidecar.dataBytes)
            self.unseen.append(id)
            for entry in sidecar.entries {
                let extent = RecordExtent(file: id, offset: entry.offset, length: entry.length)
                switch entry.owner {
                case .chunk(let stream, let ordinal): chunks.append((stream, ordinal, extent))
                case .tag where entry.stream != 0: ends.append((entry, extent))
                case .tag(let tag): self.bodies.withState { $0.place(tag, extent) }
                }
            }
        }
        self.bodies.withState { s in
            for chunk in chunks { s.arrived(chunk.stream, chunk.ordinal, chunk.extent) }
            for (entry, extent) in ends {
                guard case .tag(let tag) = entry.owner else { continue }
                s.ended(entry.stream, tag, extent)
            }
        }
    }

    /// The sidecar of a file; without a sound one the file itself is read.
    func sidecar(_ file: DataFile, _ damage: inout [Damage]) throws(FileFault) -> Sidecar {
        let number = file.id.number
        let path = self.directory + "/" + Sidecar.name(number)
        if let bytes = try self.files.contents(path, limit: Self.sidecarBytesMax),
            let sidecar = Sidecar(bytes, file: number)
        {
            return sidecar
        }
        return try self.scan(file, &damage)
    }

    private func scan(_ file: DataFile, _ damage: inout [Damage]) throws(FileFault) -> Sidecar {
        let size = try self.files.size(file.descriptor)
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(8, size), alignment: 4096)
        defer { memory.deallocate() }
        let count = try self.files.read(file.descriptor, into: memory, at: 0)
        var sidecar = Sidecar(file: file.id.number, dataBytes: 0, entries: [])
        // Damage with nothing sound behind it is the torn end of a slice that was never settled:
        // its records still stand where they were copied from.
        var pending: [Damage] = []
        var at = 0
        while at < count {
            let rest = UnsafeRawBufferPointer(rebasing: memory[at..<count])
            switch RecordFormat.inspect(rest) {
            case .sound(let kind, let payload, _):
                if !pending.isEmpty {
                    damage += pending
                    pending = []
                    self.bodies.withState { $0.hasUnknownDamage = true }
                }
                let content = UnsafeRawBufferPointer(
                    rebasing: rest[
                        RecordFormat.headerBytes..<(RecordFormat.headerBytes + payload)])
                let length = RecordFormat.bytes(payload: payload)
                if let (owner, stream) = RecordOwner.read(kind, content) {
                    sidecar.entries.append(
                        SidecarEntry(
                            owner: owner, stream: stream, offset: UInt32(at),
                            length: UInt32(length)))
                }
                at += length
                sidecar.dataBytes = at
            case .damaged(_, let payload):
                pending.append(Damage(kind: .unknownBodies, file: file.path, offset: at))
                at += RecordFormat.bytes(payload: payload)
            case .unreadable:
                at += 8
            }
        }
        return sidecar
    }

    // MARK: Copying.

    /// Takes one sound record; it is moved when `settle` has returned.
    func append(
        _ record: UnsafeRawBufferPointer, owner: RecordOwner, stream: UInt64, from: RecordExtent
    ) throws(FileFault) {
        if let file = self.file, self.end + record.count > self.limit, self.end > 0 {
            try self.settle()
            if self.file === file { self.file = nil }
        }
        if self.file == nil { try self.begin() }
        guard let file = self.file else { return }
        let to = RecordExtent(
            file: file.id, offset: UInt32(self.end), length: UInt32(record.count))
        self.slice.append(contentsOf: record)
        self.entries.append(
            SidecarEntry(owner: owner, stream: stream, offset: to.offset, length: to.length))
        self.moved.append(MovedRecord(owner: owner, from: from, to: to))
        if self.slice.count >= Self.sliceBytes { try self.writeSlice() }
    }

    private var end: Int { self.offset + self.slice.count }

    private func begin() throws(FileFault) {
        let number = self.next
        let path = self.path(number)
        let descriptor = try self.files.open(path, .create)
        let file = DataFile(.old(number), path: path, descriptor: descriptor, files: self.files)
        self.next += 1
        (self.offset, self.coveredBytes, self.coveredEntries) = (0, 0, 0)
        self.entries = []
        self.file = file
        try self.files.syncDirectory(self.directory)
        self.bodies.add(file)
    }

    private func writeSlice() throws(FileFault) {
        guard let file = self.file, !self.slice.isEmpty else { return }
        let started = monotonicNow()
        try self.slice.withBytes { bytes throws(FileFault) in
            try self.files.writeAll(file.descriptor, bytes, at: self.offset)
        }
        try self.files.sync(file.descriptor)
        self.offset += self.slice.count
        self.slice.removeAll(keepingCapacity: true)
        self.slices += 1
        self.sliceTime = monotonicNow() - started
    }

    /// Syncs what was copied and its sidecar; then the index names the new places.
    func settle() throws(FileFault) {
        guard let file = self.file, !self.moved.isEmpty else { return }
        try self.writeSlice()
        let sidecar = Sidecar(
            file: file.id.number, dataBytes: self.offset, entries: self.entries)
        try self.files.replace(
            self.directory, Sidecar.name(file.id.number), with: sidecar.encoded())
        (self.coveredBytes, self.coveredEntries) = (self.offset, self.entries.count)
        let moved = self.moved
        self.moved = []
        self.bodies.withState { s in
            s.files[file.id]?.bytes = self.offset
            for record in moved { s.move(record.owner, from: record.from, to: record.to) }
        }
    }

    /// The disk was full: forgets what was not settled.
    func giveUp() throws(FileFault) {
        self.moved = []
        self.slice.removeAll()
        self.entries.removeSubrange(self.coveredEntries...)
        self.offset = self.coveredBytes
        if let file = self.file {
            try self.files.truncate(file.descriptor, bytes: self.coveredBytes)
        }
    }

    /// No more is appended to the current file.
    func closeCurrent() { self.file = nil }

    /// Removes a file in which nothing is live.
    func remove(_ file: DataFile) throws(FileFault) {
        if self.file?.id == file.id { self.file = nil }
        self.bodies.forget(file.id)
        try self.files.remove(file.path)
        let sidecar = self.directory + "/" + Sidecar.name(file.id.number)
        if self.files.exists(sidecar) { try self.files.remove(sidecar) }
        try self.files.syncDirectory(self.directory)
    }
}

extension RecordOwner {
    /// Whose record this is, and its stream; nil: of no body.
    static func read(
        _ kind: RecordKind, _ content: UnsafeRawBufferPointer
    ) -> (RecordOwner, stream: UInt64)? {
        switch kind {
        case .body, .bodyEnd:
            guard let header = BodyHeader(content) else { return nil }
            return (.tag(header.tag), header.stream)
        case .chunk:
            guard content.count >= ChunkHeader.bytes, let p = content.baseAddress else {
                return nil
            }
            return (.chunk(stream: p.u64(0), ordinal: Int(p.u32(8))), p.u64(0))
        case .entry, .hardState, .abandoned, .note, .identity, .logBase: return nil
        }
    }
}
