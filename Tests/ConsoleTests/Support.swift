import Console
import Foundation
import Synchronization
import Testing

/// What a command has written, and how it ended.
struct Outcome: Equatable {
    var status: Int32
    var out: String
    var messages: [String]
}

/// What the terminal's clock says.
enum TestTime { case fixed, real }

/// Runs a command as from a script, or at a terminal that answers with `typed`.
func run(
    _ arguments: String..., input: String = "", typed: [String]? = nil,
    environment: [String: String] = ["USER": "jo"], now: TestTime = .fixed
) -> Outcome {
    runAll(arguments, input: input, typed: typed, environment: environment, now: now)
}

func runAll(
    _ arguments: [String], input: String = "", typed: [String]? = nil,
    environment: [String: String] = ["USER": "jo"], now: TestTime = .fixed
) -> Outcome {
    let out = Mutex<[UInt8]>([])
    let messages = Mutex<[String]>([])
    let answers = Mutex(typed ?? input.split(separator: "\n").map(String.init))
    let next: @Sendable (String) -> String? = { _ in
        answers.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
    let terminal = Terminal(
        writeBytes: { bytes in out.withLock { $0 += bytes } },
        tell: { line in messages.withLock { $0.append(line) } },
        isInteractive: typed != nil, ask: next, askSecret: next,
        readInput: { limit in
            let bytes = Array(input.utf8)
            return bytes.count > limit ? nil : bytes
        },
        environment: { environment[$0] },
        now: {
            switch now {
            case .fixed: 1_788_510_930_000  // 2026-09-04T08:35:30Z
            case .real: Int64(Date().timeIntervalSince1970 * 1000)
            }
        })
    let status = Console.run(arguments, terminal: terminal)
    return Outcome(
        status: status, out: out.withLock { String(decoding: $0, as: UTF8.self) },
        messages: messages.withLock { $0 })
}

/// A directory that is gone with the value.
final class Folder {
    let path: String
    init() {
        self.path =
            FileManager.default.temporaryDirectory
            .appendingPathComponent("posthouse-\(UUID().uuidString)").path
        do {
            try FileManager.default.createDirectory(
                atPath: self.path, withIntermediateDirectories: false)
        } catch {
            Issue.record("no folder for a test: \(error)")
        }
    }
    // What is left in the folder for temporary files is no fault of a command.
    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func write(_ name: String, _ text: String) -> String {
        let path = "\(self.path)/\(name)"
        if !FileManager.default.createFile(atPath: path, contents: Data(text.utf8)) {
            Issue.record("cannot write \(path)")
        }
        return path
    }
    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(self.path)/\(name)")
            .map { String(decoding: $0, as: UTF8.self) }
    }
}
