// FoundingRecord.swift - what a cluster began with: its id, and who its first voters were.
//
// Gives     the configuration in force in front of the first entry of the log, on every member: no
//           entry says it.
// Durable   each founder has synced it before it answers or votes (Storage keeps it); who comes
//           later keeps it too, and so belongs to no other cluster.
// Limits    `membersMax` members, `nameBytesMax` bytes a name.
// Standard  the voter's id is that of its disk, as in KRaft's (id, directoryId): a wiped disk is
//           another voter.

package import Primitives

/// One founding of a cluster. Two with the same cluster id are the same.
package struct FoundingRecord: Hashable, Sendable {
    package struct Member: Hashable, Sendable {
        package var name: NodeName
        package var incarnation: Incarnation
        package init(name: NodeName, incarnation: Incarnation) {
            self.name = name
            self.incarnation = incarnation
        }
    }

    /// As many as `cluster.seeds` may name.
    package static let membersMax = 64
    /// Of UTF-8.
    package static let nameBytesMax = 255

    /// Not 0.
    package var cluster: ClusterID
    /// In the order of the seeds; no name and no incarnation twice, none empty.
    package var members: [Member]

    package init(cluster: ClusterID, members: [Member]) {
        self.cluster = cluster
        self.members = members
    }

    package func names(_ member: Member) -> Bool { self.members.contains(member) }

    package func incarnation(of name: NodeName) -> Incarnation? {
        self.members.first { $0.name == name }?.incarnation
    }

    /// In force in front of the log's first entry.
    package var configuration: Configuration {
        Configuration(voters: self.members.map(\.incarnation).sorted())
    }

    /// u64 cluster · varint count · for each member u64 incarnation, string name.
    package func encode(into writer: inout ByteWriter) {
        writer.u64(self.cluster.raw)
        writer.varint(self.members.count)
        for member in self.members {
            writer.u64(member.incarnation.raw)
            writer.string(member.name)
        }
    }

    package init(from reader: inout ByteReader) throws(CodecError) {
        self.cluster = ClusterID(raw: try reader.u64())
        self.members = []
        for _ in 0..<(try reader.count(atMost: Self.membersMax)) {
            let incarnation = Incarnation(raw: try reader.u64())
            let name = try reader.string(atMost: Self.nameBytesMax)
            self.members.append(Member(name: name, incarnation: incarnation))
        }
        guard self.isSound else { throw .outOfRange("founding record") }
    }

    package var isSound: Bool {
        guard self.cluster.raw != 0, !self.members.isEmpty else { return false }
        guard self.members.count <= Self.membersMax else { return false }
        for (i, member) in self.members.enumerated() {
            let bytes = member.name.utf8.count
            guard bytes > 0, bytes <= Self.nameBytesMax, member.incarnation != .none else {
                return false
            }
            for other in self.members[..<i]
            where other.name == member.name || other.incarnation == member.incarnation {
                return false
            }
        }
        return true
    }
}
