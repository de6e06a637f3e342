// NotBuilt.swift - what settings can say and this version does not do: told at the start, as
// a relay that ignores a rule is worse than one that does not run.

extension Settings {
    /// Sentences for the operator, one for each setting that must not be ignored; empty: start.
    package var notBuilt: [String] {
        var sentences: [String] = []
        if let cluster, cluster.seeds.count > 1 {
            sentences.append(
                "[cluster]: clusters of several nodes are not built in this version; leave out "
                    + "the table")
        }
        return sentences
    }
}
