// ClusterChangeCommand.swift - posthouse cluster drain, undrain, remove, transfer-leader, promote,
// demote.
//
// Takes     a node's name; any node is asked, the cluster does it.
// Gives     progress on standard error, the end on standard output.
// Ends      0 done; 66 no such node; 75 refused, or not done in time (it goes on); 11 no quorum.
// Asks      again every 200 ms: what is asked twice is done once.

import ArgumentParser
import Glibc
import Primitives

/// One change, asked for until it is done.
struct ChangeRun {
    /// Between two questions.
    private static let pauseMicroseconds: UInt32 = 200_000

    var verb: String
    var node: String?
    var force = false
    var timeout: Duration

    func ask(_ client: AdminClient, dryRun: Bool = false) throws(CommandFailure) -> JSON {
        try client.json(
            .post, "/v1/cluster/\(self.verb)",
            body: [
                "node": JSON(self.node), "force_dead": .flag(self.force), "dry_run": .flag(dryRun),
            ])
    }

    /// Returns the last answer, which says `done`.
    func perform(
        _ client: AdminClient, _ terminal: Terminal
    ) throws(CommandFailure) -> JSON {
        let end = terminal.now() + self.timeout.inMilliseconds
        var answer = try self.ask(client)
        // Whom the cluster has chosen stays the one that is asked for.
        var run = self
        run.node = answer["node"]?.asText ?? self.node
        var said = ""
        var trouble: CommandFailure?
        while answer["done"]?.asFlag != true || trouble != nil {
            let line = Self.line(answer)
            if line != said, trouble == nil { terminal.tell(line) }
            said = line
            guard terminal.now() < end else {
                throw trouble
                    ?? CommandFailure(
                        .tryAgain,
                        "not done in \(Human.span(milliseconds: self.timeout.inMilliseconds)): "
                            + line)
            }
            usleep(Self.pauseMicroseconds)
            do {
                answer = try run.ask(client)
                trouble = nil
            } catch {
                guard Self.mayPass(error.status) else { throw error }
                trouble = error
            }
        }
        return answer
    }

    /// The leader may just be changing, or the node that was asked ends: that passes, or the time
    /// does. What the node has understood and refuses does not pass by being asked again.
    private static func mayPass(_ status: ExitStatus) -> Bool {
        switch status {
        case .noQuorum, .noNodeReachable, .tryAgain: true
        case .ok, .degraded, .usage, .badData, .noSuchThing, .internalFault, .inputOutput,
            .notPermitted, .configuration:
            false
        }
    }

    /// "c: sessions 3, leases 44, leads"
    static func line(_ answer: JSON) -> String {
        func count(_ name: String) -> Int64 { answer[name]?.asInteger ?? 0 }
        var parts = [
            "sessions \(Human.count(count("sessions_in")))",
            "leases \(Human.count(count("leases")))",
        ]
        if count("below") > 0 {
            parts.append("with too few copies elsewhere \(Human.count(count("below")))")
        }
        if count("lost") > 0 {
            parts.append("without another copy \(Human.count(count("lost")))")
        }
        if answer["leader"]?.asFlag == true { parts.append("leads") }
        return "\(Human.safe(answer["node"]?.asText ?? "-")): " + parts.joined(separator: ", ")
    }
}

struct ChangeOptions: ParsableArguments {
    @OptionGroup var server: ServerOptions
    @Option(help: "Wait at most so long until it is done (such as 90s).")
    var timeout: DurationArgument?

    /// - Parameter end: the sentence for people, from the last answer.
    func perform(
        _ run: ChangeRun, _ terminal: Terminal, end: (JSON) -> String
    ) throws(CommandFailure) {
        var run = run
        run.timeout = self.timeout?.duration ?? run.timeout
        let answer = try run.perform(try self.server.client(terminal), terminal)
        if self.server.output == .json {
            terminal.writeBytes(answer.bytes + [10])
        } else {
            terminal.write(end(answer) + "\n")
        }
    }

    static func name(_ answer: JSON) -> String {
        Human.safe(answer["node"]?.asText ?? "-")
    }

    static func canLose(_ answer: JSON) -> String {
        let count = answer["can_lose"]?.asInteger ?? 0
        return "\(count) more \(count == 1 ? "node" : "nodes")"
    }
}

