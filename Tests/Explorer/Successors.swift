// Successors.swift - what can happen in a world, and the world after it.
//
// Shortcuts, sound for what never must happen (Checks look at members and history alone, not at
// what is under way or left of a budget):
// 1. A crash and its restart are one event: what reaches a member that is down is lost.
// 2. A world covers another one that differs by fewer messages under way or by more used up: it can
//    do all that the other can. So nothing is followed that only uses something up; a message that
//    its addressee ignores is not delivered; a loss is no event, and a partition (many losses) only
//    for what a leader is told of its links. Not in a literal search.
// 3. A message that its addressee can never again do anything about is taken away
//    (`MessageFacts.isSpent`, and tried: it must change nothing now). Not in a literal search.
// 4. Names mean nothing: members are told apart, and their names put in an order, but the order
//    decides at most in which order messages are sent, and those are not kept in order. So a run
//    may be renamed, and of all its renamings one meets the members in ascending order.

import Primitives
import Raft

enum Followed {
    case moved
    /// Not worth a world.
    case nothing
    case fault(String)
}

extension Search {
    /// All that can happen next.
    func list(_ world: World, _ events: inout ContiguousArray<Event>) {
        events.removeAll(keepingCapacity: true)
        let reach = min(world.touched, World.size - 1)
        for place in 0...reach { self.list(world, place, &events) }
        if world.cut != 0, self.scope.network == .literal { events.append(Event(.heal, 0)) }
        let mayDouble =
            self.scope.network != .boundless
            && world.used(.duplicates) < self.scope.duplicates
        let mayLose =
            self.scope.network == .literal && world.used(.losses) < self.scope.losses
        var last = UInt32.max
        for message in world.messages where message != last {
            last = message
            let to = self.catalogue.messageFacts[Int(message)].to
            guard to <= reach else { continue }
            events.append(Event(.deliver, to, message))
            if mayDouble { events.append(Event(.deliverDoubled, to, message)) }
            if mayLose { events.append(Event(.lose, to, message)) }
        }
    }

    /// What can happen to one member by itself.
    private func list(_ world: World, _ place: Int, _ events: inout ContiguousArray<Event>) {
        let number = Int(world.members[place])
        let role = self.catalogue.memberFacts[number].role
        let stores = self.catalogue.memberFacts[number].stores
        if stores > 0 {
            for count in 1...stores { events.append(Event(.sync, place, UInt32(count))) }
        }
        if world.used(.campaigns) < self.scope.campaigns, role != .leader {
            events.append(Event(.campaign, place))
        }
        if world.used(.heartbeats) < self.scope.heartbeats,
            role == .leader || self.scope.checksQuorum
        {
            events.append(Event(.tick, place))
        }
        if world.used(.proposals) < self.scope.proposals, role == .leader {
            events.append(Event(.propose, place, UInt32(world.used(.proposals) + 1)))
        }
        if world.used(.crashes) < self.scope.crashes {
            for kept in 0...self.catalogue.memberFacts[number].unsyncedRecords {
                events.append(Event(.crash, place, UInt32(kept)))
            }
        }
        self.listLinks(world, place, isLeader: role == .leader, &events)
    }

    private func listLinks(
        _ world: World, _ place: Int, isLeader: Bool, _ events: inout ContiguousArray<Event>
    ) {
        let mayCut = world.used(.partitions) < self.scope.partitions
        if mayCut, world.cut == 0, self.scope.network == .literal {
            events.append(Event(.cut, place))
        }
        guard isLeader else { return }
        for peer in 0...min(world.touched, World.size - 1) where peer != place {
            if world.isCut(place, peer) {
                events.append(Event(.unreachable, place, UInt32(peer)))
            } else if mayCut, self.scope.network != .literal {
                // One of the two is cut off; which one, only further news of it tells.
                for cut in [place, peer] {
                    events.append(Event(.unreachable, place, UInt32(peer | (cut + 1) << 2)))
                }
            }
        }
    }

