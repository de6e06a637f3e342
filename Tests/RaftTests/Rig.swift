// Rig.swift - a group of members in one process: a queue of messages, disks, crashes.
//
// Takes     what a test says happens: who campaigns, what arrives, what is lost, who dies.
// Gives     facts of each member; a recorded issue when two members disagree on a decided entry
//           or one term has two leaders.
// Never     time or dice: every message waits until the test lets it through.

import Primitives
import Testing

@testable import Raft

extension Incarnation: ExpressibleByIntegerLiteral {
    public init(integerLiteral value: UInt64) { self.init(raw: value) }
}

final class Rig {
    private(set) var nodes: [RigNode] = []
    /// On their way, in the order in which they left.
    private(set) var net: [Message] = []
    /// From whom to whom nothing passes.
    private var cuts: Set<[MemberID]> = []
    private var decided: [UInt64: Entry] = [:]
    private var leaders: [UInt64: MemberID] = [:]

    /// - Parameter others: machines that are no members yet. They know the founders: no entry
    ///   of the log says who those are.
    init(
        voters: [MemberID], learners: [MemberID] = [], others: [MemberID] = [],
        _ change: (inout Options) -> Void = { _ in }
    ) {
        let configuration = Configuration(voters: voters, learners: learners)
        for id in voters + learners + others {
            var options = Options(id: id)
            options.electionTicks = 10
            options.electionSpreadTicks = 10
            options.heartbeatTicks = 2
            change(&options)
            self.nodes.append(RigNode(options, configuration))
        }
    }

    /// Member `id` begins anew with this past: an entry for each of `terms`, in order.
    func seed(
        _ id: MemberID, terms: [UInt64], term: UInt64, vote: MemberID = .none, commit: UInt64 = 0
    ) throws {
        let place = self.place(id)
        let state = HardState(term: term, vote: vote, commit: commit)
        self.nodes[place].disk.journal = terms.enumerated().map { at, term in
            .entry(.at(UInt64(at + 1), term, "\(term).\(at + 1)"))
        }
        self.nodes[place].disk.journal.append(.hardState(state))
        self.crash(id)
        try self.restart(id)
    }

    // MARK: Facts.

    private func place(_ id: MemberID) -> Int {
        guard let at = self.nodes.firstIndex(where: { $0.id == id }) else {
            unreachable("no machine \(id)")
        }
        return at
    }

    subscript(_ id: MemberID) -> Raft { self.nodes[self.place(id)].replica.raft }
    func node(_ id: MemberID) -> RigNode { self.nodes[self.place(id)] }
    func texts(_ id: MemberID) -> [String] { self.nodes[self.place(id)].texts }

    /// The entries that member `id` has, `term:text`, changes as `term:*`.
    func log(_ id: MemberID) -> [String] { Self.log(self[id]) }

    static func log(_ raft: Raft) -> [String] {
        guard raft.lastIndex >= raft.firstIndex else { return [] }
        return raft.log.slice(raft.firstIndex...raft.lastIndex, bytesMax: .max).map {
            "\($0.term):" + ($0.kind == .normal ? String(decoding: $0.data, as: UTF8.self) : "*")
        }
    }

    var leader: MemberID? {
        self.nodes.filter { $0.isUp && $0.replica.raft.role == .leader }
            .max { $0.replica.raft.term < $1.replica.raft.term }?.id
    }

    // MARK: Events at one member. Each ends with its turn.

    @discardableResult
    func at(_ id: MemberID, _ event: (inout Replica) throws -> Void) rethrows -> [Replica.Action] {
        let place = self.place(id)
        invariant(self.nodes[place].isUp, "\(id) is down")
        defer { self.watch(place) }
        do {
            try event(&self.nodes[place].replica)
        } catch {
            self.collect(place)
            throw error
        }
        return self.collect(place)
    }

    @discardableResult
    private func collect(_ place: Int) -> [Replica.Action] {
        var all: [Replica.Action] = []
        while true {
            let actions = self.nodes[place].turn()
            for case .send(let message) in actions { self.net.append(message) }
            all += actions
            let id = self.nodes[place].id
            let moved = self.nodes[place].work { entry in self.decide(entry, by: id) }
            if !moved && actions.isEmpty { return all }
        }
    }

    func campaign(_ id: MemberID) { self.at(id) { $0.campaign() } }

    /// - Parameter random: 9 draws the longest election timeout, 19 ticks; 0 the shortest, 10.
    func tick(_ id: MemberID, _ count: Int = 1, random: UInt64 = 9) {
        for _ in 0..<count { self.at(id) { $0.tick(random: random) } }
    }

    func propose(_ id: MemberID, _ text: String) throws {
        try self.at(id) { try $0.propose([Entry(data: Array(text.utf8))]) }
    }

