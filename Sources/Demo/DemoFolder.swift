// DemoFolder.swift - the demo's directory: authority, certificates, settings, logs, queues.
//
// Gives     the nodes with their places. `DIR/ca/`, `DIR/NAME.toml`, `DIR/NAME.log`, `DIR/NAME/`.
//           A directory of an earlier demo is used again: its nodes have their queues still.
// Limits    ports below those that systems give to outgoing connections, so that a node which
//           starts again finds its own free.

import Console
import Glibc
import Primitives

/// One node: where everything of it is.
struct DemoNode: Sendable {
    var name: String
    var smtpPort: Int
    var peerPort: Int
    var adminPort: Int
    var settingsPath: String
    var logPath: String

    var adminURL: String { "http://127.0.0.1:\(self.adminPort)" }
}

struct DemoFolder {
    /// Below the ephemeral ports of Linux, which begin at 32,768.
    private static let ports = 20_000..<32_000

    let path: String
    /// Ours to remove.
    let isTemporary: Bool
    private(set) var nodes: [DemoNode] = []

    /// - Parameter directory: nil: a new temporary one.
    init(_ directory: String?) throws(DemoFailure) {
        guard let directory else {
            // Where temporary things go is the user's choice.
            let place = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
            var template = Array("\(place)/posthouse-demo.XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else {
                throw DemoFailure(74, "no temporary directory in \(place): \(Self.reason())")
            }
            self.path = String(
                decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            self.isTemporary = true
            return
        }
        if mkdir(directory, 0o700) != 0 && errno != EEXIST {
            throw DemoFailure(74, "cannot make \(directory): \(Self.reason())")
        }
        guard let resolved = realpath(directory, nil) else {
            throw DemoFailure(74, "cannot use \(directory): \(Self.reason())")
        }
        self.path = String(cString: resolved)
        free(resolved)
        self.isTemporary = false
    }

    static func reason() -> String { String(cString: strerror(errno)) }

    /// Names, ports and certificates of so many nodes; what is there already stays.
    mutating func prepare(
        _ count: Int, dice: inout Generator, terminal: Terminal
    ) throws(DemoFailure) {
        let names = (0..<count).map { String(UnicodeScalar(UInt8(ascii: "a") + UInt8($0))) }
        let authority = self.path + "/ca"
        if access(authority + "/ca.pem", F_OK) != 0 {
            try Self.command(["ca", "init", authority], terminal)
        }
        let isNext = access(
            "\(self.path)/\(String(UnicodeScalar(UInt8(ascii: "a") + UInt8(count)))).toml", F_OK)
        if isNext == 0 {
            throw DemoFailure(
                65, "\(self.path) is of a demo with more nodes; give another --dir or more --nodes")
        }
        let isOld = access(self.path + "/a.toml", F_OK) == 0
        var taken: [Int] = []
        for name in names {
            if isOld, access("\(self.path)/\(name).toml", F_OK) != 0 {
                throw DemoFailure(
                    65, "\(self.path) is of a demo with fewer nodes; give another --dir")
            }
            if access("\(authority)/\(name).pem", F_OK) != 0 {
                try Self.command(
                    ["ca", "issue", authority, "--node", name, "--address", "127.0.0.1"], terminal)
            }
            let ports = try Self.freePorts(3, &dice, taken: &taken)
            self.nodes.append(
                DemoNode(
                    name: name, smtpPort: ports[0], peerPort: ports[1], adminPort: ports[2],
                    settingsPath: "\(self.path)/\(name).toml",
                    logPath: "\(self.path)/\(name).log"))
        }
    }

    /// Writes the settings of all nodes.
    ///
    /// - Parameter sinkPort: where all mail goes.
    func writeSettings(sinkPort: Int) throws(DemoFailure) {
        for node in self.nodes {
            let text = self.settings(of: node, sinkPort: sinkPort)
            let file = open(node.settingsPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard file >= 0 else {
                throw DemoFailure(74, "cannot write \(node.settingsPath): \(Self.reason())")
            }
            let bytes = Array(text.utf8)
            let count = write(file, bytes, bytes.count)
            close(file)
            if count != bytes.count {
                throw DemoFailure(74, "cannot write \(node.settingsPath): \(Self.reason())")
            }
        }
    }

    private func settings(of node: DemoNode, sinkPort: Int) -> String {
        let seeds = self.nodes.map { "\"\($0.name)@127.0.0.1:\($0.peerPort)\"" }
            .joined(separator: ", ")
        let cluster = """

            [cluster]
            name = "demo"
            listen = "127.0.0.1:\(node.peerPort)"
            seeds = [\(seeds)]
            ca = "\(self.path)/ca/ca.pem"
            certificate = "\(self.path)/ca/\(node.name).pem"
            key = "\(self.path)/ca/\(node.name).key"

            """
        return """
            # Made by posthouse demo.
            [node]
            name = "\(node.name)"
            hostname = "relay.demo.example"
            data = "\(self.path)/\(node.name)"
            log = "notice"
            \(self.nodes.count > 1 ? cluster : "")
            [[listener]]
            address = "127.0.0.1:\(node.smtpPort)"
            mode = "relay"
            tls = "off"

            [relay]
            allow = ["127.0.0.0/8"]

            [delivery]
            retry = ["1s", "2s", "5s"]
            postmaster = "postmaster@demo.example"

            [[route]]
            domains = ["*"]
            via = "smtp://127.0.0.1:\(sinkPort)"
            tls = "none"

            [admin]
            listen = "127.0.0.1:\(node.adminPort)"

            """
    }

    /// Runs one of the product's commands in this process, quietly.
    private static func command(
        _ arguments: [String], _ terminal: Terminal
    ) throws(DemoFailure) {
        let said = SaidLines()
        var quiet = terminal
        quiet.tell = { said.add($0) }
        let status = Console.run(arguments, terminal: quiet)
        if status != 0 { throw DemoFailure(status, said.text) }
    }

    private static func freePorts(
        _ count: Int, _ dice: inout Generator, taken: inout [Int]
    ) throws(DemoFailure) -> [Int] {
        var found: [Int] = []
        for _ in 0..<1000 where found.count < count {
            let port = Self.ports.lowerBound + Int(dice.next() % UInt64(Self.ports.count))
            if taken.contains(port) || !Self.isFree(port) { continue }
            found.append(port)
            taken.append(port)
        }
        guard found.count == count else {
            throw DemoFailure(74, "no free ports between \(Self.ports)")
        }
        return found
    }

    private static func isFree(_ port: Int) -> Bool {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { return false }
        defer { close(file) }
        var on: Int32 = 1
        setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    /// The newest lines of a node's log.
    func lastLines(of node: DemoNode, _ count: Int = 8) -> String {
        let file = open(node.logPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        let end = lseek(file, 0, SEEK_END)
        _ = lseek(file, max(0, end - 16_384), SEEK_SET)
        var bytes = [UInt8](repeating: 0, count: 16_384)
        let got = read(file, &bytes, bytes.count)
        let lines = String(decoding: bytes.prefix(max(0, got)), as: UTF8.self)
            .split(separator: "\n").suffix(count)
        return lines.map { "    " + $0 }.joined(separator: "\n")
    }

    /// Removes the directory with everything in it.
    ///
    /// - Returns: false: some of it is still there.
    func remove() -> Bool { Self.remove(self.path) }

    private static func remove(_ path: String) -> Bool {
        guard let folder = opendir(path) else { return unlink(path) == 0 }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        closedir(folder)
        // A link is a file here: nothing outside is followed, as the nodes make no links.
        let isEmpty = names.allSatisfy { Self.remove(path + "/" + $0) }
        return isEmpty && rmdir(path) == 0
    }
}
