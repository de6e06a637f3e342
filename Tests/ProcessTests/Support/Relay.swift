// Relay.swift - the built program, running on loopback with a folder of its own.

import Foundation

/// Settings of a relay in a test; ports are always chosen by the system.
struct RelaySettings: Sendable {
    var name = "a"
    var data: String?
    /// The smart host; nil: by MX.
    var sinkPort: Int?
    var mxPort: Int?
    var dnsPort: Int?
    var retry = ["1s"]
    var expire = "1h"
    var allow = "127.0.0.0/8"
    var delivers = true
    /// The least severe messages that are logged; nil: the program's default.
    var log: String?
    /// More variables of the process.
    var environment: [String: String] = [:]
    /// More keys of `[delivery]`, and whole tables.
    var delivery = ""
    var relay = ""
    var extra = ""
    /// Each becomes a listener: its keys but the address.
    var listeners = ["mode = \"relay\"\ntls = \"off\""]
    /// A port for each listener and one for the admin interface, that stay over a restart; empty:
    /// chosen by the system at each start.
    var ports: [Int] = []

    /// Where listeners are, and where the smart host is.
    var address = "127.0.0.1"
    var sinkAddress = "127.0.0.1"
    /// The network that the process lives in; nil: that of the tests.
    var space: NetworkSpace?

    private func port(_ place: Int) -> Int { self.ports.isEmpty ? 0 : self.ports[place] }

    func text(folder: String) -> String {
        var text = """
            [node]
            name = "\(self.name)"
            hostname = "relay.posthouse.example"
            data = "\(self.data ?? folder + "/data")"
            \(self.log.map { "log = \"\($0)\"" } ?? "")

            [relay]
            allow = ["\(self.allow)"]
            \(self.relay)

            [delivery]
            enabled = \(self.delivers)
            retry = [\(self.retry.map { "\"\($0)\"" }.joined(separator: ", "))]
            expire = "\(self.expire)"
            ipv6 = false
            postmaster = "postmaster@posthouse.example"
            \(self.delivery)

            """
        if let port = self.mxPort { text += "port = \(port)\n" }
        for (place, listener) in self.listeners.enumerated() {
            text +=
                "\n[[listener]]\naddress = \"\(self.address):\(self.port(place))\"\n\(listener)\n"
        }
        if let port = self.sinkPort {
            text += "\n[[route]]\ndomains = [\"*\"]\nvia = \"smtp://\(self.sinkAddress):\(port)\"\n"
            text += "tls = \"none\"\n"
        }
        if let port = self.dnsPort { text += "\n[dns]\nservers = [\"127.0.0.1@\(port)\"]\n" }
        let admin = self.port(self.listeners.count)
        text += "\n[admin]\nlisten = \"127.0.0.1:\(admin)\"\n"
        return text + self.extra
    }
}

/// One relay: its process may end and begin again, its folder stays.
final class Relay: @unchecked Sendable {  // used by one thread at a time
    /// Past this a start counts as failed.
    static let startSeconds = 30.0
    /// Past this an answer of the admin interface is given up.
    static let answerSeconds = 20.0
    let folder: Folder
    var settings: RelaySettings
    private(set) var process: ChildProcess?
    /// In the order of the listeners.
    private(set) var smtpPorts: [Int] = []
    private(set) var adminPort = 0

    var port: Int { self.smtpPorts.first ?? 0 }
    var configuration: String { self.folder.path + "/posthouse.toml" }
    var server: String { "http://127.0.0.1:\(self.adminPort)" }

    /// - Parameter starts: whether it runs when this returns.
    init(_ settings: RelaySettings, folder: Folder? = nil, starts: Bool = true) throws {
        self.folder = try folder ?? Folder()
        self.settings = settings
        if starts { try self.start() }
    }

    deinit { self.kill() }