    // MARK: The world after it.

    func follow(_ event: Event, _ world: inout World) -> Followed {
        let isLiteral = self.scope.network == .literal
        switch event.kind {
        case .deliver:
            if world.isCut(event.place, self.catalogue.messageFacts[Int(event.argument)].from),
                isLiteral
            {
                unreachable("nothing under way crosses a cut")
            }
            if self.scope.network != .boundless { world.take(event.argument) }
        case .deliverDoubled: world.use(.duplicates)
        case .lose:
            world.use(.losses)
            world.take(event.argument)
            self.touch(event.place, &world)
            return .moved
        case .cut:
            world.use(.partitions)
            world.cut = event.place + 1
            let isolated = world
            world.removeMessages { self.crosses(isolated, $0) }
            self.touch(event.place, &world)
            return .moved
        case .heal:
            world.cut = 0
            return .moved
        case .sync: break
        case .crash: world.use(.crashes)
        case .campaign: world.use(.campaigns)
        case .tick: world.use(.heartbeats)
        case .propose: world.use(.proposals)
        case .unreachable:
            let cut = Int(event.argument >> 2)
            if cut != 0 {
                world.use(.partitions)
                world.cut = cut
            }
            self.touch(Int(event.argument & 3), &world)
        }
        return self.followAtMember(event, &world)
    }

    private func followAtMember(_ event: Event, _ world: inout World) -> Followed {
        let place = event.place
        let old = world.members[place]
        let outcome = self.catalogue.outcome(of: event, at: old)
        if outcome.fault >= 0 { return .fault(self.catalogue.faults[Int(outcome.fault)]) }
        if outcome.member == old, outcome.sentCount == 0, self.scope.network != .literal {
            return .nothing
        }
        world.members[place] = outcome.member
        self.touch(place, &world)
        for i in outcome.sentStart..<outcome.sentStart + outcome.sentCount {
            let message = self.catalogue.sent[Int(i)]
            if self.scope.network == .literal, self.crosses(world, message) { continue }
            world.send(message, once: self.scope.network == .boundless)
        }
        if outcome.member != old, let text = self.note(place, &world) { return .fault(text) }
        if self.scope.network != .literal { self.removeSpent(&world) }
        return .moved
    }

    private func touch(_ place: Int, _ world: inout World) {
        if place >= world.touched { world.touched = min(place + 1, World.size - 1) }
    }

    private func crosses(_ world: World, _ message: UInt32) -> Bool {
        let facts = self.catalogue.messageFacts[Int(message)]
        return world.isCut(facts.from, facts.to)
    }

    private func removeSpent(_ world: inout World) {
        let answersPast = self.scope.preVotes || self.scope.checksQuorum
        let members = world.members
        world.removeMessages { message in
            let facts = self.catalogue.messageFacts[Int(message)]
            let member = members[facts.to]
            guard
                facts.isSpent(
                    at: self.catalogue.memberFacts[Int(member)], answersPast: answersPast)
            else { return false }
            let outcome = self.catalogue.outcome(
                of: Event(.deliver, facts.to, message), at: member)
            return outcome.member == member && outcome.sentCount == 0 && outcome.fault < 0
        }
    }

    /// Whether a world is known that differs only by less of one thing used up.
    func isCovered(_ world: World) -> Bool {
        if self.scope.network == .literal { return false }
        var other = world
        // Proposals are numbered, and terms count campaigns: worlds never differ by those alone.
        for budget in [World.Budget.crashes, .heartbeats, .duplicates]
        where world.used(budget) > 0 {
            other.giveBack(budget)
            if self.isSeen.contains(other.digest) { return true }
            other.use(budget)
        }
        guard world.used(.partitions) > 0 else { return false }
        other.giveBack(.partitions)
        other.cut = 0
        return self.isSeen.contains(other.digest)
    }
}
