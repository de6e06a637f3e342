// ServerOptions.swift - the options of every command that asks a node.

import ArgumentParser
import Primitives
import Settings

enum OutputForm: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

struct ServerOptions: ParsableArguments {
    @Option(help: "The node's admin URL; else $POSTHOUSE_SERVER, else http://127.0.0.1:8680.")
    var server: String?

    @Option(help: "File whose first line is the admin token; else $POSTHOUSE_TOKEN_FILE.")
    var tokenFile: String?

    @Option(help: "PEM file of the authority to trust for https.")
    var ca: String?

    @Option(name: [.short, .customLong("output")], help: "table or json.")
    var output = OutputForm.table

    func client(_ terminal: Terminal) throws(CommandFailure) -> AdminClient {
        let text =
            self.server ?? terminal.environment("POSTHOUSE_SERVER") ?? "http://127.0.0.1:8680"
        guard let url = ServerURL(text) else {
            throw CommandFailure(.usage, "\(text) is no URL; write it like http://127.0.0.1:8680")
        }
        let file = self.tokenFile ?? terminal.environment("POSTHOUSE_TOKEN_FILE")
        let token = try file.map { path throws(CommandFailure) in try Self.secret(in: path) }
        return AdminClient(url: url, token: token, authority: self.ca)
    }

    /// The first line of a file.
    static func secret(in path: String) throws(CommandFailure) -> String {
        let bytes: [UInt8]
        do {
            bytes = try FileAccess.system.read(path)
        } catch {
            throw CommandFailure(
                error == .notPermitted ? .notPermitted : .noSuchThing, "\(path) \(error.text)")
        }
        var line = bytes.prefix { $0 != 10 }
        if line.last == 13 { line = line.dropLast() }
        guard !line.isEmpty, let text = String(validating: line, as: UTF8.self) else {
            throw CommandFailure(.badData, "the first line of \(path) is empty or not text")
        }
        return text
    }
}

/// A duration such as 90s, as an argument.
struct DurationArgument: ExpressibleByArgument, Equatable {
    var duration: Duration
    init?(argument: String) {
        guard let duration = Quantity.duration(argument) else { return nil }
        self.duration = duration
    }
}
