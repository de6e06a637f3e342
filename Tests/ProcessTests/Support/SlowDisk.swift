// SlowDisk.swift - what a running node's disk does with its writes: Tests/Tools/faults/slow.c.

import Foundation

/// Of one node; goes on over its restarts.
final class SlowDisk: @unchecked Sendable {  // used by one thread at a time
    /// How long a call takes longer.
    enum Delay: Equatable {
        case milliseconds(Int32)
        /// Until it is set to something else.
        case forEver

        fileprivate var number: Int32 {
            switch self {
            case .milliseconds(let number): number
            case .forEver: -1
            }
        }
    }

    let environment: [String: String]
    private let path: String

    init(library: String, file: String) throws {
        self.path = file
        self.environment = ["LD_PRELOAD": library, "POSTHOUSE_SLOW_FILE": file]
        guard FileManager.default.createFile(atPath: file, contents: Data(count: 8)) else {
            throw Failure("cannot write \(file)")
        }
    }

    func use(syncs: Delay, writes: Delay) throws {
        // In place: the process has mapped this very file.
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: self.path))
        defer { handle.closeFile() }
        for number in [syncs.number, writes.number] {
            try handle.write(contentsOf: withUnsafeBytes(of: number) { Data($0) })
        }
    }

    func mend() throws { try self.use(syncs: .milliseconds(0), writes: .milliseconds(0)) }
}
