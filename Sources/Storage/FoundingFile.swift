// FoundingFile.swift - the founding record of the cluster that this data directory belongs to.
//
// Durable   written once, put in place as a whole: after a crash it is there or it is not. A start
//           syncs the directory before it reads, so what it finds stays. What is there and cannot
//           be read is damage, never "not founded": a node that founded again, or took another
//           founding, would be in two clusters.
// See       Docs/StorageFormat.md, Docs/Decisions/0015-founding.md.

import Primitives
import Raft

struct FoundingFile {
    /// "PSTOFD01"
    private static let magic: UInt64 = 0x3130_4446_4F54_5350
    private static let format: UInt32 = 1
    /// More than any record takes.
    private static let bytesMax = 64 << 10
    private static let name = "founding"

    let directory: String
    let files: any FileSystem

    var path: String { self.directory + "/" + Self.name }

    var exists: Bool { self.files.exists(self.path) }

    /// Nil: there is none.
    func read() throws -> FoundingRecord? {
        let bytes: [UInt8]?
        do {
            bytes = try self.files.contents(self.path, limit: Self.bytesMax)
        } catch let fault where fault.isTooLarge {
            throw StorageError.foundingDamaged(file: self.path)
        }
        guard let bytes else { return nil }
        do {
            return try self.decode(bytes)
        } catch let error as StorageError {
            throw error
        } catch {
            throw StorageError.foundingDamaged(file: self.path)
        }
    }

    /// Synced when it returns.
    func write(_ record: FoundingRecord) throws(FileFault) {
        var writer = ByteWriter()
        writer.u64(Self.magic)
        writer.u32(Self.format)
        record.encode(into: &writer)
        writer.u32(CRC32C.checksum(writer.bytes))
        try self.files.replace(self.directory, Self.name, with: writer.bytes)
    }

    private func decode(_ bytes: [UInt8]) throws -> FoundingRecord {
        guard bytes.count >= 4 else { throw CodecError.truncated }
        let crc = CRC32C.checksum(Array(bytes.dropLast(4)))
        var end = ByteReader(bytes, range: bytes.count - 4..<bytes.count)
        guard try end.u32() == crc else { throw CodecError.outOfRange("crc") }
        var reader = ByteReader(bytes, range: 0..<bytes.count - 4)
        guard try reader.u64() == Self.magic else { throw CodecError.unknown("founding file") }
        guard try reader.u32() == Self.format else {
            throw StorageError.unknownFormat(file: self.path)
        }
        let record = try FoundingRecord(from: &reader)
        try reader.finish()
        return record
    }
}

extension NodeIdentity {
    /// The cluster is the identity's own or that of the founding; two that differ are damage.
    ///
    /// - Parameter hasLog: there are promises to a cluster, so there must be one.
    mutating func join(_ file: FoundingFile, hasLog: Bool) throws -> FoundingRecord? {
        let record = try file.read()
        if let record {
            guard self.cluster.raw == 0 || self.cluster == record.cluster else {
                throw StorageError.foundingDamaged(file: file.path)
            }
            self.cluster = record.cluster
        } else if hasLog, self.cluster.raw == 0 {
            throw StorageError.foundingDamaged(file: file.path)
        }
        return record
    }
}
