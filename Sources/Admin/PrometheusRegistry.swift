// PrometheusRegistry.swift - a backend of swift-metrics that prints Prometheus text.
//
// Takes     counters, gauges, meters, timers and recorders, made once and then cheap: recording is
//           one or two atomic additions, without lock or allocation.
// Gives     `text`, families sorted by name, series by labels.
// Limits    1,000 series in a family, 10,000 in all: more are counted and not shown.
// Standard  Prometheus text format 0.0.4.

package import CoreMetrics
import Synchronization

package final class PrometheusRegistry: MetricsFactory {
    package static let seriesPerFamilyLimit = 1000
    package static let seriesLimit = 10_000

    private struct Family {
        var kind: MetricKind
        /// By label text, such as `state="due"`.
        var series: [String: any Cell] = [:]
    }
    private struct State {
        var families: [String: Family] = [:]
        var count = 0
        var dropped = 0
    }
    private let state = Mutex(State())

    package init() {}

    /// Everything, as `GET /metrics` answers.
    package var text: String {
        let (families, dropped) = self.state.withLock { ($0.families, $0.dropped) }
        var output = ""
        for (name, family) in families.sorted(by: { $0.key < $1.key }) {
            if let entry = MetricCatalogue.entry(name) {
                output += "# HELP \(name) \(entry.meaning)\n"
            }
            output += "# TYPE \(name) \(family.kind.rawValue)\n"
            for (labels, cell) in family.series.sorted(by: { $0.key < $1.key }) {
                cell.write(name: name, labels: labels, to: &output)
            }
        }
        if dropped > 0 {
            output += "# TYPE posthouse_metrics_dropped gauge\n"
            output += "posthouse_metrics_dropped \(dropped)\n"
        }
        return output + ProcessMetrics.text
    }

    /// The one cell of a name and its labels. A name that has another kind already, or is beyond
    /// a limit, gets a cell that nobody sees.
    private func cell<C: Cell>(
        _ label: String, _ dimensions: [(String, String)], _ kind: MetricKind,
        _ make: () -> C
    ) -> C {
        let name = Self.name(label)
        let labels = Self.labels(dimensions)
        return self.state.withLock { state in
            var family = state.families[name] ?? Family(kind: kind)
            if let known = family.series[labels] as? C { return known }
            let fresh = make()
            guard family.kind == kind, family.series[labels] == nil,
                family.series.count < Self.seriesPerFamilyLimit, state.count < Self.seriesLimit
            else {
                state.dropped += 1
                return fresh
            }
            family.series[labels] = fresh
            state.families[name] = family
            state.count += 1
            return fresh
        }
    }

    /// Letters, digits, `_` and `:`; all else becomes `_`.
    private static func name(_ label: String) -> String {
        var bytes = label.utf8.map { byte -> UInt8 in
            let isFine =
                (0x30...0x3A).contains(byte) || (0x41...0x5A).contains(byte)
                || (0x61...0x7A).contains(byte)
            return isFine ? byte : UInt8(ascii: "_")
        }
        if bytes.first.map({ (0x30...0x39).contains($0) }) ?? true {
            bytes.insert(UInt8(ascii: "_"), at: 0)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.sorted { $0.0 < $1.0 }
            .map { "\(Self.name($0.0))=\"\(Self.escaped($0.1))\"" }
            .joined(separator: ",")
    }

    private static func escaped(_ value: String) -> String {
        var result = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    // `any`: the interface of swift-metrics.
    package func makeCounter(
        label: String, dimensions: [(String, String)]
    ) -> any CounterHandler {
        self.cell(label, dimensions, .counter) { CounterCell() }
    }

    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        self.cell(label, dimensions, .counter) { RealCounterCell() }
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        self.cell(label, dimensions, .gauge) { GaugeCell() }
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        if aggregate {
            return self.cell(label, dimensions, .histogram) { HistogramCell(.amounts) }
        }
        return self.cell(label, dimensions, .gauge) { GaugeCell() }
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        self.cell(label, dimensions, .histogram) { HistogramCell(.seconds) }
    }

    // Handles live as long as the process: another of the same name goes on counting.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}
}

enum MetricKind: String {
    case counter, gauge, histogram
}
