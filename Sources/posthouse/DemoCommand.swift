// DemoCommand.swift - posthouse demo: a whole cluster on this machine, to try things on.

import ArgumentParser
import Console
import Demo
import Glibc
import UnixSignals

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Run a whole cluster on this machine, under load.",
        discussion: """
            Real nodes as processes of their own, with real certificates, on free ports of
            127.0.0.1; in front of them a port that spreads connections, behind them a server that
            takes all mail. Kill nodes while it runs: the last line says what that cost. It ends
            with Ctrl-C or after --seconds, and with 1 if mail was lost.
            """)

    @Option(help: "How many nodes, 1 to 9.") var nodes = 3
    @Option(
        help: "Where settings, certificates and queues lie; kept. Without: a temporary directory.")
    var dir: String?
    @Option(help: "Ends by itself after so many seconds of load.") var seconds: Int?
    @Option(help: "Messages per second; 0: none.") var load = 100

    func validate() throws {
        guard DemoOptions.nodesRange.contains(self.nodes) else {
            throw ValidationError("--nodes takes 1 to 9")
        }
        guard DemoOptions.loadRange.contains(self.load) else {
            throw ValidationError("--load takes 0 to 10000 messages per second")
        }
        guard self.seconds.map({ $0 >= 0 }) ?? true else {
            throw ValidationError("--seconds takes a number from 0 on")
        }
    }

    func run() async throws {
        signal(SIGPIPE, SIG_IGN)
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup, .sigusr1)
        let (wishes, source) = AsyncStream<DemoWish>.makeStream()
        let listening = Task {
            for await signal in signals { source.yield(signal == .sigusr1 ? .restart : .end) }
        }
        var options = DemoOptions()
        options.nodes = self.nodes
        options.directory = self.dir
        options.seconds = self.seconds
        options.load = self.load
        let code = await Demo.run(options, wishes: wishes, terminal: .system)
        listening.cancel()
        if code != ExitStatus.ok.rawValue { throw ExitCode(code) }
    }
}
