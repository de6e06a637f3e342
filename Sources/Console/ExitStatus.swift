// ExitStatus.swift - how commands end, for scripts.

import ArgumentParser

/// Exit codes of all commands; those above 63 as in sysexits.h.
package enum ExitStatus: Int32, Sendable {
    case ok = 0
    case degraded = 10
    /// No quorum or no leader.
    case noQuorum = 11
    case usage = 64
    case badData = 65
    case noSuchThing = 66
    case noNodeReachable = 69
    case internalFault = 70
    case inputOutput = 74
    case tryAgain = 75
    case notPermitted = 77
    case configuration = 78
}

/// Why a command does not do what it was asked for; told on stderr as `posthouse: message`.
struct CommandFailure: Error, Equatable {
    var status: ExitStatus
    /// "": all has been said.
    var message: String

    init(_ status: ExitStatus, _ message: String = "") {
        self.status = status
        self.message = message
    }
}

/// A command whose failures become exit codes, whoever runs it.
protocol Command: ParsableCommand {
    func perform(_ terminal: Terminal) throws(CommandFailure)
}

extension Command {
    package mutating func run() throws {
        let terminal = Terminal.current
        do {
            try self.perform(terminal)
        } catch {
            if !error.message.isEmpty { terminal.tell("posthouse: \(error.message)") }
            throw ExitCode(error.status.rawValue)
        }
    }
}

/// Runs the commands of this target without a process of their own.
package enum Console {
    /// Parses and runs; messages go to `terminal`.
    ///
    /// - Returns: the exit code.
    package static func run(_ arguments: [String], terminal: Terminal) -> Int32 {
        Terminal.$current.withValue(terminal) {
            do {
                var command = try Commands.parseAsRoot(arguments)
                try command.run()
                return ExitStatus.ok.rawValue
            } catch {
                let code = Commands.exitCode(for: error)
                let message = Commands.fullMessage(for: error)
                if !message.isEmpty {
                    code == .success ? terminal.write(message + "\n") : terminal.tell(message)
                }
                return code.rawValue
            }
        }
    }

    private struct Commands: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "posthouse",
            subcommands: [
                CheckCommand.self, ClusterCommand.self, QueueCommand.self, SendCommand.self,
                UserCommand.self, CACommand.self, VersionCommand.self, DocsCommand.self,
            ])
    }
}