    func change(
        _ id: MemberID, _ transition: Transition = .auto, _ changes: MemberChange...
    ) throws {
        let change = ConfigurationChange(transition: transition, changes)
        try self.at(id) { try $0.propose([change.entry()]) }
    }

    // MARK: Messages.

    private func passes(_ message: Message) -> Bool {
        guard let to = self.nodes.first(where: { $0.id == message.to }) else { return false }
        return to.isUp && !self.cuts.contains([message.from, message.to])
    }

    /// Takes messages out of the queue: they are the test's now.
    @discardableResult
    func take(_ isMeant: (Message) -> Bool = { _ in true }) -> [Message] {
        let taken = self.net.filter(isMeant)
        self.net.removeAll(where: isMeant)
        return taken
    }

    /// Lets a message arrive; it may have been taken before, or come twice.
    func arrive(_ message: Message) {
        guard self.passes(message) else { return }
        // A member that is told nonsense by an old message refuses it: that is its business here.
        _ = try? self.at(message.to) { try $0.step(message) }
    }

    /// One pass over the queue: those that are meant arrive, in order.
    func deliver(_ isMeant: (Message) -> Bool = { _ in true }) {
        for message in self.take(isMeant) { self.arrive(message) }
    }

    /// Until nothing is on its way.
    func settle() {
        var passes = 0
        while !self.net.isEmpty {
            passes += 1
            guard passes < 1000 else {
                Issue.record("messages without an end")
                return
            }
            self.deliver()
        }
    }

    /// The same, but what is meant is set aside.
    func settle(except aside: inout [Message], _ isMeant: (Message) -> Bool) {
        repeat {
            aside += self.take(isMeant)
            self.deliver()
            aside += self.take(isMeant)
        } while !self.net.isEmpty
    }

    /// Elects `id` and settles. It may have to learn the present term first.
    func elect(_ id: MemberID) {
        for _ in 0..<2 where self[id].role != .leader {
            // Whoever hears a leader refuses: so that nobody does, time passes.
            for node in self.nodes where node.isUp && node.id != id { self.quiet(node.id) }
            self.campaign(id)
            self.settle()
        }
        #expect(self[id].role == .leader)
    }

    /// Member `id` has heard no leader for the shortest election timeout; its own is the longest.
    func quiet(_ id: MemberID) {
        for _ in 0..<self[id].options.electionTicks
        where self[id].role != .leader && self[id].electionElapsed < self[id].options.electionTicks
        {
            self.tick(id)
        }
    }

    // MARK: Faults.

    func cut(_ a: MemberID, _ b: MemberID) {
        self.cuts.insert([a, b])
        self.cuts.insert([b, a])
    }

    /// What `from` sends to `to` is lost; the other way is open.
    func silence(from: MemberID, to: MemberID) { self.cuts.insert([from, to]) }

    func isolate(_ id: MemberID) {
        for node in self.nodes where node.id != id { self.cut(id, node.id) }
    }

    func heal() { self.cuts = [] }

    /// What is not on the disk is lost; what is on its way stays on its way.
    func crash(_ id: MemberID) { self.nodes[self.place(id)].crash() }

    func restart(_ id: MemberID) throws {
        let place = self.place(id)
        try self.nodes[place].restart()
        self.collect(place)
        self.watch(place)
    }

    func hold(_ id: MemberID, stores: Bool? = nil, applies: Bool? = nil) {
        let place = self.place(id)
        if let stores { self.nodes[place].holdsStores = stores }
        if let applies { self.nodes[place].holdsApplies = applies }
        guard self.nodes[place].isUp else { return }
        self.collect(place)
        self.watch(place)
    }

    /// Ends the oldest store, though stores are held.
    func storeOne(_ id: MemberID) {
        let place = self.place(id)
        self.nodes[place].storeOne()
        self.collect(place)
        self.watch(place)
    }

    /// A checkpoint at the applied index; the log before it may go.
    func checkpoint(_ id: MemberID, compacts: Bool = true) {
        let place = self.place(id)
        self.nodes[place].checkpoint(compacts: compacts)
        self.collect(place)
    }

    // MARK: What must always hold.

    private func decide(_ entry: Entry, by id: MemberID) {
        guard let known = self.decided[entry.index] else {
            self.decided[entry.index] = entry
            return
        }
        if known != entry {
            Issue.record("\(id.raw) applied \(entry) where \(known) was applied before")
        }
    }

    private func watch(_ place: Int) {
        let raft = self.nodes[place].replica.raft
        guard raft.role == .leader else { return }
        let known = self.leaders[raft.term]
        if let known, known != raft.id {
            Issue.record("term \(raft.term) is led by \(known.raw) and \(raft.id.raw)")
        }
        self.leaders[raft.term] = raft.id
    }
}
