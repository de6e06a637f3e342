// HAProxy.swift - Debian's HAProxy in front of a relay, with the file of Deploy/haproxy.

import Foundation

/// A running HAProxy; it ends with its owner.
final class HAProxy {
    private static let sample = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Deploy/haproxy/haproxy.cfg")

    /// In front of the relay's ports.
    let smtp: Int
    let smtps: Int
    let submission: Int
    private let process: ChildProcess
    private let socket: String

    /// Where one of the sample's nodes is in this test.
    struct Ports {
        var smtp: Int
        var smtps: Int
        var submission: Int
        var admin: Int
    }

    /// Runs the sample with as many of its nodes `a`, `b`, `c` as there are `ports`.
    ///
    /// - Parameter change: further changes of the text, e.g. another version of the header.
    init(
        to ports: [Ports], admin certificate: String, folder: Folder,
        change: (String) -> String = { $0 }
    ) throws {
        try need("haproxy", package: "haproxy")
        self.socket = folder.path + "/haproxy.sock"
        // Nothing but HAProxy itself can hold a port for HAProxy: another program may take one
        // between our look and its start, so it is tried again with other ports.
        var last = ""
        for _ in 0..<5 {
            let front = try (0..<3).map { _ in try Self.freePort() }
            let text = change(
                try Self.text(front, ports, certificate: certificate, socket: self.socket))
            let file = try folder.write("haproxy.cfg", text)
            let process = try ChildProcess("/usr/sbin/haproxy", ["-db", "-f", file])
            let listens = eventually(within: 10) {
                !process.isRunning || front.allSatisfy { (try? Connection(port: $0)) != nil }
            }
            if listens, process.isRunning {
                (self.smtp, self.smtps, self.submission) = (front[0], front[1], front[2])
                self.process = process
                return
            }
            process.signal(SIGKILL)
            last = try process.wait(seconds: 10).errorText
        }
        throw Failure("haproxy does not start: \(last)")
    }

    deinit { self.process.signal(SIGKILL) }

    private static func freePort() throws -> Int {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        return try bound(descriptor, "127.0.0.1", 0)
    }

    /// The sample with other addresses, ports and files.
    private static func text(
        _ front: [Int], _ ports: [Ports], certificate: String, socket: String
    ) throws -> String {
        let sample = try String(contentsOf: Self.sample, encoding: .utf8)
        let names = ["a", "b", "c"]
        let absent = names.dropFirst(ports.count)
        var text = sample.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { line in !absent.contains { line.contains("server \($0) ") } }
            .joined(separator: "\n")
        var changes = [
            ("bind :25\n", "bind 127.0.0.1:\(front[0])\n"),
            ("bind :465\n", "bind 127.0.0.1:\(front[1])\n"),
            ("bind :587\n", "bind 127.0.0.1:\(front[2])\n"),
            ("check port 8680 ", "check "),
            ("/etc/haproxy/posthouse-admin.pem", certificate),
            ("/run/haproxy/admin.sock", socket),
            ("inter 2s", "inter 200ms"), ("maxconn 20000", "maxconn 200"),
        ]
        for (place, node) in ports.enumerated() {
            let server = "server \(names[place]) "
            let old = server + "10.0.0.\(place + 1):"
            changes += [
                (old + "25\n", server + "127.0.0.1:\(node.smtp) port \(node.admin)\n"),
                (old + "465 ", server + "127.0.0.1:\(node.smtps) "),
                (old + "587\n", server + "127.0.0.1:\(node.submission)\n"),
            ]
        }
        for (old, new) in changes {
            guard text.contains(old) else { throw Failure("the sample does not say: \(old)") }
            text = text.replacing(old, with: new)
        }
        return text
    }

    /// What `show stat` says of a node: backend to status and last check, as `UP L7OK`.
    func states(of node: String = "a") throws -> [String: String] {
        try self.column("row['status'] + ' ' + row['check_status']", of: node)
    }

    /// Sessions that a node has been given since the start, by backend.
    func sessions(of node: String) throws -> [String: Int] {
        try self.column("row['stot']", of: node).compactMapValues { Int($0) }
    }

    private func column(_ expression: String, of node: String) throws -> [String: String] {
        let script = """
            import csv, io, socket, sys
            s = socket.socket(socket.AF_UNIX)
            s.connect(sys.argv[1])
            s.sendall(b"show stat\\n")
            text = s.makefile().read().lstrip("# ")
            for row in csv.DictReader(io.StringIO(text)):
                if row["svname"] == sys.argv[2]:
                    print(row["pxname"], \(expression))
            """
        let ended = try run("/usr/bin/python3", ["-c", script, self.socket, node])
        guard ended.status == 0 else { throw Failure(ended.errorText) }
        var states: [String: String] = [:]
        for line in ended.outputText.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1)
            states[String(words[0])] = words[1].trimmingCharacters(in: .whitespaces)
        }
        return states
    }
}
