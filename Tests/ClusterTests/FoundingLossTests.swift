// FoundingLossTests.swift - disks that are lost while a cluster begins, newcomers, limits, bytes.

import Cluster
import Primitives
import Raft
import Testing

@Suite("Lost disks and newcomers")
struct FoundingLossTests {
    @Test func `a wiped seed is not the one that was founded with`() {
        var table = FoundingTable.three()
        table.round()
        table.sit(FoundingTable.own("b", 20))
        table.round()
        table.change("a") { $0.stored() }
        #expect(table.stores("c") == [FoundingTable.founded])
        #expect(table.stores("b").isEmpty)
        table.change("c") { $0.stored() }
        table.round()
        #expect(table.stores("b").isEmpty, "no leader yet: nobody is invited")
        #expect(
            table["a"].wait
                == FoundingWait(
                    .forMajority(ClusterID(raw: 1001)), [FoundingWait.Missing("b", .lostDisk)]))
        table.change("c") { machine in
            machine.clusterWorks()
            return []
        }
        table.round()
        #expect(table.stores("b") == [FoundingTable.founded])
        #expect(table.joins("b").isEmpty, "a newcomer syncs before it joins, too")
        table.change("b") { $0.stored() }
        #expect(table.joins("b") == [FoundingTable.founded])
        #expect(table.done["b"]?.last == .join(FoundingTable.founded, via: "c"))
        // It stays a newcomer when it starts again.
        table.sit(FoundingTable.own("b", 20, boot: 2, record: FoundingTable.founded))
        #expect(table.done["b"]?.last == .join(FoundingTable.founded, via: nil))
    }

    @Test func `a founding that names another disk is refused, and the founder is told`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("b", 20))
        table.silent = ["c"]
        table.round()
        var letter = table.delivered.last { $0.to == "b" && $0.letter.from == "a" }!.letter
        letter.body = .found(FoundingTable.founded)
        table.change("b") { $0.receive(letter) }
        let refusal = FoundingRefusal.otherIncarnation(Incarnation(raw: 20))
        #expect(table.done["b"] == [.refuse("a", refusal)])
        #expect(table.done["a"] == [.refused("b", refusal)])
    }

    @Test func `what a lost founder left under way founds nothing`() {
        var table = FoundingTable.three()
        table.round()
        table.silent = ["b", "c"]
        var first = table["a"]
        // Its founding to b is on the way when the disk of a is emptied.
        let late = first.stored().compactMap { action -> FoundingLetter? in
            if case .send("b", let letter) = action { letter } else { nil }
        }
        #expect(late.count == 1)
        table.silent = []
        table.sit(FoundingTable.own("a", 10))
        table.round()
        let second = FoundingTable.record(1010, [("a", 10), ("b", 2), ("c", 3)])
        #expect(table.stores("a").last == second)
        for letter in late { table.change("b") { $0.receive(letter) } }
        #expect(table.stores("b").isEmpty)
        #expect(table["b"].dropped == 1)
        table.sync()
        table.round()
        table.sync()
        #expect(table.starts("b") == [second] && table.starts("c") == [second])
    }

    @Test func `what was meant for an earlier start of the receiver founds nothing`() {
        var table = FoundingTable.three()
        table.round()
        var first = table["a"]
        let late = first.stored().compactMap { action -> FoundingLetter? in
            if case .send("b", let letter) = action { letter } else { nil }
        }
        table.sit(FoundingTable.own("b", 2, boot: 2))
        for letter in late { table.change("b") { $0.receive(letter) } }
        #expect(table.stores("b").isEmpty)
    }

    @Test func `a founder that is lost after one seed has it joins the others' cluster`() {
        var table = FoundingTable.three()
        table.round()
        table.silent = ["c"]
        table.change("a") { $0.stored() }
        table.change("b") { $0.stored() }
        table.silent = []
        table.sit(FoundingTable.own("a", 10))
        table.round()
        #expect(table.stores("a") == [FoundingTable.founded], "the one of its first disk")
        #expect(table.stores("c") == [FoundingTable.founded])
        table.change("c") { $0.stored() }
        for name in ["b", "c"] {
            table.change(name) { machine in
                machine.clusterWorks()
                return []
            }
        }
        table.round()
        table.change("a") { $0.stored() }
        #expect(table.joins("a") == [FoundingTable.founded])
    }

    @Test func `when a majority of the founders is lost a person is asked`() {
        var table = FoundingTable.three()
        table.round()
        table.silent = ["b", "c"]
        table.change("a") { $0.stored() }
        table.silent = []
        table.sit(FoundingTable.own("b", 20))
        #expect(table["a"].wait?.isHopeless == false)
        table.sit(FoundingTable.own("c", 30))
        table.round()
        #expect(table["a"].wait?.isHopeless == true)
        #expect(table["a"].wait?.sentence.contains("empty the data directories") == true)
        #expect(table.stores("b").isEmpty && table.stores("c").isEmpty)
        // The person does it.
        table.sit(FoundingTable.own("a", 10))
        table.round()
        #expect(
            table.stores("a").last
                == FoundingTable.record(1010, [("a", 10), ("b", 20), ("c", 30)]))
    }

    @Test func `a node that is no seed never founds, and joins`() {
        var table = FoundingTable()
        table.sit(FoundingTable.own("d", 4))
        table.round()
        #expect(table["d"].wait?.purpose == .forCluster)
        table.sit(FoundingTable.own("a", 1))
        table.sit(FoundingTable.own("b", 2))
        table.sit(FoundingTable.own("c", 3))
        table.round()
        table.sync()
        table.round()
        table.sync()
        #expect(table.stores("d").isEmpty)
        table.change("b") { machine in
            machine.clusterWorks()
            return []
        }
        table.round()
        table.sync()
        #expect(table.joins("d") == [FoundingTable.founded])
    }

    @Test func `a newcomer whose peers are of two clusters joins neither`() {
        var table = FoundingTable.three()
        table.sit(FoundingTable.own("b", 2, record: FoundingTable.record(7, [("b", 2)])))
        table.round()
        table.sit(FoundingTable.own("c", 3, cluster: 8, hasLog: true))
        table.round()
        #expect(table.stores("a").isEmpty)
        #expect(
            table.done["a"]?.contains(.refuse("c", .peersDisagree(ClusterID(raw: 7)))) == true)
    }

    @Test func `peers and disks beyond the limits are dropped and counted`() {
        var machine = Founding(
            FoundingTable.own("a", 1), seeds: FoundingTable.list, now: FoundingTable.now)
        let letter = { (name: String, incarnation: Int) in
            FoundingLetter(
                from: name,
                token: FoundingToken(
                    incarnation: Incarnation(raw: UInt64(incarnation)), boot: 1,
                    bearer: Incarnation(raw: 0)), echo: nil,
                body: .answer(cluster: ClusterID(raw: 1), nil))
        }
        var answers: [[Founding.Action]] = []
        for i in 1...Founding.disksMax { answers.append(machine.receive(letter("b", 100 + i))) }
        #expect(machine.dropped == 0)
        let seventeenth = machine.receive(letter("b", 99))
        #expect(seventeenth.isEmpty)
        #expect(machine.dropped == 1)
        // b and c are known from the start.
        for i in 3...Founding.peersMax { answers.append(machine.receive(letter("w\(i)", i))) }
        let stranger = machine.receive(letter("x", 1))
        let ourName = machine.receive(letter("a", 5))
        #expect(stranger.isEmpty && ourName.isEmpty)
        #expect(machine.dropped == 3)
        #expect(answers.allSatisfy { $0.count == 1 })
    }
}

