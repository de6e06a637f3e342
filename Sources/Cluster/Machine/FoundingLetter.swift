// FoundingLetter.swift - what nodes say to each other until there is a cluster.
//
// Takes     bytes of a peer whose name its certificate has proved.
// Gives     letters; a CodecError for bytes that are none.
// Fresh     a letter counts only if it brings back the token that this start of its receiver has
//           given to this very sender, and if no other disk that was met later under the same name
//           has done so. A dead process gets no token, so what it left behind is known for what it
//           is, in whatever order it arrives.
// Limits    `FoundingRecord.membersMax` seeds, `SeedList.addressBytesMax` bytes an address.
// Standard  Docs/PeerProtocol.md, "Founding".

package import Primitives
package import Raft

/// `cluster.seeds`, as this node's file has it.
package struct SeedList: Hashable, Sendable {
    package struct Seed: Hashable, Sendable {
        package var name: NodeName
        /// Host and port, as written.
        package var address: String
        package init(name: NodeName, address: String) {
            self.name = name
            self.address = address
        }
        var text: String { "\(self.name)@\(self.address)" }
    }

    /// A host name of 253 bytes, brackets and a port.
    package static let addressBytesMax = 320

    package var seeds: [Seed]

    package init(_ seeds: [Seed]) { self.seeds = seeds }

    package var names: [NodeName] { self.seeds.map(\.name) }
    package func place(of name: NodeName) -> Int? { self.seeds.firstIndex { $0.name == name } }

    /// To compare by eye; the lists themselves are compared by the machine.
    package var digest: UInt64 {
        var hash = StableHash()
        for seed in self.seeds {
            hash.add(seed.name)
            hash.add(seed.address)
        }
        return hash.value
    }

    /// What `other` has and this one has not, and the reverse; of equal members the order.
    package func difference(to other: SeedList) -> String {
        let more = other.seeds.filter { !self.seeds.contains($0) }.map { "names \($0.text)" }
        let less = self.seeds.filter { !other.seeds.contains($0) }.map { "lacks \($0.text)" }
        if more.isEmpty && less.isEmpty { return "has another order" }
        return (more + less).joined(separator: ", ")
    }
}

/// Proves that its bearer has heard this start of the node that gave it out.
package struct FoundingToken: Hashable, Sendable {
    /// Of who gave it out.
    package var incarnation: Incarnation
    package var boot: BootNumber
    /// Whom it was given to; 0: nobody, no letter of the receiver was heard yet.
    package var bearer: Incarnation
    package init(incarnation: Incarnation, boot: BootNumber, bearer: Incarnation) {
        self.incarnation = incarnation
        self.boot = boot
        self.bearer = bearer
    }
}

/// Why a node does not take what it was sent. The raw values stand in letters.
package enum FoundingRefusal: Hashable, Sendable {
    /// The refuser belongs to this cluster, or is about to.
    case otherCluster(ClusterID)
    /// The record names another disk under the refuser's name; its own is this.
    case otherIncarnation(Incarnation)
    /// The record's members are not the refuser's seeds.
    case otherSeeds
    /// Another peer belongs to this other cluster: which one to join is not the node's to choose.
    case peersDisagree(ClusterID)

    package var sentence: String {
        switch self {
        case .otherCluster(let id): "it belongs to cluster \(Base32.text(id.raw))"
        case .otherIncarnation(let own):
            "the founding names another disk of it (its own is \(Base32.text(own.raw)))"
        case .otherSeeds: "its list of seeds has other names or another order"
        case .peersDisagree(let id):
            "another of its peers belongs to cluster \(Base32.text(id.raw))"
        }
    }
    /// For metrics.
    package var label: StaticString {
        switch self {
        case .otherCluster: "other_cluster"
        case .otherIncarnation: "other_incarnation"
        case .otherSeeds: "other_seeds"
        case .peersDisagree: "peers_disagree"
        }
    }
}

package struct FoundingLetter: Hashable, Sendable {
    package struct Announcement: Hashable, Sendable {
        /// 0: none.
        package var cluster: ClusterID
        /// No cluster, no log, and no founding record that is being stored.
        package var isEmpty: Bool
        package var seeds: SeedList
        /// The incarnation that the sender knows of each of its seeds, itself included; 0: none.
        package var view: [Incarnation]
        package init(cluster: ClusterID, isEmpty: Bool, seeds: SeedList, view: [Incarnation]) {
            self.cluster = cluster
            self.isEmpty = isEmpty
            self.seeds = seeds
            self.view = view
        }
    }

    package enum Body: Hashable, Sendable {
        case announce(Announcement)
        /// You are a voter of this.
        case found(FoundingRecord)
        /// This cluster works, and you are not of its founders: join it.
        case invite(FoundingRecord)
        /// Nil: it is synced here.
        case answer(cluster: ClusterID, FoundingRefusal?)
    }

    /// Of an encoded letter: 64 seeds with the longest names and addresses take 38 KB.
    package static let bytesMax = 64 << 10

    package var from: NodeName
    /// What the receiver is to bring back; names the sender's incarnation.
    package var token: FoundingToken
    /// The token of the receiver that the sender got last; nil: none.
    package var echo: FoundingToken?
    package var body: Body

    package init(from: NodeName, token: FoundingToken, echo: FoundingToken?, body: Body) {
        self.from = from
        self.token = token
        self.echo = echo
        self.body = body
    }
}

