// Ghost.swift - what has ever been committed and who has ever led: kept beside the world.
//
// Raft (thesis 3.2, figure 3.2): election safety, leader completeness, state machine safety.

import Primitives
import Raft

struct Ghost: Hashable {
    struct Committed: Hashable {
        var code: EntryCode
        /// The term of the leader that committed it.
        var term: UInt64
    }

    private(set) var committed: [Committed] = []
    /// 1 + place, by term; 0: none yet.
    private var leaders: [UInt8] = []

    init() {}

    /// Takes in what member `place` now shows.
    ///
    /// - Returns: what is wrong with it.
    mutating func note(_ facts: MemberFacts, place: Int) -> String? {
        if facts.role == .leader {
            let term = Int(facts.term)
            while self.leaders.count <= term { self.leaders.append(0) }
            let known = self.leaders[term]
            if known != 0, Int(known) != place + 1 {
                return "two leaders in term \(term): \(known) and \(place + 1)"
            }
            self.leaders[term] = UInt8(place + 1)
        }
        for i in 0..<facts.commit {
            let code = facts.log[i]
            if i < self.committed.count {
                guard self.committed[i].code != code else { continue }
                let was = self.committed[i].code.entryText
                return "entry \(i + 1) was committed as \(was), now \(code.entryText)"
            }
            if facts.role != .leader { return "entry \(i + 1) is committed, and by no leader" }
            if code.entryData != 0, self.committed.contains(where: { $0.code == code }) {
                return "\(code.entryText) is committed twice"
            }
            self.committed.append(Committed(code: code, term: facts.term))
        }
        return nil
    }

    /// A leader has all that leaders before it have committed.
    func lacks(_ facts: MemberFacts) -> String? {
        guard facts.role == .leader else { return nil }
        for (i, entry) in self.committed.enumerated() where entry.term <= facts.term {
            if i >= facts.log.count || facts.log[i] != entry.code {
                return "the leader of term \(facts.term) lacks entry \(i + 1), "
                    + "\(entry.code.entryText), committed in term \(entry.term)"
            }
        }
        return nil
    }
}
