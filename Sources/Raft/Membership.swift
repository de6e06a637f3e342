// Membership.swift - the configuration in force with the progress of each member, and its changes.
//
// Standard  thesis 4.1 (one voter at a time), 4.3 (joint), 4.2.1 (learners).
// Fails     a change that would leave no voter, or break the order of joint configurations, is
//           refused and changes nothing: the same on every member, since it depends on the
//           configuration alone.

import Primitives

/// Why a change of members is not possible.
package enum ChangeError: Error, Hashable, Sendable, CustomStringConvertible {
    case alreadyJoint
    case notJoint
    case joint
    case noVoters
    case nothingToLeave
    case tooManyAtOnce

    package var description: String {
        switch self {
        case .alreadyJoint: "config is already joint"
        case .notJoint: "can't leave a non-joint config"
        case .joint: "can't apply simple config change in joint config"
        case .noVoters: "removed all voters"
        case .nothingToLeave: "can't make a zero-voter config joint"
        case .tooManyAtOnce: "more than one voter changed without entering joint config"
        }
    }
}

/// Members and their progress, by ascending id.
package struct Membership: Hashable, Sendable {
    package struct Peer: Hashable, Sendable {
        package var id: MemberID
        package var progress: Progress
    }

    package private(set) var configuration = Configuration()
    package internal(set) var peers: [Peer] = []
    /// A new member is probed from here.
    package var lastIndex: UInt64
    private let window: InFlight

    /// - Parameter window: empty; every member gets one like it.
    package init(lastIndex: UInt64, window: InFlight) {
        self.lastIndex = lastIndex
        self.window = window
    }

    /// All members of a configuration that was in force somewhere, none of them heard of yet.
    package init(_ configuration: Configuration, lastIndex: UInt64, window: InFlight) {
        self.init(lastIndex: lastIndex, window: window)
        self.configuration = configuration
        for id in configuration.allVoters { self.add(id, isLearner: false) }
        for id in configuration.learners { self.add(id, isLearner: true) }
    }

    /// Where `id` stands in `peers`.
    package func place(of id: MemberID) -> Int? {
        // A handful of members: a walk is faster than a search.
        for i in self.peers.indices where self.peers[i].id == id { return i }
        return nil
    }

    func fresh(isLearner: Bool, match: UInt64, next: UInt64) -> Progress {
        Progress(match: match, next: next, isLearner: isLearner, inFlight: self.window)
    }

    // MARK: Changes. Each does all or nothing.

    /// One voter at most changes; learners as many as there are.
    package mutating func simple(_ changes: [MemberChange]) throws(ChangeError) {
        guard !self.configuration.isJoint else { throw .joint }
        var copy = self
        try copy.make(changes)
        let before = self.configuration.voters
        let after = copy.configuration.voters
        let changed =
            before.count { !after.contains($0) } + after.count { !before.contains($0) }
        guard changed <= 1 else { throw .tooManyAtOnce }
        self = copy
    }

    /// The changed configuration and the present one, both at once.
    package mutating func enterJoint(
        autoLeave: Bool, _ changes: [MemberChange]
    ) throws(ChangeError) {
        guard !self.configuration.isJoint else { throw .alreadyJoint }
        guard !self.configuration.voters.isEmpty else { throw .nothingToLeave }
        var copy = self
        copy.configuration.outgoing = self.configuration.voters
        try copy.make(changes)
        copy.configuration.autoLeave = autoLeave
        self = copy
    }

    /// The incoming half alone.
    package mutating func leaveJoint() throws(ChangeError) {
        guard self.configuration.isJoint else { throw .notJoint }
        for id in self.configuration.learnersNext {
            self.configuration.learners.insertSorted(id)
            if let i = self.place(of: id) { self.peers[i].progress.isLearner = true }
        }
        let outgoing = self.configuration.outgoing
        self.configuration.learnersNext = []
        self.configuration.outgoing = []
        self.configuration.autoLeave = false
        for id in outgoing
        where !self.configuration.voters.contains(id) && !self.configuration.learners.contains(id) {
            self.peers.removeAll { $0.id == id }
        }
    }

    /// What an entry says.
    package mutating func apply(_ change: ConfigurationChange) throws(ChangeError) {
        if change.leavesJoint {
            try self.leaveJoint()
        } else if change.entersJoint {
            try self.enterJoint(
                autoLeave: change.transition != .explicit, change.changes)
        } else {
            try self.simple(change.changes)
        }
    }

    private mutating func make(_ changes: [MemberChange]) throws(ChangeError) {
        for change in changes where change.member != .none {
            switch change.what {
            case .addVoter: self.makeVoter(change.member)
            case .addLearner: self.makeLearner(change.member)
            case .remove: self.remove(change.member)
            case .update: continue
            }
        }
        if self.configuration.voters.isEmpty { throw .noVoters }
    }

    private mutating func makeVoter(_ id: MemberID) {
        if let i = self.place(of: id) {
            self.peers[i].progress.isLearner = false
            self.configuration.learners.remove(id)
            self.configuration.learnersNext.remove(id)
        } else {
            self.add(id, isLearner: false)
        }
        self.configuration.voters.insertSorted(id)
    }

    private mutating func makeLearner(_ id: MemberID) {
        guard let i = self.place(of: id) else {
            self.add(id, isLearner: true)
            self.configuration.learners.insertSorted(id)
            return
        }
        if self.peers[i].progress.isLearner { return }
        self.configuration.voters.remove(id)
        self.configuration.learners.remove(id)
        self.configuration.learnersNext.remove(id)
        // Still a voter of the outgoing half: it becomes a learner when that is left.
        if self.configuration.outgoing.contains(id) {
            self.configuration.learnersNext.insertSorted(id)
        } else {
            self.peers[i].progress.isLearner = true
            self.configuration.learners.insertSorted(id)
        }
    }

    private mutating func remove(_ id: MemberID) {
        guard self.place(of: id) != nil else { return }
        self.configuration.voters.remove(id)
        self.configuration.learners.remove(id)
        self.configuration.learnersNext.remove(id)
        if !self.configuration.outgoing.contains(id) { self.peers.removeAll { $0.id == id } }
    }

    private mutating func add(_ id: MemberID, isLearner: Bool) {
        var progress = self.fresh(isLearner: isLearner, match: 0, next: max(self.lastIndex, 1))
        // A new member had no chance to be heard of: it does not cost the leader its quorum yet.
        progress.isRecentlyActive = true
        let at = self.peers.firstIndex { $0.id > id } ?? self.peers.count
        self.peers.insert(Peer(id: id, progress: progress), at: at)
    }
}

extension Configuration {
    /// Whether any run of changes could have led here: a peer may send anything.
    package var isSound: Bool {
        let lists = [self.voters, self.outgoing, self.learners, self.learnersNext]
        for list in lists {
            for (a, b) in zip(list, list.dropFirst()) where a >= b { return false }
            if list.first == MemberID.none { return false }
        }
        guard !self.voters.isEmpty else { return false }
        guard self.isJoint || (self.learnersNext.isEmpty && !self.autoLeave) else { return false }
        for id in self.learners where self.isVoter(id) || self.learnersNext.contains(id) {
            return false
        }
        for id in self.learnersNext where !self.outgoing.contains(id) || self.voters.contains(id) {
            return false
        }
        return true
    }
}
