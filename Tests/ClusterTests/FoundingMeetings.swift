// FoundingMeetings.swift - letters in a `FoundingWorld`, mistakes with them, and what must hold.

import Cluster
import Primitives
import Raft

extension FoundingUniverse {
    /// Machines, letters and new records of the two after they have met.
    struct Meeting {
        var machines: (UInt16, UInt16)
        var letters: (UInt16, UInt16)
        var pending: (UInt16, UInt16)
    }

    func deliverAside(_ k: Int, _ world: inout FoundingWorld) -> String? {
        let aside = world.aside(k)
        if self.scope.isCoarse { world.forgetAside(k) }
        return self.deliver(aside.letter, to: aside.to, &world)
    }

    func meet(_ i: Int, _ j: Int, _ world: inout FoundingWorld) -> String? {
        let key =
            UInt64(world[i].machine) | UInt64(world[j].machine) << 16
            | UInt64(world.letter(i, j)) << 32 | UInt64(world.letter(j, i)) << 48
        if self.scope.mistake == nil, let known = self.meetings[key] {
            world[i].machine = known.machines.0
            world[j].machine = known.machines.1
            world.set(known.letters.0, i, j)
            world.set(known.letters.1, j, i)
            if known.pending.0 != 0 { world[i].pending = known.pending.0 }
            if known.pending.1 != 0 { world[j].pending = known.pending.1 }
            return nil
        }
        let before = (world[i].pending, world[j].pending)
        if let fault = self.speak(i, j, &world) { return fault }
        let after = (world[i].pending, world[j].pending)
        self.meetings[key] = Meeting(
            machines: (world[i].machine, world[j].machine),
            letters: (world.letter(i, j), world.letter(j, i)),
            pending: (before.0 == after.0 ? 0 : after.0, before.1 == after.1 ? 0 : after.1))
        return nil
    }

    private func speak(_ i: Int, _ j: Int, _ world: inout FoundingWorld) -> String? {
        // A letter, a token for it, the token back, and all of that once more the other way.
        for _ in 0..<3 {
            for (from, to) in [(i, j), (j, i)] {
                let spoken = self.announcement(from, to, world)
                if spoken != 0, let fault = self.deliver(spoken, to: to, &world) { return fault }
                let letter = world.letter(from, to)
                guard letter != 0, self.kind(letter) == .announcement else { continue }
                if let fault = self.deliver(from, to, &world) { return fault }
            }
        }
        return nil
    }

    func deliver(
        _ i: Int, _ j: Int, _ world: inout FoundingWorld
    ) -> String? {
        let letter = world.letter(i, j)
        world.set(0, i, j)
        return self.deliver(letter, to: j, &world)
    }

    func deliver(
        _ number: UInt16, to j: Int, _ world: inout FoundingWorld
    ) -> String? {
        var letter = self.letters[number]
        switch self.scope.mistake {
        case .takesStale?: letter.echo = self.wanted(from: letter, at: j, world).token
        case .acceptsSecond?:
            let disk = self.disks[world[j].disk]
            let pending = world[j].pending
            let held = disk.record ?? (pending == 0 ? nil : self.records[pending])
            if case .found(let record) = letter.body, let held, record != held,
                record.names(Self.member(j, disk))
            {
                letter.echo = self.wanted(from: letter, at: j, world).token
                var forgetful = disk
                forgetful.record = nil
                forgetful.hasLog = false
                var machine = self.machine(j, forgetful)
                // It meets the sender; then the letter is fresh to it.
                if case .send(_, let reply)? = machine.receive(letter).first {
                    letter.echo = reply.token
                }
                world[j].machine = self.machines.number(machine)
                world[j].pending = 0
            }
        case .answersBeforeSync?, .foundsWithoutAll?, nil: break
        }
        return self.step(j, .receive(self.letterNumber(letter)), &world)
    }

    /// What the receiver would take: its token for the sender, and its view.
    func wanted(
        from letter: FoundingLetter, at j: Int, _ world: FoundingWorld
    ) -> (token: FoundingToken?, view: [Incarnation]) {
        var probe = self.machines[world[j].machine]
        var unknown = letter
        unknown.echo = nil
        guard case .send(_, let reply)? = probe.receive(unknown).first,
            case .announce(let words) = reply.body
        else { return (nil, []) }
        return (reply.token, words.view)
    }

    func assume(_ i: Int, _ world: inout FoundingWorld) -> String? {
        // Its hello was heard, no more.
        let disk = self.disks[world[i].disk]
        var letter = FoundingLetter(
            from: Self.names[i],
            token: FoundingToken(
                incarnation: disk.incarnation, boot: max(disk.boot, 1),
                bearer: Incarnation(raw: 0)),
            echo: nil, body: .answer(cluster: ClusterID(raw: 0), nil))
        let wanted = self.wanted(from: letter, at: 0, world)
        letter.echo = wanted.token
        letter.body = .announce(
            FoundingLetter.Announcement(
                cluster: ClusterID(raw: 0), isEmpty: true, seeds: Self.seeds, view: wanted.view))
        return self.step(0, .receive(self.letterNumber(letter)), &world)
    }

    // MARK: What must hold.

    func fault(_ world: inout FoundingWorld) -> String? {
        var held: UInt16 = 0
        var holders = 0
        for i in 0..<FoundingWorld.size {
            let facts = self.facts(world, i)
            guard facts.record != 0 else { continue }
            if held != 0, held != facts.record { return "two disks hold different foundings" }
            held = facts.record
            if facts.isVoter { holders += 1 }
        }
        guard holders >= Self.majority else { return nil }
        world.majorities |= 1 << UInt32(held)
        return world.majorities.nonzeroBitCount > 1 ? "two clusters had a majority" : nil
    }

    /// One round without faults: every node syncs, sees its leader, speaks and is heard.
    func heal(_ world: inout FoundingWorld) -> String? {
        for i in 0..<FoundingWorld.size where world[i].pending != 0 {
            if let fault = self.follow(.stored(i), &world) { return fault }
        }
        for i in 0..<FoundingWorld.size {
            for j in 0..<FoundingWorld.size where j != i {
                guard self.announcement(i, j, world) != 0 else { continue }
                if let fault = self.follow(.hear(i, j), &world) { return fault }
            }
        }
        if let fault = self.follow(.allSee, &world) { return fault }
        // Answers to answers come to an end: `lettersMax` is never reached.
        for _ in 0..<Self.lettersMax {
            let places = (0..<9).map { ($0 / 3, $0 % 3) }
            guard let (i, j) = places.first(where: { world.letter($0, $1) != 0 }) else {
                return nil
            }
            if let fault = self.follow(.deliver(i, j), &world) { return fault }
        }
        return "letters are answered for ever"
    }

    /// Letters of one round of `heal`.
    private static let lettersMax = 100

    /// Whether all seeds run in one cluster that works.
    func isWhole(_ world: FoundingWorld) -> Bool {
        let first = world[0].running
        return first != 0
            && (0..<FoundingWorld.size).allSatisfy {
                world[$0].running == first && self.facts(world, $0).hasLog
            }
    }

    /// Whether it is whole and stays so.
    func isOver(_ world: FoundingWorld) -> Bool {
        self.scope.mistake == nil && self.isWhole(world)
            && world.crashes == self.scope.crashes && world.wipes == self.scope.wipes
    }
}
