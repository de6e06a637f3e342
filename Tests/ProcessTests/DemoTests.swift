// DemoTests.swift - `posthouse demo` as a user meets it: its words, a dead leader, no orphans.

import Foundation
import Testing

/// A demo that runs, and what it has said.
private final class RunningDemo {
    struct Node {
        var name: String
        var pid: pid_t
    }

    let process: ChildProcess

    init(_ arguments: String...) throws {
        self.process = try ChildProcess(try Relay.binary(), ["demo"] + arguments)
    }

    /// Waits until it has said where things are.
    func nodes() throws -> [Node] {
        let text = self.process.state.wait(seconds: 120) { state -> String? in
            state.outputText.contains("Ctrl-C.") || state.status != nil ? state.outputText : nil
        }
        guard let text, text.contains("Ctrl-C.") else {
            throw Failure("the demo does not run: \(self.process.state.current.errorText)")
        }
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 4, words[3].hasPrefix("http://"), let pid = pid_t(words[1]) else {
                return nil
            }
            return Node(name: String(words[0]), pid: pid)
        }
    }

    /// The last word of the line that begins so.
    func number(after words: String) -> pid_t? {
        self.process.state.current.outputText.split(separator: "\n")
            .first { $0.hasPrefix(words) }?.split(separator: " ").last.flatMap { pid_t($0) }
    }

    func waitForMessage(_ words: String, seconds: Double = 60) -> Bool {
        self.process.state.wait(seconds: seconds) {
            $0.errorText.contains(words) || $0.status != nil ? $0.errorText.contains(words) : nil
        } ?? false
    }
}

/// The numbers of the last line.
private struct LastLine: Equatable {
    var accepted = 0
    var delivered = 0
    var lost = 0
    var duplicates = 0

    init?(_ output: String) {
        let words = output.split(separator: "\n").last?.split(separator: " ") ?? []
        let names = ["accepted", "delivered", "lost", "duplicates"]
        guard words.count == 8 else { return nil }
        var numbers: [Int] = []
        for (i, name) in names.enumerated() {
            let comma = i == 3 ? "" : ","
            guard words[2 * i] == name, words[2 * i + 1].hasSuffix(comma),
                let number = Int(words[2 * i + 1].dropLast(comma.count))
            else { return nil }
            numbers.append(number)
        }
        (self.accepted, self.delivered) = (numbers[0], numbers[1])
        (self.lost, self.duplicates) = (numbers[2], numbers[3])
    }
}

/// Whether a process is there, and no zombie that only waits for its parent.
private func lives(_ pid: pid_t) -> Bool {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return false }
    let rest = String(decoding: data, as: UTF8.self).split(separator: ")").last ?? ""
    return !rest.hasPrefix(" Z") && !rest.hasPrefix(" X")
}

extension ProcessTests {
    @Suite("The demo", .timeLimit(.minutes(5))) struct DemoTests {
        @Test func `kill -9 of the leader loses nothing, and the last line says so`() throws {
            let demo = try RunningDemo("--seconds", "15", "--load", "50")
            let nodes = try demo.nodes()
            #expect(nodes.map(\.name) == ["a", "b", "c"])
            let leader = try #require(demo.number(after: "Kill the leader"))
            let name = try #require(nodes.first { $0.pid == leader }?.name)
            kill(leader, SIGKILL)
            #expect(demo.waitForMessage("node \(name) (pid \(leader)) is gone: signal 9"))
            #expect(demo.waitForMessage("leads now; kill it with: kill -9 "))
            // It stays away until the user asks.
            let own = try #require(demo.number(after: "Start it again"))
            #expect(own == demo.process.pid)
            kill(own, SIGUSR1)
            #expect(demo.waitForMessage("node \(name) is started again"))
            let end = try demo.process.wait(seconds: 180)
            #expect(end.status == 0, "\(end.errorText)")
            let line = try #require(LastLine(end.outputText), "\(end.outputText)")
            print("demo: \(line)")
            #expect(line.lost == 0)
            #expect(line.accepted == line.delivered && line.accepted > 0, "\(end.errorText)")
            for node in nodes { #expect(!lives(node.pid)) }
        }

        @Test func `a demo that is killed takes its nodes with it, also one that is stopped`()
            throws
        {
            let folder = try Folder()
            let demo = try RunningDemo("--dir", folder.path + "/demo", "--load", "0")
            let nodes = try demo.nodes()
            #expect(nodes.allSatisfy { lives($0.pid) })
            kill(nodes[1].pid, SIGSTOP)
            demo.process.signal(SIGKILL)
            _ = try demo.process.wait(seconds: 10)
            #expect(eventually(within: 10) { !lives(nodes[0].pid) && !lives(nodes[2].pid) })
            // Where there is no terminal, nobody wakes it: it ends when it is.
            kill(nodes[1].pid, SIGCONT)
            #expect(eventually(within: 10) { !lives(nodes[1].pid) })

            // The directory is good for another one, with the same nodes.
            let again = try RunningDemo("--dir", folder.path + "/demo", "--seconds", "1")
            let end = try again.process.wait(seconds: 180)
            #expect(end.status == 0, "\(end.errorText)")
            #expect(LastLine(end.outputText)?.lost == 0, "\(end.outputText)")
            let more = try run(
                try Relay.binary(), ["demo", "--dir", folder.path + "/demo", "--nodes", "5"])
            #expect(more.status == 65, "\(more.errorText)")
            #expect(more.errorText.contains("is of a demo with fewer nodes"))
        }

        @Test func `Ctrl-C ends it in order, and one node makes a demo too`() throws {
            let demo = try RunningDemo("--nodes", "1", "--load", "200")
            let nodes = try demo.nodes()
            #expect(nodes.map(\.name) == ["a"])
            #expect(demo.waitForMessage("accepted "))
            demo.process.signal(SIGINT)
            let end = try demo.process.wait(seconds: 120)
            #expect(end.status == 0, "\(end.errorText)")
            let line = try #require(LastLine(end.outputText), "\(end.outputText)")
            #expect(line.accepted > 0 && line.lost == 0 && line.duplicates == 0)
            #expect(!lives(nodes[0].pid))
        }

        @Test func `a node that cannot start is said with the end of its log`() throws {
            let folder = try Folder()
            // Where node b's data should be is a file.
            let path = folder.path + "/demo"
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true)
            try folder.write("demo/b", "no directory\n")
            let end = try run(try Relay.binary(), ["demo", "--dir", path], seconds: 120)
            #expect(end.status == 70)
            #expect(end.errorText.contains("node b does not start (exit code"), "\(end.errorText)")
            #expect(end.errorText.contains("posthouse: "))
            #expect(LastLine(end.outputText) == nil)
        }
    }
}
