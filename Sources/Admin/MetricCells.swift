// MetricCells.swift - the values behind the handles: atomics, no locks.

import CoreMetrics
import Synchronization

/// One series.
protocol Cell: AnyObject, Sendable {
    /// Appends its lines; `labels` without braces, "" for none.
    func write(name: String, labels: String, to output: inout String)
}

private func braced(_ labels: String) -> String { labels.isEmpty ? "" : "{\(labels)}" }

final class CounterCell: Cell, CounterHandler {
    private let value = Atomic<Int64>(0)

    func increment(by amount: Int64) { self.value.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { self.value.store(0, ordering: .relaxed) }

    func write(name: String, labels: String, to output: inout String) {
        output += "\(name)\(braced(labels)) \(self.value.load(ordering: .relaxed))\n"
    }
}

/// A floating-point number that several threads add to.
struct AtomicReal: ~Copyable, Sendable {
    private let bits = Atomic<UInt64>(0)

    var value: Double {
        get { Double(bitPattern: self.bits.load(ordering: .relaxed)) }
    }

    func set(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }

    func add(_ amount: Double) {
        var old = self.bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (done, current) = self.bits.weakCompareExchange(
                expected: old, desired: new, ordering: .relaxed)
            if done { return }
            old = current
        }
    }
}

final class RealCounterCell: Cell, FloatingPointCounterHandler {
    private let value = AtomicReal()

    func increment(by amount: Double) { self.value.add(amount) }
    func reset() { self.value.set(0) }

    func write(name: String, labels: String, to output: inout String) {
        output += "\(name)\(braced(labels)) \(number(self.value.value))\n"
    }
}

final class GaugeCell: Cell, MeterHandler, RecorderHandler {
    private let value = AtomicReal()

    func set(_ value: Int64) { self.value.set(Double(value)) }
    func set(_ value: Double) { self.value.set(value) }
    func increment(by amount: Double) { self.value.add(amount) }
    func decrement(by amount: Double) { self.value.add(-amount) }
    func record(_ value: Int64) { self.value.set(Double(value)) }
    func record(_ value: Double) { self.value.set(value) }

    func write(name: String, labels: String, to output: inout String) {
        output += "\(name)\(braced(labels)) \(number(self.value.value))\n"
    }
}

/// Counts in fixed buckets, and the sum.
final class HistogramCell: Cell, TimerHandler, RecorderHandler {
    /// Upper bounds, ascending; sixteen.
    struct Bounds: Sendable {
        let values: [Double]
        static let seconds = Bounds(values: [
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
            2.5, 10, 60,
        ])
        static let amounts = Bounds(values: [
            1, 2, 5, 10, 20, 50, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000,
            100_000_000, 1_000_000_000, 10_000_000_000,
        ])
    }

    private let bounds: Bounds
    /// The seventeenth is beyond all bounds.
    private let counts: InlineArray<17, Atomic<Int64>>
    private let sum = AtomicReal()

    init(_ bounds: Bounds) {
        self.bounds = bounds
        self.counts = InlineArray { _ in Atomic<Int64>(0) }
    }

    func recordNanoseconds(_ duration: Int64) { self.record(Double(duration) / 1e9) }
    func record(_ value: Int64) { self.record(Double(value)) }

    func record(_ value: Double) {
        let bounds = self.bounds.values
        var low = 0
        var high = bounds.count
        while low < high {
            let middle = (low + high) / 2
            if value <= bounds[middle] { high = middle } else { low = middle + 1 }
        }
        self.counts[low].wrappingAdd(1, ordering: .relaxed)
        self.sum.add(value)
    }

    func write(name: String, labels: String, to output: inout String) {
        let more = labels.isEmpty ? "" : labels + ","
        var total: Int64 = 0
        for index in 0..<17 {
            total += self.counts[index].load(ordering: .relaxed)
            let bound = index < 16 ? number(self.bounds.values[index]) : "+Inf"
            output += "\(name)_bucket{\(more)le=\"\(bound)\"} \(total)\n"
        }
        output += "\(name)_sum\(braced(labels)) \(number(self.sum.value))\n"
        output += "\(name)_count\(braced(labels)) \(total)\n"
    }
}

/// As Prometheus reads it; whole numbers without a point.
private func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value == value.rounded() && value.magnitude < 1e15 { return String(Int64(value)) }
    return "\(value)"
}