struct ClusterDrainCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Take work away from a node, until undrain.",
        discussion: """
            It gets no new deliveries, is not ready for load balancers at once, refuses new \
            sessions after 10 s and hands the leadership over. It still votes and keeps its copies.
            """)
    @OptionGroup var options: ChangeOptions
    @Argument(help: "The node's name.") var node: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let run = ChangeRun(verb: "drain", node: self.node, timeout: .seconds(600))
        try self.options.perform(run, terminal) { answer in
            "\(ChangeOptions.name(answer)): drained. Without it the cluster has no work there; "
                + "now it can lose \(ChangeOptions.canLose(answer))."
        }
    }
}

struct ClusterUndrainCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "undrain", abstract: "Give a node work again; it no longer leaves.")
    @OptionGroup var options: ChangeOptions
    @Argument(help: "The node's name.") var node: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let run = ChangeRun(verb: "undrain", node: self.node, timeout: .seconds(10))
        try self.options.perform(run, terminal) { "\(ChangeOptions.name($0)): works again" }
    }
}

struct ClusterRemoveCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a node out of the cluster for good.",
        discussion: """
            First it is drained and what would have too few copies is copied to others; while a \
            message would keep no copy elsewhere it is refused with 75. --force-dead gives up a \
            node that is gone for good, and lists the messages that are lost with it.
            """)
    @OptionGroup var options: ChangeOptions
    @Flag(help: "The node is gone for good: give up what only it has.")
    var forceDead = false
    @Flag(help: "Do not ask.")
    var yes = false
    @Argument(help: "The node's name.") var node: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        var run = ChangeRun(verb: "remove", node: self.node, timeout: .seconds(600))
        if self.forceDead {
            let client = try self.options.server.client(terminal)
            run.force = true
            try self.confirm(try run.ask(client, dryRun: true), terminal)
        }
        try self.options.perform(run, terminal) { answer in
            "\(ChangeOptions.name(answer)): removed. "
                + "The cluster can lose \(ChangeOptions.canLose(answer))."
        }
    }

    /// Lists what is lost, then asks.
    private func confirm(_ cost: JSON, _ terminal: Terminal) throws(CommandFailure) {
        let lost = cost["lost"]?.asInteger ?? 0
        if self.options.server.output == .table {
            for id in cost["lost_messages"]?.asList ?? [] {
                terminal.write("lost \(Human.safe(id.asText ?? "-"))\n")
            }
        }
        terminal.tell(
            "\(Human.safe(self.node)): \(Human.count(lost)) messages have no copy elsewhere "
                + "and are lost with it")
        if self.yes { return }
        guard terminal.isInteractive else {
            throw CommandFailure(.notPermitted, "nothing changed; add --yes to give them up")
        }
        let answer = terminal.ask("remove \(Human.safe(self.node))? [y/N] ")
        guard let answer, ["y", "yes"].contains(answer.lowercased()) else {
            throw CommandFailure(.notPermitted, "nothing changed")
        }
    }
}

struct ClusterTransferCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "transfer-leader",
        abstract: "Let another voter lead: the named one, else the most caught-up one.")
    @OptionGroup var options: ChangeOptions
    @Argument(help: "The node's name.") var node: String?

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let run = ChangeRun(verb: "transfer-leader", node: self.node, timeout: .seconds(10))
        try self.options.perform(run, terminal) { "\(ChangeOptions.name($0)): leads" }
    }
}

struct ClusterPromoteCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Make a worker a voter, once it has caught up.")
    @OptionGroup var options: ChangeOptions
    @Argument(help: "The node's name.") var node: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let run = ChangeRun(verb: "promote", node: self.node, timeout: .seconds(60))
        try self.options.perform(run, terminal) { answer in
            "\(ChangeOptions.name(answer)): votes. "
                + "The cluster can lose \(ChangeOptions.canLose(answer))."
        }
    }
}

struct ClusterDemoteCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "demote", abstract: "Make a voter a worker.")
    @OptionGroup var options: ChangeOptions
    @Argument(help: "The node's name.") var node: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let run = ChangeRun(verb: "demote", node: self.node, timeout: .seconds(60))
        try self.options.perform(run, terminal) { answer in
            "\(ChangeOptions.name(answer)): works without a vote. "
                + "The cluster can lose \(ChangeOptions.canLose(answer))."
        }
    }
}
