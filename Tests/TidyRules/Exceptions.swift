// Exceptions.swift - what is let pass, for now.
//
// Takes     `Tests/tidy-exceptions.txt`: `rule path measured` a line, `#` begins a comment.
// Gives     the findings that are left, and one for each exception that could be smaller.

package struct Exceptions: Sendable {
    package struct Entry: Equatable, Sendable {
        package let rule: String
        package let path: String
        package let measured: Int
        package let line: Int
    }

    package static let path = "Tests/tidy-exceptions.txt"
    package let entries: [Entry]
    private let faults: [Finding]

    package init(text: String) {
        var entries: [Entry] = []
        var faults: [Finding] = []
        for (i, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        {
            let line = line.prefix { $0 != "#" }
            let fields = line.split(separator: " ")
            if fields.isEmpty { continue }
            guard fields.count == 3, let measured = Int(fields[2]) else {
                faults.append(
                    Finding(Self.path, i + 1, "exception", "write `rule path measured`"))
                continue
            }
            entries.append(
                Entry(
                    rule: String(fields[0]), path: String(fields[1]), measured: measured,
                    line: i + 1))
        }
        self.entries = entries
        self.faults = faults
    }

    /// The list only shrinks: an entry that is no longer needed, or larger than needed, is a
    /// finding, and so is one more entry than `cap`.
    package func apply(to findings: [Finding], cap: Int = Limits.exceptions) -> [Finding] {
        var left = self.faults
        if self.entries.count > cap {
            left.append(
                Finding(
                    Self.path, 0, "exception",
                    "\(self.entries.count) entries, at most \(cap): mend the code instead"))
        }
        if self.entries.count < cap {
            left.append(
                Finding(
                    Self.path, 0, "exception",
                    "\(self.entries.count) entries: lower Limits.exceptions to that"))
        }
        var worst: [Int: Int] = [:]
        for finding in findings {
            let at = self.entries.firstIndex {
                $0.rule == finding.rule && $0.path == finding.path
            }
            guard let at, let measured = finding.measured else {
                left.append(finding)
                continue
            }
            worst[at] = max(worst[at] ?? 0, measured)
            if measured > self.entries[at].measured { left.append(finding) }
        }
        for (i, entry) in self.entries.enumerated() {
            guard let measured = worst[i] else {
                left.append(
                    Finding(Self.path, entry.line, "exception", "no longer needed: delete it"))
                continue
            }
            if measured < entry.measured {
                left.append(
                    Finding(Self.path, entry.line, "exception", "lower it to \(measured)"))
            }
        }
        return left.sorted()
    }
}
