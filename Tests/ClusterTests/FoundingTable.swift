// FoundingTable.swift - nodes whose letters arrive at once, for traces of a founding.

import Cluster
import Primitives
import Raft

/// Nodes around a table: letters arrive at once, unless a test holds them.
struct FoundingTable {
    static let now = Instant(nanoseconds: 1_000_000_000)
    static let list = FoundingTable.list(["a", "b", "c"])

    static func list(_ names: [String]) -> SeedList {
        SeedList(names.map { SeedList.Seed(name: $0, address: "192.0.2.1:7650") })
    }

    static func own(
        _ name: String, _ incarnation: UInt64, boot: UInt64 = 1, cluster: UInt64 = 0,
        record: FoundingRecord? = nil, hasLog: Bool = false
    ) -> Founding.Own {
        Founding.Own(
            name: name, incarnation: Incarnation(raw: incarnation), boot: boot,
            cluster: ClusterID(raw: cluster), record: record, hasLog: hasLog,
            draw: ClusterID(raw: 1000 + incarnation))
    }

    static func record(_ cluster: UInt64, _ members: [(String, UInt64)]) -> FoundingRecord {
        FoundingRecord(
            cluster: ClusterID(raw: cluster),
            members: members.map {
                FoundingRecord.Member(name: $0.0, incarnation: Incarnation(raw: $0.1))
            })
    }

    private(set) var nodes: [(name: String, machine: Founding)] = []
    /// What was done, but for letters.
    private(set) var done: [String: [Founding.Action]] = [:]
    /// Letters that have arrived, in their order.
    private(set) var delivered: [(to: String, letter: FoundingLetter)] = []
    /// That have passed.
    private(set) var seconds = 0
    /// Letters to or from these are lost.
    var silent: Set<String> = []

    mutating func sit(_ own: Founding.Own, seeds: SeedList = Self.list) {
        var machine = Founding(own, seeds: seeds, now: Self.now)
        let actions = machine.begin()
        self.nodes.removeAll { $0.name == own.name }
        self.nodes.append((own.name, machine))
        self.perform(actions, own.name)
    }

    subscript(_ name: String) -> Founding {
        self.nodes.first { $0.name == name }!.machine
    }

    mutating func change(_ name: String, _ body: (inout Founding) -> [Founding.Action]) {
        guard let at = self.nodes.firstIndex(where: { $0.name == name }) else { return }
        let actions = body(&self.nodes[at].machine)
        self.perform(actions, name)
    }

    private mutating func perform(_ actions: [Founding.Action], _ name: String) {
        for action in actions {
            guard case .send(let to, let letter) = action else {
                self.done[name, default: []].append(action)
                continue
            }
            if self.silent.contains(name) || self.silent.contains(to) { continue }
            self.delivered.append((to, letter))
            self.change(to) { $0.receive(letter) }
        }
    }

    /// All that are not silent speak, as often as it takes to know each other.
    mutating func round() {
        for _ in 1...3 {
            self.seconds += 1
            let now = Self.now + .seconds(self.seconds)
            for name in self.nodes.map(\.name) where !self.silent.contains(name) {
                self.change(name) { $0.tick(now: now) }
            }
        }
    }

    func stores(_ name: String) -> [FoundingRecord] {
        self.done[name, default: []].compactMap {
            if case .store(let record) = $0 { record } else { nil }
        }
    }

    func starts(_ name: String) -> [FoundingRecord] {
        self.done[name, default: []].compactMap {
            if case .start(let record) = $0 { record } else { nil }
        }
    }

    func joins(_ name: String) -> [FoundingRecord] {
        self.done[name, default: []].compactMap {
            if case .join(let record, _) = $0 { record } else { nil }
        }
    }

    /// Syncs, whoever has something to sync.
    mutating func sync() {
        for name in self.nodes.map(\.name) {
            let (stored, entered) = (self.stores(name), self.starts(name) + self.joins(name))
            if let last = stored.last, !entered.contains(last) { self.change(name) { $0.stored() } }
        }
    }

    /// a, b and c, each with an empty disk.
    static func three() -> FoundingTable {
        var table = FoundingTable()
        table.sit(Self.own("a", 1))
        table.sit(Self.own("b", 2))
        table.sit(Self.own("c", 3))
        return table
    }

    static let founded = Self.record(1001, [("a", 1), ("b", 2), ("c", 3)])
}