@Suite("Founding letters as bytes")
struct FoundingLetterTests {
    private var letters: [FoundingLetter] {
        let token = FoundingToken(
            incarnation: Incarnation(raw: 5), boot: 3, bearer: Incarnation(raw: 0))
        let words = FoundingLetter.Announcement(
            cluster: ClusterID(raw: 0), isEmpty: true, seeds: FoundingTable.list,
            view: [1, 0, 3].map { Incarnation(raw: $0) })
        let bodies: [FoundingLetter.Body] = [
            .announce(words), .found(FoundingTable.founded), .invite(FoundingTable.founded),
            .answer(cluster: ClusterID(raw: 9), nil),
            .answer(cluster: ClusterID(raw: 9), .otherCluster(ClusterID(raw: 4))),
            .answer(cluster: ClusterID(raw: 9), .otherIncarnation(Incarnation(raw: 6))),
            .answer(cluster: ClusterID(raw: 9), .otherSeeds),
            .answer(cluster: ClusterID(raw: 9), .peersDisagree(ClusterID(raw: 2))),
        ]
        return bodies.enumerated().map { i, body in
            FoundingLetter(from: "b", token: token, echo: i % 2 == 0 ? nil : token, body: body)
        }
    }

    private func bytes(_ letter: FoundingLetter) -> [UInt8] {
        var writer = ByteWriter()
        letter.encode(into: &writer)
        return writer.bytes
    }

    @Test func `every letter is read back, and every cut is refused`() throws {
        for letter in self.letters {
            let bytes = self.bytes(letter)
            #expect(try FoundingLetter(bytes) == letter)
            for length in 0..<bytes.count {
                #expect(throws: CodecError.self) { try FoundingLetter(Array(bytes[..<length])) }
            }
            #expect(throws: CodecError.self) { try FoundingLetter(bytes + [0]) }
        }
    }

    @Test func `no changed byte makes a machine or the reader fail`() {
        var dice = Generator(seed: 4)
        for letter in self.letters {
            let bytes = self.bytes(letter)
            for _ in 0..<300 {
                var changed = bytes
                for _ in 0...dice.below(3) {
                    changed[dice.below(bytes.count)] = UInt8(dice.below(256))
                }
                guard let read = try? FoundingLetter(changed) else { continue }
                var machine = Founding(
                    FoundingTable.own("a", 5, boot: 3), seeds: FoundingTable.list,
                    now: FoundingTable.now)
                _ = machine.receive(read)
                _ = machine.wait?.sentence
            }
        }
    }

    @Test func `a record names 64 members at most, each once`() {
        let read = { (record: FoundingRecord) throws(CodecError) -> FoundingRecord in
            var writer = ByteWriter()
            record.encode(into: &writer)
            var reader = ByteReader(writer.bytes)
            return try FoundingRecord(from: &reader)
        }
        let many = { (n: Int) in
            FoundingTable.record(1, (1...n).map { ("n\($0)", UInt64($0)) })
        }
        #expect(throws: Never.self) { try read(many(64)) }
        #expect(throws: CodecError.self) { try read(many(65)) }
        let name = String(repeating: "n", count: 255)
        #expect(throws: Never.self) { try read(FoundingTable.record(1, [(name, 1)])) }
        for bad in [
            FoundingTable.record(1, []), FoundingTable.record(0, [("a", 1)]),
            FoundingTable.record(1, [("a", 1), ("a", 2)]), FoundingTable.record(1, [("", 1)]),
            FoundingTable.record(1, [("a", 1), ("b", 1)]), FoundingTable.record(1, [("a", 0)]),
            FoundingTable.record(1, [(name + "n", 1)]),
        ] {
            #expect(!bad.isSound)
            #expect(throws: CodecError.self) { try read(bad) }
        }
    }
}
