// NotBuilt.swift - what settings can say and this version does not do: told at the start, as
// a relay that ignores a rule is worse than one that does not run.

extension Settings {
    /// The cluster has more than one founder.
    package var isSeveral: Bool { (self.cluster?.seeds.count ?? 0) > 1 }

    /// Sentences for the operator, one for each setting that must not be ignored; empty: start.
    package var notBuilt: [String] { [] }
}
