// Finding.swift - one breach of a rule: where it is, which rule, and what to do.

/// Printed as `file:line: rule: remedy`, so that editors can jump to it.
package struct Finding: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Relative to the root of the repository.
    package let path: String
    /// From 1; 0 when the finding is about the whole file.
    package let line: Int
    /// A short constant name, the one that the list of exceptions uses.
    package let rule: String
    /// What to do, in one sentence.
    package let remedy: String
    /// What was measured, for rules with a limit.
    package let measured: Int?

    package init(
        _ path: String, _ line: Int, _ rule: String, _ remedy: String, measured: Int? = nil
    ) {
        self.path = path
        self.line = line
        self.rule = rule
        self.remedy = remedy
        self.measured = measured
    }

    package var description: String {
        self.line > 0
            ? "\(self.path):\(self.line): \(self.rule): \(self.remedy)"
            : "\(self.path): \(self.rule): \(self.remedy)"
    }

    package static func < (left: Finding, right: Finding) -> Bool {
        (left.path, left.line, left.rule) < (right.path, right.line, right.rule)
    }
}
