// SendCommand.swift - posthouse send: a message from standard input into the queue.

package import ArgumentParser
import Primitives

package struct SendCommand: Command {
    package static let configuration = CommandConfiguration(
        commandName: "send", abstract: "Submit a message, read from standard input.",
        discussion: "Prints the queue id when the message is safely stored.")
    /// Bytes of a message that are read, at most; the node's own limit is often lower.
    static let messageBytesLimit = 1 << 30

    @OptionGroup var server: ServerOptions
    @Option(name: [.customShort("f"), .customLong("from")], help: "Sender; else the user's name.")
    var from: String?
    @Argument(help: "Recipients.") var recipients: [String]
    package init() {}

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let client = try self.server.client(terminal)
        guard let input = terminal.readInput(Self.messageBytesLimit) else {
            throw CommandFailure(
                .inputOutput, "standard input cannot be read, or has more than 1 GiB")
        }
        let sender = self.from ?? terminal.environment("USER") ?? terminal.environment("LOGNAME")
        let envelope: JSON = [
            "from": .text(sender == "<>" ? "" : sender ?? "root"),
            "to": .list(self.recipients.map { .text($0) }),
        ]
        let body = envelope.bytes + [10] + (try Self.canonical(input))
        let bytes = try client.request(
            .post, "/v1/send", body: body, type: "application/vnd.posthouse.send")
        let answer = try? JSON.parse(bytes)  // checked in the next line
        guard let id = answer?["id"]?.asText else {
            throw CommandFailure(.internalFault, "the node's answer names no id")
        }
        if self.server.output == .json {
            terminal.writeBytes(bytes + (bytes.last == 10 ? [] : [10]))
        } else {
            terminal.write(Human.safe(id) + "\n")
        }
    }

    /// Line ends become CRLF, the last line gets one (RFC 5321 §2.3.8).
    static func canonical(_ input: [UInt8]) throws(CommandFailure) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(input.count + input.count / 32 + 2)
        var before: UInt8 = 0
        for byte in input {
            if before == 13 && byte != 10 {
                throw CommandFailure(.badData, "the message has a CR without LF")
            }
            if byte == 10 && before != 13 { output.append(13) }
            output.append(byte)
            before = byte
        }
        if before == 13 { throw CommandFailure(.badData, "the message has a CR without LF") }
        if before != 10 && !output.isEmpty { output += [13, 10] }
        return output
    }
}
