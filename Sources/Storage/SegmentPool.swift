// SegmentPool.swift - the journal's files: spare ones owned ahead, sealed ones, the reserve.
//
// Takes     the writer's need for the next file, the keeper's returns.
// Gives     files whose blocks are owned; a level when space runs out.
// Durable   a segment's name is synced before the first batch in it is acknowledged.

import Glibc
import Primitives
import Spool
import Synchronization

/// A file that is owned and holds nothing.
struct SpareFile {
    var path: String
    var descriptor: Int32
    /// Zero-filled or used before: a sync of data touches no metadata.
    var isFilled: Bool
}

final class SegmentPool: Sendable {
    private struct State {
        var spares: [SpareFile] = []
        var sealed: [SealedSegment] = []
        var nextSpare = 1
        var reserveBytes = 0
        /// A file is being made; another is not to be begun.
        var isFilling = false
    }

    let directory: String
    let journal: String
    let options: StorageOptions
    let files: any FileSystem
    private let monitor = Monitor(State())
    /// The reserve is given up in steps of this size.
    private static let reserveStepBytes = 64 << 20

    init(directory: String, options: StorageOptions, files: any FileSystem) {
        self.directory = directory
        self.journal = directory + "/journal"
        self.options = options
        self.files = files
    }

    static func segmentName(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".seg"
    }

    static func number(of name: String, suffix: String = ".seg") -> UInt64? {
        guard name.hasSuffix(suffix) else { return nil }
        return UInt64(name.dropLast(suffix.count), radix: 16)
    }

    // MARK: Sealed segments.

    var sealedCount: Int { self.monitor.withLock { $0.sealed.count } }
    func seal(_ segment: SealedSegment) { self.monitor.withLock { $0.sealed.append(segment) } }
    var oldest: SealedSegment? { self.monitor.withLock { $0.sealed.first } }
    func removeOldest(_ number: UInt64) {
        self.monitor.withLock { s in
            invariant(s.sealed.first?.contents.number == number, "segments go oldest first")
            s.sealed.removeFirst()
        }
    }

    /// Makes a segment's file a spare one; removes it if there are enough.
    func recycle(_ file: DataFile) throws(FileFault) {
        guard self.spareCount <= self.options.spareSegments else {
            try self.files.remove(file.path)
            try self.files.syncDirectory(self.journal)
            return
        }
        let path = self.spareName()
        try self.files.rename(file.path, to: path)
        try self.files.syncDirectory(self.journal)
        let descriptor = try self.files.open(path, .readWrite)
        guard try self.files.size(descriptor) == self.options.segmentBytes else {
            // Of a time when segments had another size.
            self.files.close(descriptor)
            try self.files.remove(path)
            return
        }
        self.add(SpareFile(path: path, descriptor: descriptor, isFilled: true))
    }

    // MARK: Spare files.

    var spareCount: Int { self.monitor.withLock { $0.spares.count } }

    /// Takes up a spare file of an earlier start.
    func adopt(spare name: String) throws(FileFault) {
        let path = self.journal + "/" + name
        let descriptor = try self.files.open(path, .readWrite)
        guard try self.files.size(descriptor) == self.options.segmentBytes else {
            self.files.close(descriptor)
            try self.files.remove(path)
            return
        }
        self.add(SpareFile(path: path, descriptor: descriptor, isFilled: false))
        let number = Int(name.dropFirst("spare.".count)) ?? 0
        self.monitor.withLock { $0.nextSpare = max($0.nextSpare, number + 1) }
    }

    func add(_ spare: SpareFile) { self.monitor.withLock { $0.spares.append(spare) } }

    /// A name that no spare file has.
    func spareName() -> String {
        self.monitor.withLock { s in
            defer { s.nextSpare += 1 }
            return self.journal + "/spare.\(s.nextSpare)"
        }
    }

    /// Makes one more spare file, if space allows: a full disk is an answer.
    func makeSpare() throws(FileFault) -> Bool {
        let path = self.spareName()
        let descriptor = try self.files.open(path, .create)
        do {
            try self.files.allocate(descriptor, bytes: self.options.segmentBytes)
            try self.files.syncDirectory(self.journal)
        } catch {
            self.files.close(descriptor)
            try self.files.remove(path)
            if error.isFull { return false }
            throw error
        }
        self.add(SpareFile(path: path, descriptor: descriptor, isFilled: false))
        return true
    }

