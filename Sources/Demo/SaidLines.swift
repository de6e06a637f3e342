// SaidLines.swift - what a command would have said, kept.

import Synchronization

final class SaidLines: Sendable {
    private let lines = Mutex<[String]>([])

    func add(_ line: String) { self.lines.withLock { $0.append(line) } }

    var text: String { self.lines.withLock { $0.joined(separator: "\n") } }
}