    /// The program: `POSTHOUSE_BINARY`, else the one beside the tests.
    static func binary() throws -> String {
        if let path = ProcessInfo.processInfo.environment["POSTHOUSE_BINARY"] { return path }
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var folder = URL(fileURLWithPath: own).deletingLastPathComponent()
        while folder.path != "/" {
            let path = folder.appendingPathComponent("posthouse").path
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder),
                !isFolder.boolValue
            {
                return path
            }
            folder = folder.deletingLastPathComponent()
        }
        throw Failure("no posthouse beside \(own): run `swift build`, or set POSTHOUSE_BINARY")
    }

    func writeSettings() throws {
        try self.folder.write("posthouse.toml", self.settings.text(folder: self.folder.path))
    }

    /// Starts the process, which may end before it is ready.
    @discardableResult
    func launch() throws -> ChildProcess {
        try self.writeSettings()
        let call = try self.call(["serve", "--config", self.configuration])
        let process = try ChildProcess(
            call.program, call.arguments, environment: self.settings.environment)
        self.process = process
        return process
    }

    /// Starts the process and waits until it says `ready`.
    func start() throws {
        let process = try self.launch()
        let lines = process.state.wait(seconds: Self.startSeconds) { state -> [Substring]? in
            let lines = state.errorText.split(separator: "\n")
            return lines.contains("ready") || state.status != nil ? lines : nil
        }
        guard let lines, lines.contains("ready") else {
            let state = process.state.current
            self.kill()
            throw Failure("the relay is not ready (\(state.status ?? -1)):\n\(state.errorText)")
        }
        self.smtpPorts = Self.ports("listening smtp ", lines)
        self.adminPort = Self.ports("listening admin ", lines).first ?? 0
    }

    /// The program and its arguments, in the network where the relay lives.
    private func call(_ arguments: [String]) throws -> (program: String, arguments: [String]) {
        let own = [try Self.binary()] + arguments
        let whole = (self.settings.space?.entering ?? []) + own
        return (whole[0], Array(whole.dropFirst()))
    }

    private static func ports(_ prefix: String, _ lines: [Substring]) -> [Int] {
        lines.filter { $0.hasPrefix(prefix) }
            .compactMap { $0.split(separator: ":").last.flatMap { Int($0) } }
    }

    /// SIGTERM; the exit code and how long it took.
    @discardableResult
    func stop(seconds: Double = 15) throws -> (status: Int, seconds: Double) {
        guard let process = self.process else { throw Failure("the relay does not run") }
        let start = now()
        process.signal(SIGTERM)
        let state = try process.wait(seconds: seconds)
        self.process = nil
        return (state.status ?? -1, now() - start)
    }

    /// SIGKILL, and the process is gone when this returns.
    func kill() {
        guard let process = self.process else { return }
        process.signal(SIGKILL)
        _ = process.state.wait(seconds: 10) { $0.status }
        self.process = nil
    }

    var log: String { self.process?.state.current.errorText ?? "" }

    /// A line of the log that contains all of `words`.
    func waitForLog(_ words: String..., seconds: Double = 10) -> Bool {
        self.process?.state.wait(seconds: seconds) { state in
            state.errorText.split(separator: "\n").contains { line in
                words.allSatisfy { line.contains($0) }
            } ? true : nil
        } ?? false
    }

    /// Runs a command of the program against this relay.
    func command(_ arguments: String..., input: String = "") throws -> ChildProcess.State {
        try self.command(arguments, input: input)
    }

    func command(_ arguments: [String], input: String = "") throws -> ChildProcess.State {
        let call = try self.call(arguments + ["--server", self.server])
        return try run(call.program, call.arguments, input: input)
    }

    /// Has what is deferred tried at once, again and again, until `condition` holds.
    func retryUntil(seconds: Double, _ condition: () -> Bool) throws -> Bool {
        try eventually(within: seconds) {
            if try self.get("/v1/queue").body.contains("\"deferred\"") {
                let ended = try self.command("queue", "retry", "--state", "deferred", "--yes")
                guard ended.status == 0 else { throw Failure(ended.errorText) }
            }
            return condition()
        }
    }

    /// `GET path` of the admin interface: status and body.
    func get(_ path: String) throws -> (status: Int, body: String) {
        let connection = try Connection(port: self.adminPort, space: self.settings.space)
        connection.seconds = Self.answerSeconds
        try connection.send(
            "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        var bytes: [UInt8] = []
        while let more = try connection.receive() { bytes += more }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n"),
            let status = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { throw Failure("no HTTP answer: \(text)") }
        var body = String(text[end.upperBound...])
        if text[..<end.lowerBound].lowercased().contains("transfer-encoding: chunked") {
            body = Self.unchunked(body)
        }
        return (status, body)
    }

    private static func unchunked(_ text: String) -> String {
        var rest = text[...]
        var body = ""
        while let line = rest.range(of: "\r\n"),
            let count = Int(rest[..<line.lowerBound], radix: 16), count > 0
        {
            let chunk = rest[line.upperBound...].utf8.prefix(count)
            body += String(decoding: Array(chunk), as: UTF8.self)
            rest = rest[chunk.endIndex...].dropFirst(1)
        }
        return body
    }

    /// `GET /v1/cluster` as JSON.
    func cluster() throws -> [String: Any] {
        let answer = try self.get("/v1/cluster")
        let json = try JSONSerialization.jsonObject(with: Data(answer.body.utf8))
        guard let object = json as? [String: Any] else { throw Failure("not JSON: \(answer)") }
        return object
    }

    /// Messages in the queue.
    func queued() throws -> Int {
        let queue = try self.cluster()["queue"] as? [String: Any]
        guard let queue else { return -1 }
        return Int(any: queue["messages"]) ?? -1
    }

    func possibleDuplicates() throws -> Int {
        Int(any: try self.cluster()["possible_duplicates"]) ?? -1
    }
}

extension Int {
    /// A number of JSON, whether written as one or as text.
    init?(any value: Any?) {
        if let number = value as? Int {
            self = number
        } else if let text = value as? String, let number = Int(text) {
            self = number
        } else {
            return nil
        }
    }
}
