// QueueCommand.swift - posthouse queue: what waits, and what to do with it.

package import ArgumentParser
import Primitives

package struct QueueCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "queue", abstract: "Show and change what waits for delivery.",
        subcommands: [
            QueueList.self, QueueShow.self, QueueCat.self, QueueRetry.self, QueueHold.self,
            QueueRelease.self, QueueBounce.self, QueueDrop.self,
        ])
    package init() {}
}

struct QueueList: Command {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List messages, the oldest first.")
    @OptionGroup var server: ServerOptions
    @OptionGroup var filter: FilterOptions
    @Option(help: "Messages to show, at most.")
    var limit = 1000

    func validate() throws {
        guard (1...1_000_000).contains(self.limit) else {
            throw ValidationError("--limit takes 1 … 1000000")
        }
    }

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let answer = try self.server.client(terminal)
            .json(.get, "/v1/queue?limit=\(self.limit)\(self.filter.query)")
        if self.server.output == .json {
            terminal.writeBytes(answer.bytes + [10])
            return
        }
        let messages = answer["messages"]?.asList ?? []
        var table = MessageTable(now: terminal.now())
        for message in messages { table.add(message) }
        terminal.write(table.text)
        let total = answer["total"]?.asInteger ?? Int64(messages.count)
        terminal.tell("\(Human.count(Int64(messages.count))) of \(Human.count(total)) shown")
    }
}

struct QueueShow: Command {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show one message and its deliveries.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "Its queue id.") var id: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let message = try self.server.client(terminal)
            .json(.get, "/v1/queue/\(percentEncoded(self.id))")
        if self.server.output == .json {
            terminal.writeBytes(message.bytes + [10])
            return
        }
        let sender = message["from"]?.asText ?? ""
        var text = "ID        \(Human.safe(message["id"]?.asText ?? ""))\n"
        text += "From      \(sender.isEmpty ? "<>" : Human.safe(sender))\n"
        text += "Size      \(Human.bytes(message["size"]?.asInteger ?? 0))\n"
        text += "Accepted  \(Human.safe(message["accepted_at"]?.asText ?? "-"))\n"
        for delivery in message["deliveries"]?.asList ?? [] {
            text += "\nDelivery to \(Human.safe(delivery["domain"]?.asText ?? "-"))\n"
            for recipient in delivery["recipients"]?.asList ?? [] {
                text += "  To         \(Human.safe(recipient.asText ?? ""))\n"
            }
            text += "  State      \(Human.safe(delivery["state"]?.asText ?? "-"))\n"
            text += "  Attempts   \(delivery["attempts"]?.asInteger ?? 0)\n"
            text += "  Next       \(Human.safe(delivery["next_attempt"]?.asText ?? "-"))\n"
            text += "  Node       \(Human.safe(delivery["node"]?.asText ?? "-"))\n"
            text += "  Last reply \(Human.safe(delivery["last_reply"]?.asText ?? "-"))\n"
        }
        terminal.write(text)
    }
}

struct QueueCat: Command {
    static let configuration = CommandConfiguration(
        commandName: "cat", abstract: "Print one message as it would be sent.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "Its queue id.") var id: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let bytes = try self.server.client(terminal)
            .request(.get, "/v1/queue/\(percentEncoded(self.id))/body")
        terminal.writeBytes(bytes)
    }
}

/// Messages as lines; one line for each delivery.
struct MessageTable {
    private let now: Int64
    private var table = Table([
        ("ID", .left), ("AGE", .right), ("SIZE", .right), ("FROM", .left), ("TO", .left),
        ("STATE", .left), ("TRIES", .right), ("NEXT", .right), ("NODE", .left),
        ("LAST REPLY", .left),
    ])

    /// - Parameter now: milliseconds since 1970.
    init(now: Int64) {
        self.now = now
    }

    var text: String { self.table.text }

    mutating func add(_ message: JSON) {
        let accepted = message["accepted_at"]?.asText.flatMap { milliseconds(ofRFC3339: $0) }
        let sender = message["from"]?.asText ?? ""
        for delivery in message["deliveries"]?.asList ?? [] {
            let recipients = delivery["recipients"]?.asList ?? []
            let first = Human.safe(recipients.first?.asText ?? "-", limit: 40)
            let more = recipients.count > 1 ? " +\(recipients.count - 1)" : ""
            let next = delivery["next_attempt"]?.asText.flatMap { milliseconds(ofRFC3339: $0) }
            self.table.rows.append([
                Human.safe(message["id"]?.asText ?? "-"),
                accepted.map { Human.span(milliseconds: max(0, self.now - $0)) } ?? "-",
                Human.bytes(message["size"]?.asInteger ?? 0),
                sender.isEmpty ? "<>" : Human.safe(sender, limit: 40),
                first + more,
                Human.safe(delivery["state"]?.asText ?? "-"),
                "\(delivery["attempts"]?.asInteger ?? 0)",
                next.map { Human.span(milliseconds: max(0, $0 - self.now)) } ?? "-",
                Human.safe(delivery["node"]?.asText ?? "-"),
                Human.safe(delivery["last_reply"]?.asText ?? "-", limit: 60),
            ])
        }
    }
}
