// ClusterCommand.swift - posthouse cluster: how it is, as a page, a line and an exit code.

package import ArgumentParser
import Glibc
import Primitives

package struct ClusterCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Show how the cluster is, and change its nodes.",
        subcommands: [
            ClusterStatusCommand.self, ClusterHealthCommand.self, ClusterDrainCommand.self,
            ClusterUndrainCommand.self, ClusterRemoveCommand.self, ClusterTransferCommand.self,
            ClusterPromoteCommand.self, ClusterDemoteCommand.self,
        ])
    package init() {}
}

struct ClusterStatusCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Health and its reasons, members, queue, rates, alarms.",
        discussion: "Exit code 11 if the cluster has no quorum.")
    @OptionGroup var server: ServerOptions
    @Flag(help: "The asked node's own view; needs no quorum.")
    var local = false

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let status = try self.server.client(terminal)
            .json(.get, self.local ? "/v1/cluster?local=true" : "/v1/cluster")
        if self.server.output == .json {
            terminal.writeBytes(status.bytes + [10])
        } else {
            terminal.write(StatusPage(status).text)
        }
        if status["status"]?.asText == "no_quorum" { throw CommandFailure(.noQuorum) }
    }
}

struct ClusterHealthCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "One line with reasons and next steps; the exit code.",
        discussion: "0 healthy, 10 degraded, 11 no quorum, 69 no node reachable.")
    /// Between two questions while waiting.
    private static let pauseMicroseconds: UInt32 = 200_000
    @OptionGroup var server: ServerOptions
    @Option(help: "Wait until it is healthy, at most so long (such as 60s).")
    var wait: DurationArgument?

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let client = try self.server.client(terminal)
        let end = terminal.now() + (self.wait?.duration.inMilliseconds ?? 0)
        while true {
            let isOver = terminal.now() >= end
            do throws(CommandFailure) {
                let status = try client.json(.get, "/v1/cluster")
                let health = Self.health(status)
                if health == .ok || isOver {
                    self.tell(status, terminal)
                    if health != .ok { throw CommandFailure(health) }
                    return
                }
            } catch {
                if isOver || error.status == .notPermitted { throw error }
            }
            usleep(Self.pauseMicroseconds)
        }
    }

    private static func health(_ status: JSON) -> ExitStatus {
        switch status["status"]?.asText {
        case "healthy": .ok
        case "no_quorum": .noQuorum
        case _: .degraded
        }
    }

    private func tell(_ status: JSON, _ terminal: Terminal) {
        let word = status["status"]?.asText ?? "unknown"
        let canLose = status["can_lose"]?.asInteger ?? 0
        if self.server.output == .json {
            let answer: JSON = [
                "schema": "posthouse.health/1", "status": .text(word), "can_lose": JSON(canLose),
                "quorum": .flag(word != "no_quorum"), "leader": status["leader"] ?? .null,
                "reasons": status["reasons"] ?? .list([]), "notes": status["notes"] ?? .list([]),
            ]
            terminal.writeBytes(answer.bytes + [10])
        } else {
            let why = StatusLine.tail(StatusLine.list(status["reasons"]))
            terminal.write("\(Human.safe(word)), can lose \(canLose) more\(why)\n")
        }
    }
}
