// QueueVerbs.swift - posthouse queue retry, hold, release, bounce, drop.
//
// Nothing is done by accident: without a filter only with --all, away from a terminal only with
// --yes, at a terminal after a dry run and a question.

import ArgumentParser
import Primitives

enum QueueVerb: String {
    case retry, hold, release, bounce, drop

    /// What was done: "dropped".
    var past: String {
        switch self {
        case .retry: "made due"
        case .hold: "held"
        case .release: "released"
        case .bounce: "bounced"
        case .drop: "dropped"
        }
    }
}

struct VerbOptions: ParsableArguments {
    @OptionGroup var server: ServerOptions
    @OptionGroup var filter: FilterOptions
    @Flag(help: "Count only, change nothing.")
    var dryRun = false
    @Flag(help: "Do not ask.")
    var yes = false
    @Option(help: "Why; stands in the log, and in the report of a bounce.")
    var reason: String?

    mutating func validate() throws {
        if self.filter.members.isEmpty {
            throw ValidationError("give a filter, or --all for all messages")
        }
    }

    func perform(_ verb: QueueVerb, _ terminal: Terminal) throws(CommandFailure) {
        if !self.dryRun && !self.yes && !terminal.isInteractive {
            throw CommandFailure(
                .notPermitted, "this is no terminal to ask at: add --yes, or --dry-run to count")
        }
        let client = try self.server.client(terminal)
        if !self.dryRun && !self.yes {
            let preview = try self.act(verb, dryRun: true, client)
            let matched = preview["matched"]?.asInteger ?? 0
            if matched > 0 {
                let noun = matched == 1 ? "delivery" : "deliveries"
                let answer = terminal.ask(
                    "\(verb.rawValue) \(Human.count(matched)) \(noun)? [y/N] ")
                guard let answer, ["y", "yes"].contains(answer.lowercased()) else {
                    throw CommandFailure(.notPermitted, "nothing changed")
                }
            }
        }
        let result = try self.act(verb, dryRun: self.dryRun, client)
        let matched = result["matched"]?.asInteger ?? 0
        if self.server.output == .json {
            terminal.writeBytes(result.bytes + [10])
        } else {
            terminal.write(self.summary(verb, result))
        }
        if let id = self.filter.id, matched == 0 {
            throw CommandFailure(.noSuchThing, "no message \(Human.safe(id)) matches")
        }
    }

    private func act(
        _ verb: QueueVerb, dryRun: Bool, _ client: AdminClient
    ) throws(CommandFailure) -> JSON {
        try client.json(
            .post, "/v1/queue/\(verb.rawValue)",
            body: [
                "filter": .object(self.filter.members), "dry_run": .flag(dryRun),
                "reason": JSON(self.reason),
            ])
    }

    private func summary(_ verb: QueueVerb, _ result: JSON) -> String {
        let matched = Human.count(result["matched"]?.asInteger ?? 0)
        let changed = Human.count(result["changed"]?.asInteger ?? 0)
        let inFlight = Human.count(result["in_flight"]?.asInteger ?? 0)
        if self.dryRun {
            return "matched \(matched), \(inFlight) in flight. Nothing changed.\n"
        }
        return "matched \(matched), \(verb.past) \(changed), \(inFlight) in flight\n"
    }
}

struct QueueRetry: Command {
    static let configuration = CommandConfiguration(
        commandName: "retry", abstract: "Attempt deferred messages now.")
    @OptionGroup var options: VerbOptions
    func perform(_ terminal: Terminal) throws(CommandFailure) {
        try self.options.perform(.retry, terminal)
    }
}

struct QueueHold: Command {
    static let configuration = CommandConfiguration(
        commandName: "hold", abstract: "Attempt messages no more until they are released.")
    @OptionGroup var options: VerbOptions
    func perform(_ terminal: Terminal) throws(CommandFailure) {
        try self.options.perform(.hold, terminal)
    }
}

struct QueueRelease: Command {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Let held messages go on.")
    @OptionGroup var options: VerbOptions
    func perform(_ terminal: Terminal) throws(CommandFailure) {
        try self.options.perform(.release, terminal)
    }
}

struct QueueBounce: Command {
    static let configuration = CommandConfiguration(
        commandName: "bounce", abstract: "Give messages back to their senders.")
    @OptionGroup var options: VerbOptions
    func perform(_ terminal: Terminal) throws(CommandFailure) {
        try self.options.perform(.bounce, terminal)
    }
}

struct QueueDrop: Command {
    static let configuration = CommandConfiguration(
        commandName: "drop", abstract: "Delete messages without telling anybody.")
    @OptionGroup var options: VerbOptions
    func perform(_ terminal: Terminal) throws(CommandFailure) {
        try self.options.perform(.drop, terminal)
    }
}