    /// Fills one spare file with zeros, 1 MiB at a time. False: none needs it.
    func fillSpare() throws(FileFault) -> Bool {
        let taken = self.monitor.withLock { s -> SpareFile? in
            // The last one stays for the writer.
            guard s.spares.count > 1, let i = s.spares.firstIndex(where: { !$0.isFilled }) else {
                return nil
            }
            return s.spares.remove(at: i)
        }
        guard var spare = taken else { return false }
        defer { self.add(spare) }
        let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { zeros.deallocate() }
        memset(zeros.baseAddress!, 0, zeros.count)  // not nil: one MiB was allocated
        var offset = 0
        while offset < self.options.segmentBytes {
            let count = min(zeros.count, self.options.segmentBytes - offset)
            try self.files.writeAll(
                spare.descriptor, UnsafeRawBufferPointer(rebasing: zeros[..<count]), at: offset)
            try self.files.sync(spare.descriptor)
            offset += count
        }
        spare.isFilled = true
        return true
    }

    /// The file for segment `number`, under its name, the name synced; whether it is filled.
    func takeForWriting(
        _ number: UInt64
    ) throws(StorageError) -> (file: DataFile, isFilled: Bool) {
        var taken = self.takeSpare()
        do {
            while taken == nil {
                if try self.makeSpare() {
                    taken = self.takeSpare()
                } else if try !self.releaseReserve() {
                    throw StorageError.full(path: self.journal)
                }
            }
            guard let spare = taken else { throw StorageError.full(path: self.journal) }
            let path = self.journal + "/" + Self.segmentName(number)
            try self.files.rename(spare.path, to: path)
            try self.files.syncDirectory(self.journal)
            let file = DataFile(
                .segment(number), path: path, descriptor: spare.descriptor, files: self.files)
            return (file, spare.isFilled)
        } catch let fault as FileFault {
            throw fault.storageError
        } catch let error as StorageError {
            throw error
        } catch {
            unreachable("an error of another type")
        }
    }

    private func takeSpare() -> SpareFile? {
        self.monitor.withLock { s in
            if let i = s.spares.firstIndex(where: { $0.isFilled }) { return s.spares.remove(at: i) }
            return s.spares.isEmpty ? nil : s.spares.removeFirst()
        }
    }

    deinit {
        for spare in self.monitor.withLock({ $0.spares }) { self.files.close(spare.descriptor) }
    }

    // MARK: The reserve.

    private var reservePath: String { self.directory + "/reserve" }
    var reserveBytes: Int { self.monitor.withLock { $0.reserveBytes } }

    /// Makes the reserve as large as it should be. False: no space.
    func fillReserve() throws(FileFault) -> Bool {
        let descriptor = try self.files.open(self.reservePath, .createIfMissing)
        defer { self.files.close(descriptor) }
        let before = try self.files.size(descriptor)
        guard before < self.options.reserveBytes else {
            self.monitor.withLock { $0.reserveBytes = before }
            return true
        }
        do {
            try self.files.allocate(descriptor, bytes: self.options.reserveBytes)
            self.monitor.withLock { $0.reserveBytes = self.options.reserveBytes }
            return true
        } catch {
            guard error.isFull else { throw error }
            try self.files.truncate(descriptor, bytes: before)
            self.monitor.withLock { $0.reserveBytes = before }
            return false
        }
    }

    /// Gives up a part of the reserve. False: there is nothing left.
    func releaseReserve() throws(FileFault) -> Bool {
        guard self.reserveBytes > 0 else { return false }
        let descriptor = try self.files.open(self.reservePath, .readWrite)
        defer { self.files.close(descriptor) }
        let rest = max(0, self.reserveBytes - Self.reserveStepBytes)
        try self.files.truncate(descriptor, bytes: rest)
        self.monitor.withLock { $0.reserveBytes = rest }
        return true
    }
}
