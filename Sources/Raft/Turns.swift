// Turns.swift - out goes a Ready, back comes the news that it is stored and applied.
//
// See       Ready (the order of things), Docs/Invariants.md 8.

import Primitives

extension Raft {
    /// Whether there is anything to do.
    package var hasReady: Bool {
        !self.messages.isEmpty || !self.answers.isEmpty || self.log.hasUnhanded
            || self.log.hasUnhandedSnapshot || !self.readStates.isEmpty
            || self.hardState != self.toldHardState || self.softState != self.toldSoftState
            || self.log.hasAppliable(unstored: !self.options.storesAsynchronously)
    }

    /// Takes all that is to be done now.
    package mutating func takeReady() -> Ready {
        var ready = Ready()
        self.takeReady(&ready)
        return ready
    }

    /// The same into a Ready whose memory is used again; what is in it goes.
    mutating func takeReady(_ ready: inout Ready) {
        ready.clear()
        if self.softState != self.toldSoftState {
            self.toldSoftState = self.softState
            ready.softState = self.softState
        }
        let hardState = self.hardState
        if hardState != self.toldHardState {
            ready.mustSync =
                hardState.term != self.toldHardState.term
                || hardState.vote != self.toldHardState.vote
            self.toldHardState = hardState
            ready.hardState = hardState
        }
        // What is not known to be stored now will be, with what this turn stores.
        let hasUnstored = self.log.hasUnstored
        self.log.handOut(into: &ready.entries)
        ready.snapshot = self.log.handOutSnapshot()
        ready.mustSync = ready.mustSync || !ready.entries.isEmpty
        swap(&ready.reads, &self.readStates)
        swap(&ready.messages, &self.messages)
        swap(&ready.answers, &self.answers)
        ready.applied = self.log.takeAppliable(
            unstored: !self.options.storesAsynchronously, into: &ready.committed)
        let stores = ready.needsStore || !self.options.storesAsynchronously
        if stores && (hasUnstored || ready.snapshot != nil) {
            ready.stored = Stored(
                term: self.term, last: hasUnstored ? self.log.last : nil,
                snapshot: ready.snapshot?.position)
        }
    }

    /// What a Ready gave to be stored is stored.
    package mutating func stored(_ stored: Stored) {
        // 1 A leader of a later term may have replaced the entries meanwhile. 2 It may even have
        // sent the same ones again, and 3 their store may still be under way, behind one that
        // took them away. So only a store of the present term tells anything of entries.
        if stored.term == self.term, let last = stored.last { self.log.stored(upTo: last) }
        // What is installed is committed: no term changes that.
        if let snapshot = stored.snapshot {
            self.log.installed(snapshot)
            self.applied(to: snapshot.index, sizeBytes: 0)
        }
    }

    /// What a Ready gave to be applied is applied.
    package mutating func applied(_ applied: Applied) {
        self.applied(to: applied.index, sizeBytes: applied.sizeBytes)
        self.uncommittedBytes -= min(self.uncommittedBytes, applied.dataBytes)
    }

    private mutating func applied(to index: UInt64, sizeBytes: UInt64) {
        self.log.applied(to: max(index, self.log.applied), sizeBytes: sizeBytes)
        self.leaveJointIfDue()
    }

    /// The leader leaves a joint configuration by itself where that was asked for.
    mutating func leaveJointIfDue() {
        guard self.configuration.autoLeave, self.role == .leader,
            self.log.applied >= self.pendingChange
        else { return }
        // Dropped while a transfer is under way: it is tried again when the next entry is applied,
        // and with the ticks, should none come.
        try? self.propose([ConfigurationChange.leaveJoint.entry()])
    }

    /// A committed entry that changes the members is being applied.
    ///
    /// - Returns: the configuration from now on.
    /// - Throws: why it changes nothing; the same on every member.
    package mutating func apply(
        _ change: ConfigurationChange
    ) throws(ChangeError) -> Configuration {
        self.membership.lastIndex = self.log.lastIndex
        try self.membership.apply(change)
        let own = self.membership.place(of: self.id)
        let isVoter = own.map { !self.membership.peers[$0].progress.isLearner } ?? false
        guard isVoter else {
            if self.role == .leader, self.options.stepsDownOnRemoval {
                self.becomeFollower(self.term, leader: .none)
            }
            return self.configuration
        }
        guard self.role == .leader else { return self.configuration }
        self.releaseProvenReads()
        if self.advanceCommit() {
            // Fewer are needed now.
            self.releasePostponedReads()
            self.broadcastAppend()
        } else {
            // New members need not wait for a heartbeat.
            for i in self.membership.peers.indices where self.membership.peers[i].id != self.id {
                _ = self.sendAppend(i, evenEmpty: false)
            }
        }
        if self.transferee != .none, !self.configuration.isVoter(self.transferee) {
            self.transferee = .none
        }
        return self.configuration
    }
}
