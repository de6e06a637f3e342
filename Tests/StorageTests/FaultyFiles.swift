// FaultyFiles.swift - real files with faults, and a crash that forgets what was not synced.

import Foundation
import Primitives

@testable import Storage

/// The calls that can be made to fail.
enum Call: CaseIterable {
    case open, write, read, sync, rename, allocate, syncDirectory
}

/// What happens to unsynced bytes at a crash.
enum CrashMode: CaseIterable {
    case keep, lose, tear
}

final class FaultyFiles: FileSystem, @unchecked Sendable {
    struct Plan {
        var call: Call
        /// Counts from 1.
        var nth: Int
        var errno: Int32
        /// Half of the bytes are written before it fails.
        var torn = false
        /// Those behind the nth fail, too.
        var onwards = false
    }
    private struct Undo {
        var inode: UInt64
        var descriptor: Int32
        var offset: Int
        var before: [UInt8]
        var sizeBefore: Int
        var count: Int
    }
    private struct Renamed {
        var from: String
        var to: String
        var directory: String
    }

    private let disk = DiskFiles()
    private let lock = NSLock()
    private var counts: [Call: Int] = [:]
    private var undo: [Undo] = []
    private var renamed: [Renamed] = []
    private var dead = false
    private(set) var hasFailed = false
    var plan: Plan?
    /// After the planned fault every call fails: the disk is gone.
    var staysBroken = false
    /// Writes only this much of each call.
    var shortWrites: Int?
    /// No new block is to be had.
    var isFull = false
    /// What `space` says; nil: the truth.
    var free: Int?
    /// Called in front of each renaming, with the new path.
    var beforeRename: ((String) -> Void)?
    /// Called in front of each sync of a file.
    var beforeSync: (() -> Void)?

    init(_ plan: Plan? = nil) { self.plan = plan }

    deinit { for entry in self.undo { Glibc.close(entry.descriptor) } }

    func count(_ call: Call) -> Int { self.lock.withLock { self.counts[call] ?? 0 } }

    private func pass(_ call: Call, _ path: String = "test") throws(FileFault) {
        let code = self.lock.withLock { () -> Int32? in
            if self.dead { return EIO }
            self.counts[call, default: 0] += 1
            guard let plan = self.plan, plan.call == call, let count = self.counts[call],
                count == plan.nth || plan.onwards && count > plan.nth
            else { return nil }
            self.hasFailed = true
            if self.staysBroken { self.dead = true }
            return plan.errno
        }
        if let code { throw FileFault("test", path, code) }
    }

    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> Int32 {
        try self.pass(.open, path)
        return try self.disk.open(path, mode)
    }

    func close(_ file: Int32) { self.disk.close(file) }

    func write(
        _ file: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>, at offset: Int
    ) throws(FileFault) -> Int {
        let total = pieces.reduce(0) { $0 + $1.iov_len }
        try self.remember(file, offset, total)
        do {
            try self.pass(.write)
        } catch {
            if self.plan?.torn == true, !self.isDead || self.staysBroken {
                _ = try self.some(file, pieces, total / 2, offset)
            }
            throw error
        }
        if let limit = self.shortWrites { return try self.some(file, pieces, limit, offset) }
        return try self.disk.write(file, pieces, at: offset)
    }

    private var isDead: Bool { self.lock.withLock { self.dead } }

    private func some(
        _ file: Int32, _ pieces: UnsafeMutableBufferPointer<iovec>, _ limit: Int, _ offset: Int
    ) throws(FileFault) -> Int {
        var all: [UInt8] = []
        for piece in pieces {
            all += UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
        }
        let part = Array(all.prefix(max(1, limit)))
        try part.withBytes { b throws(FileFault) in try self.disk.writeAll(file, b, at: offset) }
        return part.count
    }

    private func remember(_ file: Int32, _ offset: Int, _ count: Int) throws(FileFault) {
        var status = stat()
        fstat(file, &status)
        var before = [UInt8](repeating: 0, count: count)
        let size = Int(status.st_size)
        let read = try before.withMutableBytes { b throws(FileFault) in
            try self.disk.read(file, into: b, at: offset)
        }
        before.removeLast(count - read)
        let entry = Undo(
            inode: UInt64(status.st_ino), descriptor: dup(file), offset: offset, before: before,
            sizeBefore: size, count: count)
        self.lock.withLock { self.undo.append(entry) }
    }

