// IdentityFile.swift - who this data directory is, and how often it was started.
//
// Durable   two places of 512 bytes, written in turn: a torn write costs the start that made it,
//           never the identity, and no start needs a free block.
// See       Docs/StorageFormat.md.

import Glibc
import Primitives
import Spool

struct IdentityFile {
    private static let magic: UInt64 = 0x3130_4449_4F54_5350
    private static let format: UInt32 = 2
    private static let placeBytes = 512
    private static let nameBytesMax = 255

    let directory: String
    let files: any FileSystem

    private var path: String { self.directory + "/identity" }

    /// Reads the identity, or makes it; adds one to the boot number; synced when it returns.
    func countUp(
        node: NodeName, incarnation: Incarnation, cluster: ClusterID, hasData: Bool
    ) throws -> (NodeIdentity, isNew: Bool) {
        invariant(node.utf8.count <= Self.nameBytesMax, "a node's name has at most 255 bytes")
        guard self.files.exists(self.path) else {
            if hasData { throw StorageError.identityDamaged(file: self.path) }
            let identity = NodeIdentity(
                node: node, incarnation: incarnation, cluster: cluster, boot: 1)
            var bytes = [UInt8](repeating: 0, count: 2 * Self.placeBytes)
            let place = self.encoded(identity)
            bytes.replaceSubrange(Self.placeBytes..<Self.placeBytes + place.count, with: place)
            try self.files.replace(self.directory, "identity", with: bytes)
            return (identity, true)
        }
        let file = try self.files.open(self.path, .readWrite)
        defer { self.files.close(file) }
        var bytes = [UInt8](repeating: 0, count: 2 * Self.placeBytes)
        _ = try bytes.withMutableBytes { b throws(FileFault) in
            try self.files.read(file, into: b, at: 0)
        }
        guard var identity = try self.newest(bytes) else {
            throw StorageError.identityDamaged(file: self.path)
        }
        guard identity.node == node else {
            throw StorageError.otherNode(found: identity.node, expected: node)
        }
        identity.boot += 1
        let place = self.encoded(identity)
        try place.withBytes { b throws(FileFault) in
            try self.files.writeAll(file, b, at: Int(identity.boot % 2) * Self.placeBytes)
        }
        try self.files.sync(file)
        return (identity, false)
    }

    private func newest(_ bytes: [UInt8]) throws(StorageError) -> NodeIdentity? {
        var best: NodeIdentity?
        for place in 0..<2 {
            let range = place * Self.placeBytes..<(place + 1) * Self.placeBytes
            if let found = try self.decode(bytes, range), found.boot > best?.boot ?? 0 {
                best = found
            }
        }
        return best
    }

    private func encoded(_ identity: NodeIdentity) -> [UInt8] {
        var writer = ByteWriter(capacity: Self.placeBytes)
        writer.u64(Self.magic)
        writer.u32(Self.format)
        writer.u64(identity.incarnation.raw)
        writer.u64(identity.cluster.raw)
        writer.u64(identity.boot)
        writer.string(identity.node)
        while writer.count < Self.placeBytes - 4 { writer.u8(0) }
        writer.u32(CRC32C.checksum(writer.bytes))
        return writer.bytes
    }

    private func decode(
        _ bytes: [UInt8], _ range: Range<Int>
    ) throws(StorageError) -> NodeIdentity? {
        let crc = CRC32C.checksum(Array(bytes[range.dropLast(4)]))
        var reader = ByteReader(bytes, range: range)
        do {
            guard try reader.u64() == Self.magic else { return nil }
            let format = try reader.u32()
            var identity = NodeIdentity(
                node: "", incarnation: Incarnation(raw: try reader.u64()),
                cluster: ClusterID(raw: try reader.u64()), boot: try reader.u64())
            identity.node = try reader.string(atMost: Self.nameBytesMax)
            try reader.skip(reader.remaining - 4)
            guard try reader.u32() == crc else { return nil }
            guard format == Self.format else {
                throw StorageError.unknownFormat(file: self.path)
            }
            return identity
        } catch let error as StorageError {
            throw error
        } catch {
            return nil  // torn: the other place counts
        }
    }
}
