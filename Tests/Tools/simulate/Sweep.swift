// Sweep.swift - many seeds in several processes; a trap of one is a violation of its seed.

import Simulator

final class Sweep {
    private final class Worker {
        let process: Process
        let first: UInt64
        var seed: UInt64
        var counters = Counters()
        var seeds = 0
        var lastWords = ""
        var hasEnded = false

        init(_ process: Process, first: UInt64) {
            self.process = process
            self.first = first
            self.seed = first
        }
    }

    private let seeds: ClosedRange<UInt64>
    private let arguments: Arguments
    private var workers: [Worker] = []
    private var total = Counters()
    private var count = 0
    private var violations = 0

    init(_ seeds: ClosedRange<UInt64>, _ arguments: Arguments) {
        self.seeds = seeds
        self.arguments = arguments
    }

    /// - Returns: the exit code.
    func run() -> Int32 {
        let clock = ContinuousClock()
        let start = clock.now
        let jobs = min(
            UInt64(self.arguments.jobs), self.seeds.upperBound - self.seeds.lowerBound + 1)
        for job in 0..<jobs { self.start(self.seeds.lowerBound + job, stride: jobs) }
        while !self.workers.isEmpty {
            let ready = Process.ready(self.workers.map { $0.process })
            for worker in self.workers
            where ready.contains(where: { $0 === worker.process }) {
                self.hear(worker, stride: jobs)
            }
            self.workers.removeAll { $0.hasEnded }
        }
        Report.print(self.total, seeds: self.count, wall: clock.now - start)
        Output.line(
            self.violations == 0 ? "no violation" : "violations: \(self.violations)")
        return self.violations == 0 ? 0 : 1
    }

    private func start(_ first: UInt64, stride: UInt64) {
        guard first <= self.seeds.upperBound else { return }
        var words = ["--child", "\(first)..\(self.seeds.upperBound)", "--stride", "\(stride)"]
        words += self.arguments.words
        if self.arguments.keepsGoing { words.append("--keep-going") }
        guard let process = Process(words) else {
            self.violations += 1
            return Output.line("cannot start a process")
        }
        self.workers.append(Worker(process, first: first))
    }

    private func hear(_ worker: Worker, stride: UInt64) {
        for line in worker.process.readLines() {
            if line.hasPrefix("S ") {
                worker.seed = UInt64(line.dropFirst(2)) ?? worker.seed
            } else if line.hasPrefix("V ") {
                self.found(worker.seed, String(line.dropFirst(2)))
            } else if line.hasPrefix("C "), let (counters, seeds) = Report.decode(line) {
                worker.counters = counters
                worker.seeds = seeds
            } else if !line.isEmpty {
                worker.lastWords = line
            }
        }
        guard worker.process.isAtEnd, !worker.hasEnded else { return }
        worker.hasEnded = true
        let code = worker.process.wait()
        self.total.add(worker.counters)
        self.count += worker.seeds
        if code == 0 || self.violations > 0 && !self.arguments.keepsGoing { return }
        self.found(worker.seed, "\(worker.seed) trap: exit code \(code): \(worker.lastWords)")
        if self.arguments.keepsGoing { self.start(worker.seed + stride, stride: stride) }
    }

    private func found(_ seed: UInt64, _ text: String) {
        self.violations += 1
        Output.line("seed \(text)")
        if self.arguments.keepsGoing || self.violations > 1 { return }
        for other in self.workers where !other.hasEnded { other.process.end() }
        Output.line("simulate --seed \(seed)\(self.arguments.text)")
        // In a process of its own: it may end as the first did.
        let words = ["--seed", "\(seed)", "--trace"] + self.arguments.words
        guard let process = Process(words) else { return }
        var tail: [String] = []
        while !process.isAtEnd {
            tail += process.readLines()
            if tail.count > 1000 { tail.removeFirst(tail.count - Main.tail) }
        }
        _ = process.wait()
        for line in tail.suffix(Main.tail) { Output.line(line) }
    }
}
