// Posthouse.swift - the command `posthouse` and its parts.

import ArgumentParser
import Console

@main
struct Posthouse: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "posthouse",
        abstract: "A relay for outbound mail whose queue survives its machines.",
        subcommands: [
            Serve.self, DemoCommand.self, CheckCommand.self, ClusterCommand.self, QueueCommand.self,
            SendCommand.self, UserCommand.self, CACommand.self, VersionCommand.self,
            DocsCommand.self,
        ])
}