    func read(
        _ file: Int32, into bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(FileFault) -> Int {
        try self.pass(.read)
        return try self.disk.read(file, into: bytes, at: offset)
    }

    func sync(_ file: Int32) throws(FileFault) {
        self.beforeSync?()
        try self.pass(.sync)
        var status = stat()
        fstat(file, &status)
        self.lock.withLock {
            for entry in self.undo where entry.inode == UInt64(status.st_ino) {
                Glibc.close(entry.descriptor)
            }
            self.undo.removeAll { $0.inode == UInt64(status.st_ino) }
        }
    }

    func size(_ file: Int32) throws(FileFault) -> Int { try self.disk.size(file) }

    func allocate(_ file: Int32, bytes: Int) throws(FileFault) {
        try self.pass(.allocate)
        if self.isFull { throw FileFault("allocate", "test", ENOSPC) }
        try self.disk.allocate(file, bytes: bytes)
    }

    func truncate(_ file: Int32, bytes: Int) throws(FileFault) {
        try self.disk.truncate(file, bytes: bytes)
    }

    func rename(_ from: String, to: String) throws(FileFault) {
        self.beforeRename?(to)
        try self.pass(.rename, from)
        // A replaced file cannot be put back here: such renames count as synced.
        let replaces = self.disk.exists(to)
        try self.disk.rename(from, to: to)
        if !replaces {
            let directory = String(to[..<to.lastIndex(of: "/")!])
            self.lock.withLock {
                self.renamed.append(Renamed(from: from, to: to, directory: directory))
            }
        }
    }

    func remove(_ path: String) throws(FileFault) {
        if self.isDead { throw FileFault("test", path, EIO) }
        try self.disk.remove(path)
    }
    func exists(_ path: String) -> Bool { self.disk.exists(path) }
    func list(_ directory: String) throws(FileFault) -> [String] { try self.disk.list(directory) }
    func makeDirectory(_ path: String) throws(FileFault) { try self.disk.makeDirectory(path) }

    func syncDirectory(_ path: String) throws(FileFault) {
        try self.pass(.syncDirectory, path)
        try self.disk.syncDirectory(path)
        self.lock.withLock { self.renamed.removeAll { $0.directory == path } }
    }

    func space(_ path: String) throws(FileFault) -> (free: Int, total: Int) {
        let (free, total) = try self.disk.space(path)
        return (self.free ?? free, total)
    }

    func lock(_ file: Int32) throws(FileFault) -> Bool { try self.disk.lock(file) }

    /// From here on every call fails, as after a loss of power.
    func die() { self.lock.withLock { self.dead = true } }

    /// After the storage is closed: what was not synced is kept, lost, or lost in parts.
    func crash(_ mode: CrashMode, _ dice: inout Generator) throws {
        for entry in self.undo.reversed() where mode != .keep {
            let zeros = max(
                0, min(entry.count, entry.sizeBefore - entry.offset) - entry.before.count)
            let before = entry.before + [UInt8](repeating: 0, count: zeros)
            // Torn: from some byte on, or some sectors in the middle.
            var range = 0..<before.count
            if mode == .tear, !before.isEmpty {
                let start = dice.below(before.count)
                range = start..<(start + dice.below(before.count - start + 1))
            }
            let part = Array(before[range])
            try part.withBytes { b throws(FileFault) in
                try self.disk.writeAll(
                    entry.descriptor, b, at: entry.offset + range.lowerBound)
            }
            if mode == .lose, entry.offset + entry.count > entry.sizeBefore {
                try self.disk.truncate(entry.descriptor, bytes: entry.sizeBefore)
            }
        }
        for entry in self.renamed.reversed() where mode == .lose {
            if self.disk.exists(entry.to), !self.disk.exists(entry.from) {
                try self.disk.rename(entry.to, to: entry.from)
            }
        }
        self.renamed = []
    }
}
