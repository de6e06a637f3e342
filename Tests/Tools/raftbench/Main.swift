// Main.swift - how many commands a second a group of three agrees on, without disk or network.
//
// Usage     raftbench [commands [batch]], 3,000,000 and 256 if left out; build it for release.
// Method    one thread drives the leader and two followers: batches of 256-byte commands are
//           proposed, stores end at once, messages arrive in order, every member applies.
// Gives     committed commands a second of CPU time; heap allocations a command where
//           Tests/Tools/allocations/count.c is preloaded.

import Glibc
import Primitives
import Raft

/// CPU time of this thread, in seconds.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Three members in one thread.
struct Group {
    var members: [Replica] = []
    var inbox: [[Message]] = [[], [], []]
    var actions: [Replica.Action] = []
    var committed = 0
    let commandBytes = 256

    init() {
        let voters = (1...3).map { MemberID(raw: $0) }
        for id in voters {
            self.members.append(
                Replica(
                    Options(id: id), start: Start(configuration: Configuration(voters: voters)),
                    random: id.raw))
        }
    }

    /// Carries out what member `i` asks for.
    mutating func turn(_ i: Int) {
        self.actions.removeAll(keepingCapacity: true)
        self.members[i].turn(&self.actions)
        var ticket: UInt64 = 0
        var applied: [Applied] = []
        for action in self.actions {
            switch action {
            case .store(let request): ticket = request.ticket
            case .send(let message): self.inbox[Int(message.to.raw) - 1].append(message)
            case .apply(let entries, let done):
                if i == 0 { self.committed += entries.count }
                applied.append(done)
            case .readable, .changed: continue
            }
        }
        if ticket > 0 { self.members[i].stored(upTo: ticket) }
        for done in applied { self.members[i].applied(done) }
        self.members[i].recycle(&self.actions)
    }

    /// Delivers and carries out until nothing is left.
    mutating func settle() {
        var isQuiet = false
        while !isQuiet {
            isQuiet = true
            for i in self.members.indices {
                let messages = self.inbox[i]
                self.inbox[i] = []
                for message in messages {
                    do {
                        try self.members[i].step(message)
                    } catch {
                        fatalError("refused: \(error)")
                    }
                }
                self.turn(i)
                self.turn(i)
                if !messages.isEmpty { isQuiet = false }
            }
        }
    }

    mutating func run(_ commands: Int, batch: Int) {
        var left = commands
        while left > 0 {
            let count = min(batch, left)
            left -= count
            var entries: [Entry] = []
            entries.reserveCapacity(count)
            for _ in 0..<count {
                entries.append(Entry(data: [UInt8](repeating: 7, count: self.commandBytes)))
            }
            do {
                try self.members[0].propose(entries)
            } catch {
                fatalError("refused: \(error)")
            }
            self.settle()
            // As after a checkpoint.
            for i in self.members.indices {
                let applied = self.members[i].raft.applied
                if applied > 20_000 { self.members[i].compact(to: applied - 10_000) }
            }
        }
    }
}

@main
enum Main {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        let commands = arguments.first ?? 3_000_000
        let batch = arguments.dropFirst().first ?? 256
        var group = Group()
        group.members[0].campaign()
        group.settle()
        group.run(min(commands, 50_000), batch: batch)
        let before = group.committed
        let started = now()
        group.run(commands, batch: batch)
        let seconds = now() - started
        let done = group.committed - before
        print(
            "\(done) commands in batches of \(batch): \(Int(Double(done) / seconds)) a second,"
                + " \(Int(seconds * 1e9 / Double(done))) ns each")
    }
}
