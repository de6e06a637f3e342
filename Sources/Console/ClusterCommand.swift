// ClusterCommand.swift - posthouse cluster: how it is.

package import ArgumentParser
import Glibc
import Primitives

package struct ClusterCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Show how the cluster is.",
        subcommands: [ClusterStatusCommand.self, ClusterHealthCommand.self])
    package init() {}
}

struct ClusterStatusCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Members, queue, rates, alarms.",
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
        commandName: "health", abstract: "One line, and the exit code.",
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
            ]
            terminal.writeBytes(answer.bytes + [10])
        } else {
            terminal.write("\(Human.safe(word)), can lose \(canLose) more\n")
        }
    }
}

/// `cluster status` for people.
struct StatusPage {
    private let status: JSON

    init(_ status: JSON) {
        self.status = status
    }

    var text: String { self.summary + "\n" + self.nodes + self.alarms }

    private func whole(_ value: JSON?) -> String { Human.count(value?.asInteger ?? 0) }

    private var summary: String {
        let health = (self.status["status"]?.asText ?? "unknown").uppercased()
            .split(separator: "_").joined(separator: " ")
        let name = self.status["name"]?.asText ?? ""
        var text = "Cluster  \(name.isEmpty ? "of one" : Human.safe(name))   \(health)   "
        text += "can lose \(self.whole(self.status["can_lose"])) more\n"
        let leader = self.status["leader"]?.asText
        text += "Leader   \(leader.map { Human.safe($0) } ?? "none")   term "
        text += Human.safe(self.status["term"]?.asText ?? "-") + "\n"
        if let queue = self.status["queue"], !queue.isNull {
            let oldest = queue["oldest_seconds"]?.asInteger
            text += "Queue    \(self.whole(queue["messages"])) messages to "
            text += "\(self.whole(queue["recipients"])) recipients   "
            text += "\(Human.bytes(queue["stored_bytes"]?.asInteger ?? 0)) stored   oldest "
            text += (oldest.map { Human.span(milliseconds: $0 * 1000) } ?? "-") + "\n"
            text +=
                "         due \(self.whole(queue["due"]))   leased \(self.whole(queue["leased"]))"
            text +=
                "   deferred \(self.whole(queue["deferred"]))   held \(self.whole(queue["held"]))\n"
        } else {
            text += "Queue    not known yet: catching up\n"
        }
        let rates = self.status["rates"]
        func rate(_ name: String) -> String { Human.rate(rates?[name]?.asReal ?? 0) }
        text += "Traffic  accepted \(rate("accepted"))   delivered \(rate("delivered"))   "
        text += "deferred \(rate("deferred"))   bounced \(rate("bounced"))   (last 60 s)\n"
        text += "Possible duplicates: \(self.whole(self.status["possible_duplicates"]))\n"
        return text
    }

    private var nodes: String {
        var table = Table([
            ("NODE", .left), ("ROLE", .left), ("STATE", .left), ("LAG", .right),
            ("APPLIED", .right), ("LEASES", .right), ("IN", .right), ("OUT", .right),
            ("DISK FREE", .right), ("SEEN", .right),
        ])
        for node in self.status["nodes"]?.asList ?? [] {
            let mark = node["leader"]?.asFlag == true ? "L " : "  "
            let free = node["disk_free_ratio"]?.asReal ?? 0
            let seen = node["seen_ms"]?.asInteger ?? 0
            table.rows.append([
                mark + Human.safe(node["name"]?.asText ?? "-"),
                Human.safe(node["role"]?.asText ?? "-"),
                Human.safe(node["state"]?.asText ?? "-"), self.whole(node["lag"]),
                self.whole(node["applied"]), self.whole(node["leases"]),
                self.whole(node["sessions"]?["in"]), self.whole(node["sessions"]?["out"]),
                "\(Int64((free * 100).rounded()))%", Human.span(milliseconds: seen),
            ])
        }
        return table.text
    }

    private var alarms: String {
        let alarms = self.status["alarms"]?.asList ?? []
        if alarms.isEmpty { return "Alarms: none\n" }
        return alarms.map { "Alarm: \(Human.safe($0.asText ?? ""))\n" }.joined()
    }
}
