// SettingsFaults.swift - everything that is wrong with a settings file, told in one run.

/// One fault, with what to do about it.
package struct SettingsFault: Hashable, Sendable {
    /// Counts from 1; 0: the file as a whole.
    package var line: Int
    package var what: String
    package var remedy: String

    package init(line: Int, what: String, remedy: String) {
        self.line = line
        self.what = what
        self.remedy = remedy
    }
}

/// The faults of one file, in the order of their lines; at least one.
package struct SettingsFaults: Error, Hashable, Sendable, CustomStringConvertible {
    package var path: String
    package var faults: [SettingsFault]

    package init(path: String, faults: [SettingsFault]) {
        self.path = path
        self.faults = faults.enumerated()
            .sorted { ($0.element.line, $0.offset) < ($1.element.line, $1.offset) }
            .map(\.element)
    }

    /// One line for each fault: `file:line: what; remedy`.
    package var description: String {
        self.faults.map { fault in
            let place = fault.line > 0 ? "\(self.path):\(fault.line)" : self.path
            return "\(place): \(fault.what); \(fault.remedy)"
        }.joined(separator: "\n")
    }
}

/// What is wrong with one value, before its place is known.
struct ValueFault: Error, Equatable {
    var what: String
    var remedy: String
}
