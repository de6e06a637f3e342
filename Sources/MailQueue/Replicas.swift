// Replicas.swift - copies that are made and lost after a message has come; members that go.
//
// A body's tag is the tag of the one command that can make it live. So a copy lies under the tag of
// the command that adds it, not of its message: until that command's fate is known, the proof of
// garbage keeps the copy; a command of a session that was closed meanwhile makes nothing live.
// See       invariants 1 to 3, decision 0014; Placements.swift; RepairPlanner in Spool.

package import Primitives
package import Spool

/// Messages with one and the same set of holders.
package struct PlacementView: Hashable, Sendable {
    /// Ascending; empty: no copy is left.
    package var holders: [Holder]
    package var messages: Int
}

/// What the removal of a member would cost.
package struct RemovalCost: Hashable, Sendable {
    /// Messages that have a copy there only.
    package var lost = 0
    /// Messages that would have fewer than R copies, those with none included.
    package var below = 0
}

extension MailQueue {
    // MARK: Members.

    func isMember(_ holder: Holder) -> Bool {
        self.nodes.contains {
            $0.isMember && $0.name == holder.node && $0.incarnation == holder.incarnation
        }
    }

    /// The member that an open session is of; nil: none.
    func holder(of session: SessionID) -> Holder? {
        guard let place = self.openPlace(of: session) else { return nil }
        let node = self.nodes[Int(self.sessions[place].node)]
        guard node.isMember else { return nil }
        return Holder(node: node.name, incarnation: node.incarnation)
    }

    /// The incarnation will not be one of a member again: what it held is gone.
    mutating func retire(_ node: Int) {
        let row = self.nodes[node]
        guard row.isMember else { return }
        self.retire(row.incarnation, of: node)
        self.holderSets.drop(Holder(node: row.name, incarnation: row.incarnation))
    }

    private mutating func retire(_ incarnation: Incarnation, of node: Int) {
        let count = self.nodes[node].retired.count
        if count == NodeRow.retiredMax { self.nodes[node].retired.removeFirst() }
        self.nodes[node].retired.append(incarnation)
        self.nodes[node].disks.removeAll { $0.incarnation == incarnation }
    }

    mutating func remove(_ removal: RemoveNode, _ effects: inout [Effect]) -> CommandResult {
        guard let node = self.nodes.firstIndex(where: { $0.name == removal.node }) else {
            return .refused(.unknown)
        }
        let holder = Holder(node: removal.node, incarnation: removal.incarnation)
        // A node that is to leave may never have opened a session.
        let row = self.nodes[node]
        let isMember = self.isMember(holder)
        guard isMember || (row.wish.isLeaving && !row.isMember) else {
            return .refused(.notMember)
        }
        guard removal.force || self.removal(of: holder).lost == 0 else {
            return .refused(.lastCopies)
        }
        // What it has begun may be on the wire still, and it may begin more: it need not know.
        for session in self.sessions where Int(session.node) == node {
            self.closeUnaware(session, &effects)
        }
        if isMember { self.retire(node) } else { self.retire(removal.incarnation, of: node) }
        self.nodes[node].isMember = false
        self.nodes[node].draining = false
        if row.wish.isLeaving { self.nodes[node].wish = .removed }
        return .done
    }

    /// Nodes that have opened a session and were not removed, with their incarnations, ascending.
    package var members: [Holder] {
        self.nodes.filter(\.isMember)
            .map { Holder(node: $0.name, incarnation: $0.incarnation) }.sorted()
    }

    /// Whose session it is, asked by a node that is to store a body under it.
    package func standing(of session: SessionID, peer: Holder) -> PeerSession {
        if session.raw > self.applied { return .unknown }
        return self.holder(of: session) == peer ? .ofPeer : .foreign
    }

    // MARK: Copies.

