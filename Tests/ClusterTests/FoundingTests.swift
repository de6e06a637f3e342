// FoundingTests.swift - a cluster's beginning, sentence by sentence.

import Cluster
import Primitives
import Raft
import Testing

@Suite("First start of a cluster")
struct FoundingTests {
    @Test func `the founder acts only when all seeds answer`() {
        var table = FoundingTable.three()
        table.silent = ["c"]
        table.round()
        #expect(table.stores("a").isEmpty)
        #expect(
            table["a"].wait
                == FoundingWait(.toFound, [FoundingWait.Missing("c", .notReached)]))
        table.silent = []
        table.round()
        #expect(table.stores("a") == [FoundingTable.founded])
    }

    @Test func `a seed that is not reached any more does not count`() {
        var table = FoundingTable.three()
        table.silent = ["c"]
        table.round()
        table.silent = ["b"]
        table.change("a") { machine in
            machine.lost("b")
            return []
        }
        table.round()
        #expect(table.stores("a").isEmpty)
        #expect(
            table["a"].wait?.missing == [
                FoundingWait.Missing("b", .notReached),
                FoundingWait.Missing("c", .seesOthers(["b"])),
            ])
    }

    @Test func `the others never found, whatever they hear`() {
        var table = FoundingTable.three()
        table.silent = ["a"]
        table.round()
        #expect(table.stores("b").isEmpty && table.stores("c").isEmpty)
        #expect(
            table["b"].wait
                == FoundingWait(.forFounder("a"), [FoundingWait.Missing("a", .notReached)]))
    }

    @Test func `a seed that is not empty stops the founding`() {
        var table = FoundingTable.three()
        let other = FoundingTable.record(7, [("c", 3)])
        table.sit(FoundingTable.own("c", 3, record: other))
        table.round()
        #expect(table.stores("a").isEmpty)
        #expect(
            table["a"].wait?.missing
                == [FoundingWait.Missing("c", .inCluster(ClusterID(raw: 7)))])
    }

    @Test func `another list of seeds stops the founding, and the difference is named`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("c", 3), seeds: FoundingTable.list(["a", "b", "c", "d"]))
        table.round()
        #expect(table.stores("a").isEmpty)
        let difference = "names d@192.0.2.1:7650"
        #expect(
            table["a"].wait?.missing
                == [FoundingWait.Missing("c", .otherSeeds(difference: difference))])
        #expect(table["a"].wait?.sentence.contains(difference) == true)

        let (ours, turned) = (FoundingTable.list, FoundingTable.list(["b", "a", "c"]))
        #expect(ours.difference(to: turned) == "has another order")
        #expect(ours.digest != turned.digest)
        var moved = ours
        moved.seeds[0].address = "192.0.2.9:1"
        #expect(
            ours.difference(to: moved) == "names a@192.0.2.9:1, lacks a@192.0.2.1:7650")
    }

    @Test func `seeds that do not reach each other stop the founding`() throws {
        // b and c speak with a alone.
        var nodes = ["a": 1, "b": 2, "c": 3].mapValues {
            Founding(
                FoundingTable.own(["", "a", "b", "c"][$0], UInt64($0)), seeds: FoundingTable.list,
                now: FoundingTable.now)
        }
        var actions: [Founding.Action] = []
        for i in 1...3 {
            for name in ["a", "b", "c"] {
                var due = nodes[name]?.tick(now: FoundingTable.now + .seconds(i)) ?? []
                while !due.isEmpty {
                    guard case .send(let to, let letter) = due.removeFirst() else { continue }
                    if to != "a", letter.from != "a" { continue }
                    let answer = nodes[to]?.receive(letter) ?? []
                    if to == "a" { actions += answer }
                    due += answer
                }
            }
        }
        #expect(!actions.contains { if case .store = $0 { true } else { false } })
        #expect(
            nodes["a"]?.wait?.missing == [
                FoundingWait.Missing("b", .seesOthers(["c"])),
                FoundingWait.Missing("c", .seesOthers(["b"])),
            ])
    }

    @Test func `the founder stores first, each seed syncs before it answers or starts`() {
        var table = FoundingTable.three()
        table.round()
        #expect(table.stores("a") == [FoundingTable.founded])
        #expect(table.starts("a").isEmpty)
        #expect(table.stores("b").isEmpty && table.stores("c").isEmpty)
        table.round()
        #expect(table.stores("b").isEmpty, "nothing leaves before the founder has synced")
        table.change("a") { $0.stored() }
        #expect(table.starts("a") == [FoundingTable.founded])
        for name in ["b", "c"] {
            #expect(table.stores(name) == [FoundingTable.founded])
            #expect(table.starts(name).isEmpty)
        }
        let answers = { (table: FoundingTable) in
            table.delivered.count { if case .answer = $0.letter.body { true } else { false } }
        }
        #expect(answers(table) == 0)
        table.change("b") { $0.stored() }
        #expect(table.starts("b") == [FoundingTable.founded])
        #expect(answers(table) == 1)
        table.round()
        #expect(table.stores("b").count == 1 && table.stores("a").count == 1)
        table.change("c") { $0.stored() }
        #expect(table.starts("c") == [FoundingTable.founded])
        #expect(
            FoundingTable.founded.configuration
                == Configuration(voters: [1, 2, 3].map { Incarnation(raw: $0) }))
    }

    @Test func `whoever holds the founding hands it on when the founder is gone`() {
        var table = FoundingTable.three()
        table.round()
        table.silent = ["c"]
        table.change("a") { $0.stored() }
        table.change("b") { $0.stored() }
        #expect(table.stores("c").isEmpty)
        table.silent = ["a"]
        table.round()
        #expect(table.stores("c") == [FoundingTable.founded])
        table.change("c") { $0.stored() }
        #expect(table.starts("c") == [FoundingTable.founded])
    }

    @Test func `any other founding is refused, while one is stored and for ever after`() {
        let other = FoundingTable.record(77, [("a", 1), ("b", 2), ("c", 3)])
        var table = FoundingTable.three()
        table.round()
        table.change("a") { $0.stored() }
        for isStored in [false, true] {
            if isStored { table.change("b") { $0.stored() } }
            let held = FoundingRefusal.otherCluster(ClusterID(raw: 1001))
            var letter = table.delivered.last { $0.to == "b" && $0.letter.from == "a" }!.letter
            letter.body = .found(other)
            table.change("b") { $0.receive(letter) }
            #expect(table.done["b"]?.last == .refuse("a", held))
            #expect(table.done["a"]?.last == .refused("b", held))
            letter.body = .invite(other)
            table.change("b") { $0.receive(letter) }
            #expect(table.done["b"]?.last == .refuse("a", held))
        }
        #expect(table.stores("b") == [FoundingTable.founded])
    }

    @Test func `a seed whose list has other names refuses the founding`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("b", 2), seeds: FoundingTable.list(["a", "b"]))
        table.round()
        var letter = table.delivered.last { $0.to == "b" && $0.letter.from == "a" }!.letter
        letter.body = .found(FoundingTable.founded)
        table.change("b") { $0.receive(letter) }
        #expect(table.done["b"]?.last == .refuse("a", .otherSeeds))
        #expect(table.stores("b").isEmpty)
    }

    @Test func `one seed founds by itself`() {
        var table = FoundingTable()
        table.sit(FoundingTable.own("a", 1), seeds: FoundingTable.list(["a"]))
        #expect(table.stores("a") == [FoundingTable.record(1001, [("a", 1)])])
    }

    @Test func `waiting is said every ten seconds, with who is missing and why`() {
        var table = FoundingTable.three()
        table.silent = ["c"]
        table.round()
        var machine = table["a"]
        var said: [Int: String] = [:]
        for second in 4...31 {
            for action in machine.tick(now: FoundingTable.now + .seconds(second)) {
                if case .say(let wait) = action { said[second] = wait.sentence }
            }
        }
        let text = "waits for all seeds to found the cluster; missing: c (not reached)"
        #expect(said == [10: text, 20: text, 30: text])
        #expect(machine.nextTick == FoundingTable.now + .seconds(32))
    }

    @Test func `a restart goes on with the record and never founds again`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("a", 1, boot: 2, record: FoundingTable.founded))
        #expect(table.starts("a") == [FoundingTable.founded])
        table.round()
        #expect(table.stores("a").isEmpty)
        #expect(table.stores("b") == [FoundingTable.founded])
        // With a log there was a leader: nothing is waited for.
        table.sit(
            FoundingTable.own("a", 1, boot: 3, record: FoundingTable.founded, hasLog: true))
        #expect(table["a"].wait == nil)
        #expect(table["a"].nextTick == .distantFuture)
    }

    @Test func `a cluster of one that gets more seeds takes them in`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("a", 1, boot: 9, cluster: 55, hasLog: true))
        let alone = FoundingTable.record(55, [("a", 1)])
        #expect(table.starts("a") == [alone])
        table.round()
        table.sync()
        #expect(table.joins("b") == [alone] && table.joins("c") == [alone])
    }
}
