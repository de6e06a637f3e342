// Main.swift - how much a queued message weighs, and how long a command takes.
//
// Usage     queuebench [messages], 1,000,000 if left out; build it for release.
// Gives     resident bytes a message (from /proc/self/statm), ns a command; of a checkpoint of all
//           rows the longest slice, the time and the most memory; the time of a restart from it.

import Glibc
import MailQueue
import Primitives
import SMTP
import Spool

/// CPU time of this thread.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Resident bytes of this process.
func resident() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var total = 0
    var pages = 0
    withUnsafeMutablePointer(to: &total) { t in
        withUnsafeMutablePointer(to: &pages) { p in
            withVaList([t, p]) { _ = vfscanf(file, "%ld %ld", $0) }
        }
    }
    return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
}

struct Bench {
    var queue = MailQueueBox()
    var index: UInt64 = 0
    var sequence: UInt64 = 0
    var session = SessionID.none
    var effects: [Effect] = []
    let holder = Holder(node: "a", incarnation: Incarnation(raw: 1))

    mutating func apply(_ command: Command) -> CommandResult {
        self.index += 1
        self.effects.removeAll(keepingCapacity: true)
        return self.queue.value.apply(
            command, index: self.index, stamp: QueueTime(milliseconds: self.index / 5),
            effects: &self.effects)
    }

    mutating func open(delivers: Bool) {
        let open = OpenSession(
            node: "a", incarnation: Incarnation(raw: 1), boot: self.index + 1, nonce: self.index,
            credit: 2000, replayed: true, delivers: delivers)
        if case .sessionOpened(let id) = self.apply(Command(.openSession(open))) {
            self.session = id
        }
        self.sequence = 0
    }

    mutating func origin() -> Origin {
        self.sequence += 1
        let last = self.sequence - 1
        return Origin(
            session: self.session, sequence: self.sequence,
            acknowledged: last > 0 ? [last...last] : [])
    }

    mutating func enqueue(_ n: Int) -> Command {
        let domain = "customer\(n % 20_000).example.org"
        let message = Enqueue(
            envelope: Envelope(
                sender: "newsletter@sender.example.com",
                recipients: [Recipient(address: "person\(n)@\(domain)")]),
            destinations: [domain],
            receipt: BodyReceipt(
                originalBytes: 4321, storedBytes: 3210,
                digest: BodyDigest(a: UInt64(n), b: 1, c: 2, d: 3), holders: [self.holder]),
            acceptedAt: WallTime(milliseconds: 1_790_000_000_000 + Int64(n)),
            receivedFrom: "[192.0.2.\(n % 250)]")
        return Command(self.origin(), .enqueue(message))
    }
}

/// Holds what cannot be copied.
final class MailQueueBox {
    var value = MailQueue()
}

func relay(_ bench: inout Bench, _ count: Int) {
    bench.open(delivers: true)
    let ok = Verdict(.delivered, Reply(250, EnhancedCode(2, 0, 0), "ok"), remoteHost: "mx")
    var commands: [Command] = []
    for n in 0..<count {
        let enqueue = bench.enqueue(n % 100)
        let outcome = Outcome(
            delivery: DeliveryID(message: enqueue.tag!, index: 0), attempt: 1,
            lines: [Outcome.Line(recipient: 0, verdict: ok)], endsLease: true)
        commands.append(enqueue)
        commands.append(Command(bench.origin(), .outcome(outcome)))
    }
    let start = now()
    for command in commands { _ = bench.apply(command) }
    let spent = now() - start
    print("enqueue + outcome: \(Int(spent * 1e9) / count) ns")
    var writer = ByteWriter()
    let coding = now()
    for command in commands {
        writer.bytes.removeAll(keepingCapacity: true)
        command.encode(into: &writer)
    }
    print("encode both: \(Int((now() - coding) * 1e9) / count) ns, \(writer.count) bytes the last")
    precondition(bench.queue.value.counts.messages == 0)
}

func fill(_ bench: inout Bench, _ count: Int) {
    bench.open(delivers: false)
    let before = resident()
    let start = now()
    for n in 0..<count { _ = bench.apply(bench.enqueue(n)) }
    let spent = now() - start
    precondition(bench.queue.value.counts.messages == count)
    print("fill: \(Int(spent * 1e9) / count) ns a message, making of the command included")
    print("memory: \((resident() - before) / count) bytes a message of \(count)")
}

func list(_ bench: inout Bench) {
    let walk = now()
    let total = bench.queue.value.list(QueueFilter(domain: "customer7.example.org"), limit: 10)
        .total
    print("list by domain: \(Int((now() - walk) * 1000)) ms, \(total) found")
}

@main
enum QueueBench {
    static func main() throws {
        let count = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 1_000_000
        var bench = Bench()
        fill(&bench, count)
        try checkpoint(&bench, "all rows")
        try restart(&bench)
        list(&bench)
        bench.queue.value = MailQueue()
        bench.index = 0
        relay(&bench, 100_000)
    }
}
