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
    /// The feature level of this program: which kinds of log entries it can read.
    package static let featureLevel: UInt32 = 2
    /// The level of the entries that this program writes while a member has a lesser one. Whoever
    /// is below could not apply them, and would end with each start.
    package static let featureLevelWritten: UInt32 = 2
    /// "PHHL", so that a stranger is recognised by the first four bytes.
    private static let magic: UInt32 = 0x4C48_4850
    /// Longest node name in bytes of UTF-8.
    package static let nodeNameBytesMax = 255
    /// Longest host of an address in bytes.
    package static let hostBytesMax = 255

    package var versions: ClosedRange<UInt16>
    package var cluster: ClusterID
    package var node: NodeName
    package var incarnation: Incarnation
    package var boot: BootNumber
    /// The last index of the log that is synced on the sender's disk.
    package var durableIndex: UInt64
    /// The term of the hard state that is synced there.
    package var durableTerm: UInt64
    package var featureLevel: UInt32
    /// What this connection is for: the dialer says, the other repeats it.
    package var link: PeerLinkKind
    /// Drawn at random by each start of the program: tells a copied disk from the disk.
    package var process: UInt64
    /// Where the sender can be dialed; host "": nowhere.
    package var host: String
    package var port: UInt16

    package init(
        cluster: ClusterID, node: NodeName, incarnation: Incarnation, boot: BootNumber,
        durableIndex: UInt64, durableTerm: UInt64, versions: ClosedRange<UInt16> = Self.spoken,
        featureLevel: UInt32 = Self.featureLevel, link: PeerLinkKind = .control,
        process: UInt64 = 0, host: String = "", port: UInt16 = 0
    ) {
        self.versions = versions
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.boot = boot
        self.durableIndex = durableIndex
        self.durableTerm = durableTerm
        self.featureLevel = featureLevel
        self.link = link
        self.process = process
        self.host = host
        self.port = port
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
        writer.u8(self.link.rawValue)
        writer.u64(self.process)
        writer.u16(self.port)
        writer.string(self.host)
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
        guard let link = PeerLinkKind(rawValue: try reader.u8()) else { throw .unknown("link") }
        self.link = link
        self.process = try reader.u64()
        self.port = try reader.u16()
        self.host = try reader.string(atMost: Self.hostBytesMax)
        guard !self.node.isEmpty, self.boot > 0, self.incarnation.raw != 0 else {
            throw .outOfRange("hello")
        }
    }

    /// Why `peer` may not speak to us; nil: it may.
    ///
    /// - Parameter memory: what disks have shown us before.
    package func refusal(of peer: Hello, memory: PeerMemory) -> Refusal? {
        if !self.versions.overlaps(peer.versions) { return .version(peer.versions) }
        if peer.featureLevel < Self.featureLevelWritten { return .featureLevel(peer.featureLevel) }
        if self.cluster.raw != 0, peer.cluster.raw != 0, peer.cluster != self.cluster {
            return .otherCluster(peer.cluster)
        }
        if peer.node == self.node { return .ourName }
        return memory.admits(peer.shown) ? nil : .rolledBack
    }

    /// What it says of the sender's disk.
    package var shown: PeerMemory.Shown {
        PeerMemory.Shown(
            incarnation: self.incarnation, boot: self.boot, term: self.durableTerm,
            index: self.durableIndex, process: self.process)
    }

    /// Whether a program said this that is dead, now that `later` is said: the same disk was
    /// started again. A program counts a boot for each of its sessions; its links are one life.
    package func isEarlierStart(than later: Hello) -> Bool {
        let isSameLife =
            self.process != 0 && self.process == later.process
            && self.incarnation == later.incarnation
        return self.boot < later.boot && !isSameLife
    }

    package enum Refusal: Hashable, Sendable {
        case version(ClosedRange<UInt16>)
        case featureLevel(UInt32)
        case otherCluster(ClusterID)
        case ourName
        case rolledBack

        /// The sentence that the peer and the operator read.
        package var sentence: String {
            switch self {
            case .version(let theirs):
                "we speak protocol versions \(Hello.spoken), you speak \(theirs)"
            case .featureLevel(let theirs):
                "what we write needs feature level \(Hello.featureLevelWritten), you have \(theirs)"
            case .otherCluster(let id): "you belong to another cluster (\(Base32.text(id.raw)))"
            case .ourName: "you bear this node's own name"
            case .rolledBack: "this disk was rolled back or copied"
            }
        }
        /// For metrics.
        package var label: StaticString {
            switch self {
            case .version: "version"
            case .featureLevel: "feature_level"
            case .otherCluster: "other_cluster"
            case .ourName: "our_name"
            case .rolledBack: "rolled_back"
            }
        }
    }
}
