// Hello.swift - the first frame each way: who speaks, and whether we may speak at all.
//
// Takes     a peer's bytes; what this node knows of itself.
// Gives     a Hello, or the sentence with which the connection is refused.
// Standard  Docs/PeerProtocol.md, "Hello".

package import Primitives

/// What a node says of itself before anything else.
package struct Hello: Hashable, Sendable {
    /// Protocol versions that this program speaks.
    package static let spoken: ClosedRange<UInt16> = 1...1
    /// The feature level of this program: gates kinds of log entries and the format on disk.
    package static let featureLevel: UInt32 = 1
    /// "PHHL", so that a stranger is recognised by the first four bytes.
    private static let magic: UInt32 = 0x4C48_4850
    /// Longest node name in bytes of UTF-8.
    package static let nodeNameBytesMax = 255

    package var versions: ClosedRange<UInt16>
    package var cluster: ClusterID
    package var node: NodeName
    package var incarnation: Incarnation
    package var boot: BootNumber
    /// The last index that is synced on the sender's disk, and its term.
    package var durableIndex: UInt64
    package var durableTerm: UInt64
    package var featureLevel: UInt32

    package init(
        cluster: ClusterID, node: NodeName, incarnation: Incarnation, boot: BootNumber,
        durableIndex: UInt64, durableTerm: UInt64, versions: ClosedRange<UInt16> = Self.spoken,
        featureLevel: UInt32 = Self.featureLevel
    ) {
        self.versions = versions
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.boot = boot
        self.durableIndex = durableIndex
        self.durableTerm = durableTerm
        self.featureLevel = featureLevel
    }

    /// The payload of the frame.
    package func encode(into writer: inout ByteWriter) {
        writer.u32(Self.magic)
        writer.u16(self.versions.lowerBound)
        writer.u16(self.versions.upperBound)
        writer.u64(self.cluster.raw)
        writer.u64(self.incarnation.raw)
        writer.u64(self.boot)
        writer.u64(self.durableIndex)
        writer.u64(self.durableTerm)
        writer.u32(self.featureLevel)
        writer.string(self.node)
    }

    /// Bytes behind the known members are skipped: a later version may say more.
    package init(from reader: inout ByteReader) throws(CodecError) {
        guard try reader.u32() == Self.magic else { throw .unknown("hello") }
        let lowest = try reader.u16()
        let highest = try reader.u16()
        guard lowest <= highest else { throw .outOfRange("versions") }
        self.versions = lowest...highest
        self.cluster = ClusterID(raw: try reader.u64())
        self.incarnation = Incarnation(raw: try reader.u64())
        self.boot = try reader.u64()
        self.durableIndex = try reader.u64()
        self.durableTerm = try reader.u64()
        self.featureLevel = try reader.u32()
        self.node = try reader.string(atMost: Self.nodeNameBytesMax)
        guard !self.node.isEmpty, self.boot > 0, self.incarnation.raw != 0 else {
            throw .outOfRange("hello")
        }
    }

    /// Why `peer` may not speak to us; nil: it may.
    ///
    /// - Parameter remembered: the most that this peer's incarnation has shown us before.
    package func refusal(of peer: Hello, remembered: Remembered?) -> Refusal? {
        if !self.versions.overlaps(peer.versions) { return .version(peer.versions) }
        if self.cluster.raw != 0, peer.cluster.raw != 0, peer.cluster != self.cluster {
            return .otherCluster(peer.cluster)
        }
        if peer.node == self.node { return .ourName }
        if let remembered, remembered.incarnation == peer.incarnation,
            (peer.boot, peer.durableTerm, peer.durableIndex)
                < (remembered.boot, remembered.durableTerm, remembered.durableIndex)
        {
            return .rolledBack
        }
        return nil
    }

    /// The greatest values that one incarnation of a peer has shown.
    package struct Remembered: Hashable, Sendable {
        package var incarnation: Incarnation
        package var boot: BootNumber
        package var durableIndex: UInt64
        package var durableTerm: UInt64
        package init(
            incarnation: Incarnation, boot: BootNumber, durableIndex: UInt64, durableTerm: UInt64
        ) {
            self.incarnation = incarnation
            self.boot = boot
            self.durableIndex = durableIndex
            self.durableTerm = durableTerm
        }
    }

    package enum Refusal: Hashable, Sendable {
        case version(ClosedRange<UInt16>)
        case otherCluster(ClusterID)
        case ourName
        case rolledBack

        /// The sentence that the peer and the operator read.
        package var sentence: String {
            switch self {
            case .version(let theirs):
                "we speak protocol versions \(Hello.spoken), you speak \(theirs)"
            case .otherCluster(let id): "you belong to another cluster (\(Base32.text(id.raw)))"
            case .ourName: "you bear this node's own name"
            case .rolledBack: "this disk was rolled back or copied"
            }
        }
        /// For metrics.
        package var label: StaticString {
            switch self {
            case .version: "version"
            case .otherCluster: "other_cluster"
            case .ourName: "our_name"
            case .rolledBack: "rolled_back"
            }
        }
    }
}
