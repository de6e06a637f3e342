import Admin
import CoreMetrics
import Foundation
import Testing

@Suite("Prometheus text, format 0.0.4")
struct PrometheusTests {
    /// The lines of what a test made, without those of the process.
    private func lines(_ registry: PrometheusRegistry) -> [String] {
        registry.text.split(separator: "\n").map(String.init)
            .filter { !$0.contains("process_") && !$0.contains("build_info") }
    }

    @Test func `families and series are sorted, with help and type`() {
        let registry = PrometheusRegistry()
        registry.makeCounter(label: "x_total", dimensions: [("b", "2"), ("a", "1")]).increment(
            by: 3)
        registry.makeCounter(label: "x_total", dimensions: []).increment(by: 1)
        registry.makeRecorder(label: "posthouse_leases", dimensions: [], aggregate: false).record(
            Int64(7))
        #expect(
            self.lines(registry) == [
                "# HELP posthouse_leases Deliveries that this node may attempt now.",
                "# TYPE posthouse_leases gauge", "posthouse_leases 7", "# TYPE x_total counter",
                "x_total 1", "x_total{a=\"1\",b=\"2\"} 3",
            ])
    }

    @Test func `the same name and labels are the same series`() {
        let registry = PrometheusRegistry()
        registry.makeCounter(label: "c", dimensions: [("a", "1"), ("b", "2")]).increment(by: 1)
        registry.makeCounter(label: "c", dimensions: [("b", "2"), ("a", "1")]).increment(by: 1)
        #expect(self.lines(registry).last == "c{a=\"1\",b=\"2\"} 2")
    }

    @Test func `timers are histograms in seconds, bounds included`() {
        let registry = PrometheusRegistry()
        let timer = registry.makeTimer(label: "t_seconds", dimensions: [("k", "v")])
        for nanoseconds in [50_000, 100_000, 100_001, 3_000_000_000, 100_000_000_000] as [Int64] {
            timer.recordNanoseconds(nanoseconds)
        }
        let lines = self.lines(registry)
        #expect(lines.first == "# TYPE t_seconds histogram")
        #expect(lines.contains("t_seconds_bucket{k=\"v\",le=\"0.0001\"} 2"))
        #expect(lines.contains("t_seconds_bucket{k=\"v\",le=\"0.00025\"} 3"))
        #expect(lines.contains("t_seconds_bucket{k=\"v\",le=\"2.5\"} 3"))
        #expect(lines.contains("t_seconds_bucket{k=\"v\",le=\"60\"} 4"))
        #expect(lines.contains("t_seconds_bucket{k=\"v\",le=\"+Inf\"} 5"))
        #expect(lines.contains("t_seconds_count{k=\"v\"} 5"))
        #expect(lines.contains { $0.hasPrefix("t_seconds_sum{k=\"v\"} 103.00025") })
    }

    @Test func `meters go up and down, counters may count fractions`() {
        let registry = PrometheusRegistry()
        let meter = registry.makeMeter(label: "m", dimensions: [])
        meter.set(5.5)
        meter.increment(by: 2)
        meter.decrement(by: 1)
        registry.makeFloatingPointCounter(label: "f", dimensions: []).increment(by: 0.25)
        registry.makeRecorder(label: "r", dimensions: [], aggregate: true).record(1.0)
        let lines = self.lines(registry)
        #expect(lines.contains("m 6.5") && lines.contains("f 0.25"))
        #expect(lines.contains("r_bucket{le=\"1\"} 1") && lines.contains("r_sum 1"))
    }

    @Test func `names and values cannot break the format`() {
        let registry = PrometheusRegistry()
        registry.makeCounter(label: "1 a-b", dimensions: [("l-x", "a\"b\\c\nd")]).increment(by: 1)
        #expect(self.lines(registry).last == "_1_a_b{l_x=\"a\\\"b\\\\c\\nd\"} 1")
    }

    @Test func `a family has 1000 series; the next is counted and not shown`() {
        let registry = PrometheusRegistry()
        for index in 0..<1000 {
            registry.makeCounter(label: "c", dimensions: [("i", "\(index)")]).increment(by: 1)
        }
        #expect(!registry.text.contains("posthouse_metrics_dropped"))
        registry.makeCounter(label: "c", dimensions: [("i", "1000")]).increment(by: 1)
        #expect(registry.text.contains("posthouse_metrics_dropped 1\n"))
        #expect(!registry.text.contains("i=\"1000\""))
    }

    @Test func `a name of another kind is not mixed in`() {
        let registry = PrometheusRegistry()
        registry.makeCounter(label: "c", dimensions: []).increment(by: 1)
        registry.makeTimer(label: "c", dimensions: []).recordNanoseconds(1)
        #expect(self.lines(registry).prefix(2) == ["# TYPE c counter", "c 1"])
    }

    @Test func `threads lose no increment`() async {
        let registry = PrometheusRegistry()
        let counter = registry.makeCounter(label: "c", dimensions: [])
        let timer = registry.makeTimer(label: "t", dimensions: [])
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for _ in 0..<10_000 {
                        counter.increment(by: 1)
                        timer.recordNanoseconds(1_000_000_000)
                    }
                }
            }
        }
        #expect(registry.text.contains("c 40000\n"))
        #expect(
            registry.text.contains("t_sum 40000\n") && registry.text.contains("t_count 40000\n"))
    }

    @Test func `the process tells memory and processor time`() {
        let text = PrometheusRegistry().text
        #expect(
            text.contains("\nprocess_resident_memory_bytes ")
                && text.contains("\nprocess_cpu_seconds_total "))
        #expect(text.contains("\nprocess_open_fds ") && text.hasSuffix("\n"))
    }
}

@Suite("The catalogue of metrics")
struct MetricCatalogueTests {
    private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test func `every metric in the sources is in the catalogue`() throws {
        let sources = Self.root.appendingPathComponent("Sources")
        let files = try #require(
            FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
        var names: Set<String> = []
        for case let file as URL in files where file.pathExtension == "swift" {
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /label: "(posthouse_[a-z_]+)"/) {
                names.insert(String(match.output.1))
            }
        }
        #expect(names.count > 3)
        #expect(names.sorted().filter { MetricCatalogue.entry($0) == nil } == [])
    }

    @Test func `the reference is fresh`() throws {
        let file = Self.root.appendingPathComponent("Docs/Metrics.md")
        if ProcessInfo.processInfo.environment["POSTHOUSE_REGENERATE"] == "1" {
            try MetricCatalogue.reference.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(
            try String(contentsOf: file, encoding: .utf8) == MetricCatalogue.reference,
            "run: POSTHOUSE_REGENERATE=1 swift test --filter MetricCatalogueTests")
    }
}