    /// - Parameter copy: the command's tag, under which the body lies on the holder's disk.
    mutating func replicaAdded(_ message: Tag, _ holder: Holder, copy: Tag) -> CommandResult {
        guard self.holder(of: copy.session) == holder else { return .refused(.notMember) }
        let slot = self.tags.find(message, in: self.messages)
        guard slot != Slot.none else { return .refused(.unknown) }
        let before = self.holderSets[self.messages[slot].holders]
        guard !before.contains(holder) else { return .refused(.hasCopy) }
        let after = (before + [holder]).sorted()
        guard after.count <= QueueLimits.holders, self.holderSets.hasRoom(for: after) else {
            return .refused(.tooManyPlacements)
        }
        self.move(slot, to: after)
        self.copyRows[slot, default: []].append(CopyRow(holder: holder, tag: copy))
        self.copies[copy] = message
        return .done
    }

    /// What lay under a tag that a command can still make live makes that command void: it was
    /// proposed for a copy that is no more.
    mutating func replicasLost(
        _ holder: Holder, _ tags: [Tag], by session: SessionID
    ) -> CommandResult {
        guard tags.count <= Command.replicasLostMax else { return .refused(.malformed) }
        guard self.holder(of: session) == holder else { return .refused(.notMember) }
        for tag in tags {
            let slot = self.liveMessage(tag, on: holder)
            if slot != Slot.none {
                let before = self.holderSets[self.messages[slot].holders]
                self.move(slot, to: before.filter { $0 != holder })
            } else if let place = self.openPlace(of: tag.session),
                case .fresh = self.sessions[place].results.lookup(tag.sequence)
            {
                self.sessions[place].results.note(tag.sequence, .refused(.tooFewHolders))
            }
        }
        return .done
    }

    /// Gives a message another set of holders, and forgets the copies of those that have none.
    private mutating func move(_ slot: UInt32, to holders: [Holder]) {
        self.touch(slot)
        self.holderSets.unlink(slot, &self.messages)
        self.messages[slot].holders = self.holderSets.number(of: holders)
        self.holderSets.link(slot, &self.messages)
        if let rows = self.copyRows[slot] {
            for copy in rows where !holders.contains(copy.holder) { self.copies[copy.tag] = nil }
            let kept = rows.filter { holders.contains($0.holder) }
            self.copyRows[slot] = kept.isEmpty ? nil : kept
        }
    }

    /// The message of whose placement the body under `tag` on this holder is; `Slot.none`: of none.
    func liveMessage(_ tag: Tag, on holder: Holder) -> UInt32 {
        let message = self.copies.isEmpty ? tag : self.copies[tag] ?? tag
        let slot = self.tags.find(message, in: self.messages)
        guard slot != Slot.none, self.holderSets[self.messages[slot].holders].contains(holder)
        else { return Slot.none }
        // Of several bodies of one message on one disk, one counts.
        return self.tag(of: slot, on: holder) == tag ? slot : Slot.none
    }

    private func tag(of slot: UInt32, on holder: Holder) -> Tag {
        let rows = self.copyRows.isEmpty ? nil : self.copyRows[slot]
        return rows?.first { $0.holder == holder }?.tag ?? self.messages[slot].tag
    }

    // MARK: Views.

    /// Under which tag the holder has the body of a message; nil: it has none.
    package func bodyTag(of message: Tag, on holder: Holder) -> Tag? {
        let slot = self.tags.find(message, in: self.messages)
        guard slot != Slot.none, self.holderSets[self.messages[slot].holders].contains(holder)
        else { return nil }
        return self.tag(of: slot, on: holder)
    }

    /// Digest of the content of a message, and bytes of head and content, as it was accepted;
    /// nil: it is not known (any more).
    package func accepted(_ message: Tag) -> (digest: BodyDigest, originalBytes: UInt64)? {
        let slot = self.tags.find(message, in: self.messages)
        guard slot != Slot.none else { return nil }
        return (self.messages[slot].digest, self.messages[slot].sizes.original)
    }

