// Founding.swift - how a cluster begins, and how a node with an empty disk comes into it.
//
// Takes     letters of peers, the news that the record is synced, that the cluster has a leader,
//           that a peer is not reached any more, and ticks.
// Gives     at most one founding record to store, ever; then `.start` or `.join`, once a start.
// Founds    the first of the seeds, alone, and only while every other seed says at once: I answer
//           this start of yours, I am empty, my list of seeds is yours, and I know the very disks
//           that you know. So nobody holds another record, and nobody can get one any more: who
//           could have sent one is known to be gone, its letters are not fresh (FoundingLetter).
// Durable   a record is synced before it is answered, acted upon, or handed to anyone.
// Lost      a founder that lost its disk refuses a founding that names the old one, and is invited
//           once the majority that holds the record has a leader. If a majority is gone, it says so
//           and waits for a person: what looks like nothing may be what is left of a cluster.
// Limits    `peersMax` peers; one letter in answer to one.
// See       Docs/Decisions/0015-founding.md; FoundingTests, FoundingExplorationTests.

package import Primitives
package import Raft

package struct Founding: Hashable, Sendable {
    /// An empty node speaks to its seeds this often.
    package static let announceInterval = Duration.seconds(1)
    /// Waiting is said this often.
    package static let sayInterval = Duration.seconds(10)
    /// Peers that are remembered: the seeds first, then who speaks first.
    package static let peersMax = 256
    /// Disks that are told apart under one name in one start.
    package static let disksMax = 16

    /// What this node is at its start.
    package struct Own: Hashable, Sendable {
        package var name: NodeName
        package var incarnation: Incarnation
        package var boot: BootNumber
        /// As the disk has it; nil: none.
        package var record: FoundingRecord?
        /// The disk has entries of the log or a checkpoint: there was a leader once.
        package var hasLog: Bool
        /// Drawn at random in this start; the cluster's id if this start founds it. Not 0.
        package var draw: ClusterID

        /// - Parameter cluster: of the identity; of a directory that was a cluster of one it is
        ///   known without a record, and the node is that cluster's only founder.
        package init(
            name: NodeName, incarnation: Incarnation, boot: BootNumber, cluster: ClusterID,
            record: FoundingRecord?, hasLog: Bool, draw: ClusterID
        ) {
            let own = FoundingRecord.Member(name: name, incarnation: incarnation)
            self.name = name
            self.incarnation = incarnation
            self.boot = boot
            self.record =
                record
                ?? (cluster.raw == 0 ? nil : FoundingRecord(cluster: cluster, members: [own]))
            self.hasLog = hasLog
            self.draw = draw
            invariant(!hasLog || self.record != nil, "storage refuses a log of no cluster")
            invariant(draw.raw != 0, "a cluster's id is not 0")
        }

        var member: FoundingRecord.Member {
            FoundingRecord.Member(name: self.name, incarnation: self.incarnation)
        }
    }

    package enum Action: Hashable, Sendable {
        /// Sync it, THEN call `stored`. Ended by the process's end alone.
        case store(FoundingRecord)
        /// May be lost, repeated, and come in any order.
        case send(to: NodeName, FoundingLetter)
        /// Run as a voter of `record.configuration`. The record is synced.
        case start(FoundingRecord)
        /// Run outside of `record.configuration` until the leader takes this node in. The record
        /// is synced. `via` is a member; nil: this start has heard none yet.
        case join(FoundingRecord, via: NodeName?)
        case say(FoundingWait)
        /// This node has refused what the named one sent. It is told.
        case refuse(NodeName, FoundingRefusal)
        /// The named one has refused the founding.
        case refused(NodeName, FoundingRefusal)
    }

    private enum State: Hashable {
        case empty
        /// A promise under way: no longer empty, not yet to be relied on.
        case storing(FoundingRecord, asker: NodeName?)
        case member(FoundingRecord)
    }

    private struct Peer: Hashable {
        var name: NodeName
        /// The disks that spoke under this name, in the order in which they were first heard.
        var met: [Incarnation] = []
        /// The last of them that has brought our token back: those before it are gone.
        var proven: Int?
        /// Who spoke last: who is spoken to.
        var heard = Incarnation.none
        /// What `heard` gave us.
        var token: FoundingToken?

        /// The disk that is known to be there; 0: none.
        var incarnation: Incarnation { self.proven.map { self.met[$0] } ?? .none }
        /// Its newest fresh words, while it is reached and this node waits.
        var words: FoundingLetter.Announcement?
    }

    private let own: Own
    private let seeds: SeedList
    private var state: State
    private var peers: [Peer]
    /// The cluster has or had a leader: a majority stands behind the record.
    private var works: Bool
    private var announceAt: Instant
    private var sayAt: Instant
    /// Letters of disks that are gone, and of those beyond `peersMax` and `disksMax`.
    package private(set) var dropped: UInt64 = 0

    package init(_ own: Own, seeds: SeedList, now: Instant) {
        invariant(seeds.seeds.count <= FoundingRecord.membersMax, "settings limit the seeds")
        self.own = own
        self.seeds = seeds
        self.state = own.record.map { .member($0) } ?? .empty
        self.peers = seeds.names.filter { $0 != own.name }.map { Peer(name: $0) }
        self.works = own.hasLog
        self.announceAt = now
        self.sayAt = now + Self.sayInterval
    }

    // MARK: Events.

    /// The first, and only once.
    package mutating func begin() -> [Action] {
        switch self.state {
        case .member(let record): [self.enter(record, via: nil)]
        case .empty, .storing: self.found()
        }
    }

    /// At `nextTick` at the latest; more often does no harm.
    package mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        if now >= self.announceAt {
            self.announceAt = now + Self.announceInterval
            // Members need not speak first: whoever is empty asks.
            if case .empty = self.state {
                for peer in self.peers where self.seeds.place(of: peer.name) != nil {
                    actions.append(self.announcement(to: peer))
                }
            }
        }
        if now >= self.sayAt {
            self.sayAt = now + Self.sayInterval
            if let wait = self.wait { actions.append(.say(wait)) }
        }
        return actions
    }

    /// `distantFuture`: the cluster works, there is nothing left to do but to answer.
    package var nextTick: Instant {
        switch self.state {
        case .empty: min(self.announceAt, self.sayAt)
        case .storing, .member: self.works ? .distantFuture : self.sayAt
        }
    }

    package mutating func receive(_ letter: FoundingLetter) -> [Action] {
        let sender = letter.token.incarnation
        guard letter.from != self.own.name, let place = self.place(of: letter.from),
            let met = self.meet(sender, at: place)
        else {
            self.dropped += 1
            return []
        }
        let isNewToken = self.keep(letter.token, of: place)
        guard letter.echo == self.token(for: sender) else {
            // It does not know this start of ours, or is not who speaks under this name now.
            return [self.announcement(to: self.peers[place])]
        }
        var actions = self.prove(met, at: place)
        switch letter.body {
        case .announce(let words):
            self.remember(words, of: place)
            actions += self.heard(words, from: self.peers[place])
        case .found(let record): actions += self.take(record, from: self.peers[place])
        case .invite(let record):
            actions += self.accept(invitation: record, from: self.peers[place])
        case .answer(let cluster, let refusal):
            actions += self.note(cluster, refusal, from: place)
        }
        // It waits for its token to come back.
        if isNewToken, actions.isEmpty { actions.append(self.announcement(to: self.peers[place])) }
        return actions
    }

    /// The record of `.store` is synced.
    package mutating func stored() -> [Action] {
        guard case .storing(let record, let asker) = self.state else {
            unreachable("nothing is being stored")
        }
        self.state = .member(record)
        var actions = [self.enter(record, via: asker)]
        for peer in self.peers {
            if peer.name == asker {
                actions.append(self.send(.answer(cluster: record.cluster, nil), to: peer))
            } else if let words = peer.words, words.isEmpty {
                actions += self.offer(to: peer)
            }
        }
        return actions
    }

    /// There is a leader of this cluster: from now on others are invited.
    package mutating func clusterWorks() {
        guard case .member = self.state else { unreachable("only members see a leader") }
        self.works = true
        for place in self.peers.indices { self.peers[place].words = nil }
    }

    /// No connection leads to `name` any more: what it said is not what it says.
    package mutating func lost(_ name: NodeName) {
        guard let place = self.peers.firstIndex(where: { $0.name == name }) else { return }
        self.peers[place].words = nil
    }

    // MARK: Peers.

    private mutating func place(of name: NodeName) -> Int? {
        if let known = self.peers.firstIndex(where: { $0.name == name }) { return known }
        guard self.peers.count < Self.peersMax else { return nil }
        self.peers.append(Peer(name: name))
        return self.peers.count - 1
    }

    /// Where `incarnation` stands among the disks of this name; nil: it is gone, or one too many.
    private mutating func meet(_ incarnation: Incarnation, at place: Int) -> Int? {
        let peer = self.peers[place]
        if let met = peer.met.firstIndex(of: incarnation) {
            return met < peer.proven ?? 0 ? nil : met
        }
        guard peer.met.count < Self.disksMax else { return nil }
        self.peers[place].met.append(incarnation)
        return peer.met.count
    }

    /// Whether it is a token that was not known.
    private mutating func keep(_ token: FoundingToken, of place: Int) -> Bool {
        let known = self.peers[place].token
        let isOtherDisk = self.peers[place].heard != token.incarnation
        self.peers[place].heard = token.incarnation
        if isOtherDisk { self.peers[place].token = nil }
        guard token.bearer == self.own.incarnation else { return false }
        if !isOtherDisk, let known, known.boot > token.boot { return false }
        self.peers[place].token = token
        return token != known
    }

    /// This disk is there: those that were met before it are gone.
    private mutating func prove(_ met: Int, at place: Int) -> [Action] {
        guard self.peers[place].proven != met else { return [] }
        self.peers[place].proven = met
        self.peers[place].words = nil
        // The founder waits for all to know the same disks.
        guard case .empty = self.state, !self.isFounder else { return [] }
        guard let founder = self.peers.first(where: { $0.name == self.seeds.names.first }) else {
            return []
        }
        return [self.announcement(to: founder)]
    }

    private mutating func remember(_ words: FoundingLetter.Announcement, of place: Int) {
        // For who waits: a member of a cluster that works does not.
        if self.works { return }
        self.peers[place].words = words
        // Whether all know the same disks is the founder's to judge.
        if !self.isFounder { self.peers[place].words?.view = [] }
    }

    private var isFounder: Bool { self.own.name == self.seeds.names.first }

    private func token(for bearer: Incarnation) -> FoundingToken {
        FoundingToken(incarnation: self.own.incarnation, boot: self.own.boot, bearer: bearer)
    }

    private func send(_ body: FoundingLetter.Body, to peer: Peer) -> Action {
        .send(
            to: peer.name,
            FoundingLetter(
                from: self.own.name, token: self.token(for: peer.heard), echo: peer.token,
                body: body))
    }

    private func announcement(to peer: Peer) -> Action {
        let (cluster, isEmpty) =
            switch self.state {
            case .empty: (ClusterID(raw: 0), true)
            case .storing: (ClusterID(raw: 0), false)
            case .member(let record): (record.cluster, false)
            }
        return self.send(
            .announce(
                FoundingLetter.Announcement(
                    cluster: cluster, isEmpty: isEmpty, seeds: self.seeds, view: self.view)),
            to: peer)
    }

    /// The disks of all seeds, as far as this node knows them.
    private var view: [Incarnation] {
        self.seeds.names.map { self.known($0) }
    }

    private func known(_ name: NodeName) -> Incarnation {
        if name == self.own.name { return self.own.incarnation }
        return self.peers.first { $0.name == name }?.incarnation ?? .none
    }

    // MARK: Founding.

    private mutating func heard(
        _ words: FoundingLetter.Announcement, from peer: Peer
    ) -> [Action] {
        switch self.state {
        case .empty: self.found()
        case .member where words.isEmpty: self.offer(to: peer)
        case .member, .storing: []
        }
    }

    /// Founds, if this is the founder and all that it takes is there.
    private mutating func found() -> [Action] {
        guard self.isFounder else { return [] }
        for seed in self.seeds.names where seed != self.own.name {
            if self.obstacle(at: seed) != nil { return [] }
        }
        let members = zip(self.seeds.names, self.view).map {
            FoundingRecord.Member(name: $0, incarnation: $1)
        }
        let record = FoundingRecord(cluster: self.own.draw, members: members)
        // Two disks with one incarnation are copies: each waits until one of them is emptied.
        guard record.isSound else { return [] }
        self.state = .storing(record, asker: nil)
        return [.store(record)]
    }

    /// Why an empty node cannot found with this seed; nil: it can.
    private func obstacle(at name: NodeName) -> FoundingWait.Reason? {
        guard let words = self.peers.first(where: { $0.name == name })?.words else {
            return .notReached
        }
        if words.cluster.raw != 0 { return .inCluster(words.cluster) }
        if !words.isEmpty { return .storing }
        if words.seeds != self.seeds {
            return .otherSeeds(difference: self.seeds.difference(to: words.seeds))
        }
        guard self.isFounder else { return nil }
        let others = zip(self.seeds.names, zip(self.view, words.view)).filter { $1.0 != $1.1 }
        return others.isEmpty ? nil : .seesOthers(others.map(\.0))
    }

    /// What an empty node gets from a member.
    private func offer(to peer: Peer) -> [Action] {
        guard case .member(let record) = self.state else { return [] }
        if record.names(.init(name: peer.name, incarnation: peer.incarnation)) {
            return [self.send(.found(record), to: peer)]
        }
        // Before there is a leader the record may be one that never comes to anything.
        return [self.works ? self.send(.invite(record), to: peer) : self.announcement(to: peer)]
    }

    private mutating func take(_ record: FoundingRecord, from peer: Peer) -> [Action] {
        switch self.state {
        case .empty:
            guard record.names(self.own.member) else {
                return self.refuse(.otherIncarnation(self.own.incarnation), record, peer)
            }
            guard record.members.map(\.name) == self.seeds.names else {
                return self.refuse(.otherSeeds, record, peer)
            }
            self.state = .storing(record, asker: peer.name)
            return [.store(record)]
        case .storing(let held, _):
            return held == record ? [] : self.refuse(.otherCluster(held.cluster), record, peer)
        case .member(let held):
            guard held == record else {
                return self.refuse(.otherCluster(held.cluster), record, peer)
            }
            return [self.send(.answer(cluster: held.cluster, nil), to: peer)]
        }
    }

    private mutating func accept(
        invitation record: FoundingRecord, from peer: Peer
    ) -> [Action] {
        switch self.state {
        case .empty:
            let other = self.peers.lazy.compactMap { $0.words?.cluster }
                .first { $0.raw != 0 && $0 != record.cluster }
            if let other { return self.refuse(.peersDisagree(other), record, peer) }
            self.state = .storing(record, asker: peer.name)
            return [.store(record)]
        case .storing(let held, _), .member(let held):
            return held == record ? [] : self.refuse(.otherCluster(held.cluster), record, peer)
        }
    }

    private func refuse(
        _ refusal: FoundingRefusal, _ record: FoundingRecord, _ peer: Peer
    ) -> [Action] {
        [
            self.send(.answer(cluster: record.cluster, refusal), to: peer),
            .refuse(peer.name, refusal),
        ]
    }

    private mutating func note(
        _ cluster: ClusterID, _ refusal: FoundingRefusal?, from place: Int
    ) -> [Action] {
        if let refusal { return [.refused(self.peers[place].name, refusal)] }
        self.peers[place].words?.cluster = cluster
        self.peers[place].words?.isEmpty = false
        return []
    }

    private func enter(_ record: FoundingRecord, via: NodeName?) -> Action {
        record.names(self.own.member) ? .start(record) : .join(record, via: via)
    }

    // MARK: Waiting.

    /// Nil: there is nothing to wait for.
    package var wait: FoundingWait? {
        switch self.state {
        case .empty: self.waitForFounding()
        case .storing: nil
        case .member(let record): self.works ? nil : self.waitForMajority(record)
        }
    }

    private func waitForFounding() -> FoundingWait {
        let missing = self.seeds.names.filter { $0 != self.own.name }.compactMap { name in
            self.obstacle(at: name).map { FoundingWait.Missing(name, $0) }
        }
        if self.isFounder { return FoundingWait(.toFound, missing) }
        guard let founder = self.seeds.names.first, self.seeds.place(of: self.own.name) != nil
        else {
            // What the seeds think of each other is theirs to say.
            return FoundingWait(.forCluster, missing.filter { $0.reason == .notReached })
        }
        return FoundingWait(.forFounder(founder), missing)
    }

    private func waitForMajority(_ record: FoundingRecord) -> FoundingWait {
        var missing: [FoundingWait.Missing] = []
        var lost = 0
        for member in record.members where member.name != self.own.name {
            let peer = self.peers.first { $0.name == member.name }
            let known = peer?.incarnation ?? .none
            let cluster = peer?.words?.cluster
            if known != .none, known != member.incarnation {
                lost += 1
                missing.append(FoundingWait.Missing(member.name, .lostDisk))
            } else if let cluster, cluster.raw != 0, cluster != record.cluster {
                missing.append(FoundingWait.Missing(member.name, .otherCluster(cluster)))
            } else if cluster == nil {
                missing.append(FoundingWait.Missing(member.name, .notReached))
            } else if cluster != record.cluster {
                missing.append(FoundingWait.Missing(member.name, .notStored))
            }
        }
        if !record.names(self.own.member), record.incarnation(of: self.own.name) != nil {
            lost += 1
        }
        let majority = Quorum.majority(of: record.members.count)
        return FoundingWait(
            .forMajority(record.cluster), missing,
            isHopeless: record.members.count - lost < majority)
    }
}
