// DemoLooks.swift - four times a second: who is ready, who leads, what is left, what to do next.

import Console
import Glibc
import NIOCore
import NIOPosix
import Primitives

extension DemoRun {
    func look() async {
        if self.phase == .stopping {
            if self.phaseSeconds > Self.stopSeconds { self.processes.signal(SIGKILL) }
            return
        }
        let ready = await self.readyNodes()
        if let place = ready.first { await self.readStatus(place) }
        switch self.phase {
        case .starting: self.awaitStart(ready)
        case .running: self.report(ready)
        case .draining: await self.awaitDrain(ready)
        case .stopping: break
        }
    }

    /// Asks all nodes at once whether they may receive mail.
    private func readyNodes() async -> [Int] {
        let running = self.processes.running
        let (nodes, group, front) = (self.folder.nodes, self.group, self.front)
        let ready = await withTaskGroup(of: Int?.self) { tasks in
            for place in nodes.indices where running[place] != nil {
                tasks.addTask {
                    let answer = await AdminQuestion.ask(
                        nodes[place].adminPort, "/readyz", on: group)
                    front.note(place, isReady: answer?.status == 200)
                    return answer?.status == 200 ? place : nil
                }
            }
            var ready: [Int] = []
            for await case let place? in tasks { ready.append(place) }
            return ready
        }
        return ready.sorted()
    }

    private func readStatus(_ place: Int) async {
        let answer = await AdminQuestion.ask(
            self.folder.nodes[place].adminPort, "/v1/cluster", on: self.group)
        guard let json = answer?.json else {
            self.queued = nil
            return
        }
        self.queued = json["queue"]?["messages"]?.asInteger.map { Int($0) }
        self.possibleDuplicates =
            json["possible_duplicates"]?.asInteger.map { Int($0) } ?? self.possibleDuplicates
        let leader = json["leader"]?.asText
        if leader != self.leader, let leader {
            self.leader = leader
            if self.phase == .running { self.sayLeader() }
        }
    }

    private func pid(of name: String) -> pid_t? {
        self.folder.nodes.firstIndex { $0.name == name }.flatMap { self.processes.running[$0] }
    }

    private func sayLeader() {
        guard let leader = self.leader, let pid = self.pid(of: leader) else { return }
        self.terminal.tell("node \(leader) leads now; kill it with: kill -9 \(pid)")
    }

    private func awaitStart(_ ready: [Int]) {
        if ready.count == self.folder.nodes.count {
            self.enter(.running)
            self.reportedAt = secondsNow()
            self.sayWhere()
            self.startLoad()
        } else if self.phaseSeconds > Self.startSeconds {
            let late = self.folder.nodes.indices.filter { !ready.contains($0) }
                .map { self.folder.nodes[$0] }
            let logs = late.map { "node \($0.name):\n\(self.folder.lastLines(of: $0))" }
                .joined(separator: "\n")
            self.fail(
                DemoFailure(
                    75,
                    "not all nodes are ready after \(Int(Self.startSeconds)) s; the ends of "
                        + "their logs:\n\(logs)"))
        }
    }

    private func startLoad() {
        let (loop, port, run, perSecond) = (
            self.group.next(), self.frontPort, self.id, self.options.load
        )
        let (books, box) = (self.books, self.load)
        loop.execute {
            let load = DemoLoad(
                loop: loop, port: port, run: run, perSecond: perSecond,
                draw: { books.draw() }, ledger: { books.note($0) })
            box.value = load
            if perSecond > 0 { load.start() }
        }
    }

    /// The words that a person and a script need, on stdout.
    private func sayWhere() {
        let program = CommandLine.arguments.first ?? "posthouse"
        let node = self.folder.nodes[0]
        var lines = ["", "NODE  PID      SMTP             ADMIN"]
        for (place, node) in self.folder.nodes.enumerated() {
            let pid = self.processes.running[place].map { "\($0)" } ?? "-"
            let pad = String(repeating: " ", count: max(1, 9 - pid.utf8.count))
            lines.append(
                "\(node.name)     \(pid)\(pad)127.0.0.1:\(node.smtpPort)  \(node.adminURL)")
        }
        lines += [
            "front port 127.0.0.1:\(self.frontPort), directory \(self.folder.path)", "",
            "Send a mail       printf 'Subject: hello\\n\\nHello.\\n' | \(program) send "
                + "-f you@client.example them@dest.example --server \(node.adminURL)",
            "  or over SMTP    to 127.0.0.1:\(self.frontPort)",
            "Watch             \(program) cluster status --server \(node.adminURL)",
        ]
        if let leader = self.leader, let pid = self.pid(of: leader) {
            lines.append("Kill the leader   kill -9 \(pid)")
        }
        lines += [
            "Start it again    kill -USR1 \(getpid())",
            self.options.seconds.map { "Ends after \($0) s, or with Ctrl-C." }
                ?? "Ends with Ctrl-C.", "",
        ]
        self.terminal.write(lines.joined(separator: "\n") + "\n")
    }

    private func sayCounts(_ ready: [Int]) {
        let counts = self.books.counts
        let names = ready.map { self.folder.nodes[$0].name }.joined(separator: " ")
        self.terminal.tell(
            "accepted \(counts.accepted), delivered \(counts.delivered), duplicates "
                + "\(counts.duplicates), queued \(self.queued.map { "\($0)" } ?? "?"); ready: "
                + (names.isEmpty ? "none" : names))
    }

    private func report(_ ready: [Int]) {
        if let seconds = self.options.seconds, self.phaseSeconds >= Double(seconds) {
            self.sayCounts(ready)
            return self.drain()
        }
        if secondsNow() - self.reportedAt < Self.reportSeconds { return }
        self.reportedAt = secondsNow()
        self.sayCounts(ready)
    }

    private func awaitDrain(_ ready: [Int]) async {
        let isLoadOver = self.isLoadOver
        // What the load had under way is known one look after it has ended.
        self.isLoadOver = await self.loadHasEnded()
        let isEmpty = isLoadOver && self.books.missing == 0 && self.queued == 0
        let isVain = self.processes.running.allSatisfy { $0 == nil }
        if isEmpty || isVain || self.phaseSeconds > Self.drainSeconds {
            if !isEmpty { await self.noteQueued(ready) }
            return self.stopNodes()
        }
        if secondsNow() - self.reportedAt < 1 { return }
        self.reportedAt = secondsNow()
        self.terminal.tell(
            "waits for the queue: \(self.queued.map { "\($0)" } ?? "?") messages queued, "
                + "\(self.books.missing) not arrived")
    }

    private func loadHasEnded() async -> Bool {
        let box = self.load
        do {
            return try await self.group.next().submit { box.value?.hasEnded ?? true }.get()
        } catch {
            return true
        }
    }

    /// What has not arrived, and is still in the queue of a node that answers.
    private func noteQueued(_ ready: [Int]) async {
        let places = ready + self.folder.nodes.indices.filter { !ready.contains($0) }
        for place in places where self.processes.running[place] != nil {
            let answer = await AdminQuestion.ask(
                self.folder.nodes[place].adminPort, "/v1/queue?limit=1000000", on: self.group)
            guard let answer, answer.status == 200, let list = answer.json?["messages"]?.asList
            else { continue }
            self.books.note(queued: Set(list.compactMap { $0["id"]?.asText }))
            return
        }
        self.terminal.tell("no node answers: what they hold cannot be seen")
    }
}