    /// All placements of messages in the queue, by number.
    package var placements: [PlacementView] {
        self.holderSets.rows.filter { $0.messages > 0 }
            .map { PlacementView(holders: $0.holders, messages: $0.messages) }
    }

    /// The fewest copies that any message has outside of `absent`; nil: the queue is empty.
    package func fewestCopies(without absent: [Holder] = []) -> Int? {
        self.placements.map { $0.holders.count { !absent.contains($0) } }.min()
    }

    package func removal(of holder: Holder) -> RemovalCost {
        var cost = RemovalCost()
        for placement in self.placements where placement.holders.contains(holder) {
            let left = placement.holders.count - 1
            if left == 0 { cost.lost += placement.messages }
            if left < Int(self.settings.copies) { cost.below += placement.messages }
        }
        return cost
    }

    /// Messages that have a copy at this holder only; at most `limit`.
    ///
    /// - Parameter isThere: false: the disk of another holder does not exist any more.
    package func lastCopies(
        of holder: Holder, limit: Int, isThere: (Holder) -> Bool = { _ in true }
    ) -> [Tag] {
        var found: [Tag] = []
        for row in self.holderSets.rows
        where row.messages > 0 && row.holders.contains(holder)
            && !row.holders.contains { $0 != holder && isThere($0) }
        {
            self.walk(row, limit: limit - found.count) { found.append(self.messages[$0].tag) }
        }
        return found
    }

    /// Messages of whose placement the holder is.
    package func liveBodies(on holder: Holder) -> Int {
        self.holderSets.rows.reduce(0) { $0 + ($1.holders.contains(holder) ? $1.messages : 0) }
    }

    /// The holder's copies that were made after their messages came, by message, ascending.
    package func laterCopies(on holder: Holder) -> [(message: Tag, copy: Tag)] {
        self.copyRows.flatMap { slot, rows in
            rows.filter { $0.holder == holder }
                .map { (message: self.messages[slot].tag, copy: $0.tag) }
        }.sorted { $0.message < $1.message }
    }

    /// Messages that have fewer than R copies outside of `absent`, those with the fewest first;
    /// at most `limit`, of which those without any copy are half: nobody can repair them, and while
    /// they wait for their end the last copies of others must not wait with them.
    ///
    /// - Parameter sources: what none of these has is left out, unless nobody has it: it would
    ///   stand in front of what can be repaired. Nil: all.
    package func underReplicated(
        without absent: [Holder] = [], from sources: [Holder]? = nil, limit: Int
    ) -> [BodyShortage] {
        var short: [(present: Int, row: HolderTable.Row)] = []
        for row in self.holderSets.rows where row.messages > 0 {
            if let sources, !row.holders.isEmpty,
                !row.holders.contains(where: { sources.contains($0) })
            {
                continue
            }
            let present = row.holders.count { !absent.contains($0) }
            if present < Int(self.settings.copies) { short.append((present, row)) }
        }
        // Equal ones stay in the order of their numbers.
        let order = short.indices.sorted { (short[$0].present, $0) < (short[$1].present, $1) }
        var found: [BodyShortage] = []
        var lostLeft = (limit + 1) / 2
        for i in order where found.count < limit {
            let holders = short[i].row.holders
            let room = limit - found.count
            let before = found.count
            self.walk(short[i].row, limit: holders.isEmpty ? min(room, lostLeft) : room) { slot in
                found.append(
                    BodyShortage(
                        message: self.messages[slot].tag,
                        storedBytes: self.messages[slot].sizes.stored, holders: holders))
            }
            if holders.isEmpty { lostLeft -= found.count - before }
        }
        return found
    }

    private func walk(_ row: HolderTable.Row, limit: Int, _ body: (UInt32) -> Void) {
        var slot = row.first
        var left = limit
        while slot != Slot.none, left > 0 {
            body(slot)
            slot = self.messages[slot].nextAlike
            left -= 1
        }
    }
}