extension FoundingLetter {
    package func encode(into writer: inout ByteWriter) {
        writer.string(self.from)
        Self.write(&writer, self.token)
        writer.optional(self.echo, Self.write)
        switch self.body {
        case .announce(let words):
            writer.u8(1)
            writer.u64(words.cluster.raw)
            writer.bool(words.isEmpty)
            writer.varint(words.seeds.seeds.count)
            for (i, seed) in words.seeds.seeds.enumerated() {
                writer.string(seed.name)
                writer.string(seed.address)
                writer.u64(words.view[i].raw)
            }
        case .found(let record):
            writer.u8(2)
            record.encode(into: &writer)
        case .invite(let record):
            writer.u8(3)
            record.encode(into: &writer)
        case .answer(let cluster, let refusal):
            writer.u8(4)
            writer.u64(cluster.raw)
            writer.optional(refusal) { writer, refusal in
                let (kind, value) = refusal.raw
                writer.u8(kind)
                writer.u64(value)
            }
        }
    }

    /// A letter and nothing behind it.
    package init(_ bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        self = try FoundingLetter(from: &reader)
        try reader.finish()
    }

    private init(from reader: inout ByteReader) throws(CodecError) {
        self.from = try reader.string(atMost: FoundingRecord.nameBytesMax)
        self.token = try Self.token(&reader)
        self.echo = try reader.optional(Self.token)
        switch try reader.u8() {
        case 1: self.body = .announce(try Self.announcement(&reader))
        case 2: self.body = .found(try FoundingRecord(from: &reader))
        case 3: self.body = .invite(try FoundingRecord(from: &reader))
        case 4:
            let cluster = ClusterID(raw: try reader.u64())
            let refusal = try reader.optional { reader throws(CodecError) in
                try FoundingRefusal(kind: try reader.u8(), value: try reader.u64())
            }
            self.body = .answer(cluster: cluster, refusal)
        case _: throw .unknown("founding letter")
        }
        guard !self.from.isEmpty else { throw .outOfRange("founding letter") }
    }

    private static func write(_ writer: inout ByteWriter, _ token: FoundingToken) {
        writer.u64(token.incarnation.raw)
        writer.u64(token.boot)
        writer.u64(token.bearer.raw)
    }

    private static func token(_ reader: inout ByteReader) throws(CodecError) -> FoundingToken {
        let token = FoundingToken(
            incarnation: Incarnation(raw: try reader.u64()), boot: try reader.u64(),
            bearer: Incarnation(raw: try reader.u64()))
        guard token.incarnation != .none, token.boot > 0 else { throw .outOfRange("token") }
        return token
    }

    private static func announcement(
        _ reader: inout ByteReader
    ) throws(CodecError) -> Announcement {
        var words = Announcement(
            cluster: ClusterID(raw: try reader.u64()), isEmpty: try reader.bool(),
            seeds: SeedList([]), view: [])
        for _ in 0..<(try reader.count(atMost: FoundingRecord.membersMax)) {
            let name = try reader.string(atMost: FoundingRecord.nameBytesMax)
            let address = try reader.string(atMost: SeedList.addressBytesMax)
            words.seeds.seeds.append(SeedList.Seed(name: name, address: address))
            words.view.append(Incarnation(raw: try reader.u64()))
        }
        guard !words.isEmpty || words.cluster.raw == 0 else { throw .outOfRange("emptiness") }
        return words
    }
}

extension FoundingRefusal {
    fileprivate var raw: (kind: UInt8, value: UInt64) {
        switch self {
        case .otherCluster(let id): (1, id.raw)
        case .otherIncarnation(let own): (2, own.raw)
        case .otherSeeds: (3, 0)
        case .peersDisagree(let id): (4, id.raw)
        }
    }

    fileprivate init(kind: UInt8, value: UInt64) throws(CodecError) {
        switch kind {
        case 1: self = .otherCluster(ClusterID(raw: value))
        case 2: self = .otherIncarnation(Incarnation(raw: value))
        case 3: self = .otherSeeds
        case 4: self = .peersDisagree(ClusterID(raw: value))
        case _: throw .unknown("refusal of a founding")
        }
    }
}
