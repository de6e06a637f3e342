// Checks.swift - what must hold in every world.
//
// Checked   in every new world, as far as the member that has changed is concerned: at most one
//           leader in a term, ever; what is committed stays so, everywhere the same; leaders have
//           all that was committed; equal positions, equal logs; what a leader counts as stored
//           is on that disk. In every step of a member: Step.

import Primitives
import Raft

extension Search {
    /// Writes down what member `place` shows.
    ///
    /// - Returns: what is wrong with it.
    func note(_ place: Int, _ world: inout World) -> String? {
        var ghost = self.ghosts[Int(world.ghost)]
        let facts = self.catalogue.memberFacts[Int(world.members[place])]
        if let text = ghost.note(facts, place: place) { return text }
        if ghost == self.ghosts[Int(world.ghost)] { return nil }
        if let number = self.ghostNumbers[ghost] {
            world.ghost = number
        } else {
            world.ghost = UInt32(self.ghosts.count)
            self.ghostNumbers[ghost] = world.ghost
            self.ghosts.append(ghost)
        }
        return nil
    }

    /// What is wrong with a world whose last event was `event`.
    func fault(in world: World, at event: Event) -> String? {
        switch event.kind {
        case .lose, .cut, .heal: return nil
        case .deliver, .deliverDoubled, .sync, .crash, .campaign, .tick, .propose, .unreachable:
            break
        }
        let changed = event.place
        let own = self.catalogue.memberFacts[Int(world.members[changed])]
        for place in 0..<World.size {
            let facts = self.catalogue.memberFacts[Int(world.members[place])]
            if let text = self.ghosts[Int(world.ghost)].lacks(facts) { return text }
            guard place != changed else {
                // It takes its log of past terms for stored, and commits nothing by that.
                let match = own.role == .leader ? own.matches[place] : 0
                if match > 0, own.log[match - 1].entryTerm == own.term,
                    let text = Self.uncounted(leader: own, peer: own, place: place)
                {
                    return text
                }
                continue
            }
            if let text = Self.mismatch(own, facts) { return text }
            if let text = Self.uncounted(leader: own, peer: facts, place: place) { return text }
            if let text = Self.uncounted(leader: facts, peer: own, place: changed) { return text }
        }
        return nil
    }

    /// Two logs with one entry of the same index and term are the same up to there (thesis 3.5).
    private static func mismatch(_ a: MemberFacts, _ b: MemberFacts) -> String? {
        var i = min(a.log.count, b.log.count) - 1
        while i >= 0, a.log[i].entryTerm != b.log[i].entryTerm { i -= 1 }
        while i >= 0 {
            if a.log[i] != b.log[i] {
                return "entry \(i + 1) is \(a.log[i].entryText) and \(b.log[i].entryText): "
                    + "logs differ below a common position"
            }
            i -= 1
        }
        return nil
    }

    /// What the leader takes for stored by a member that is still in its term is on that disk.
    private static func uncounted(
        leader: MemberFacts, peer: MemberFacts, place: Int
    ) -> String? {
        guard leader.role == .leader else { return nil }
        let match = leader.matches[place]
        if match == 0 || peer.syncedTerm > leader.term { return nil }
        guard peer.synced.count >= match else {
            return "\(place + 1) is counted for \(match) entries, "
                + "its disk holds \(peer.synced.count)"
        }
        for i in 0..<match where peer.synced[i] != leader.log[i] {
            return "\(place + 1) is counted for entry \(i + 1), "
                + "its disk holds \(peer.synced[i].entryText)"
        }
        return nil
    }
}
