// PeerMetrics.swift - what the links between nodes count. Handles are made once.

import Metrics
import Primitives

/// What has happened on all links since the start.
package struct PeerStatistics: Equatable, Sendable {
    /// Bytes within TLS.
    package var controlBytesIn: UInt64 = 0
    package var controlBytesOut: UInt64 = 0
    package var bulkBytesIn: UInt64 = 0
    package var bulkBytesOut: UInt64 = 0
    /// Frames of kinds that this version does not know.
    package var skippedFrames: UInt64 = 0
    /// In the order of `PeerRefusal.Cause.allCases`.
    fileprivate var refusals = [UInt64](repeating: 0, count: PeerRefusal.Cause.allCases.count)

    /// How often connections were refused or ended for `cause`.
    package func refusals(_ cause: PeerRefusal.Cause) -> UInt64 {
        guard let index = PeerRefusal.Cause.allCases.firstIndex(of: cause) else { return 0 }
        return self.refusals[index]
    }
}

struct PeerMetrics {
    private(set) var statistics = PeerStatistics()
    private let refusals: [Counter] = PeerRefusal.Cause.allCases.map {
        Counter(label: "posthouse_peer_refusals_total", dimensions: [("cause", $0.rawValue)])
    }
    private let controlIn = Self.bytes("control", "in")
    private let controlOut = Self.bytes("control", "out")
    private let bulkIn = Self.bytes("bulk", "in")
    private let bulkOut = Self.bytes("bulk", "out")
    private let skipped = Counter(label: "posthouse_peer_skipped_frames_total")
    private let links: [Gauge] = PeerLinkKind.allCases.map {
        Gauge(
            label: "posthouse_peer_links",
            dimensions: [("link", $0 == .control ? "control" : "bulk")])
    }

    private static func bytes(_ link: String, _ direction: String) -> Counter {
        Counter(
            label: "posthouse_peer_bytes_total",
            dimensions: [("link", link), ("direction", direction)])
    }

    mutating func refused(_ cause: PeerRefusal.Cause) {
        guard let index = PeerRefusal.Cause.allCases.firstIndex(of: cause) else { return }
        self.statistics.refusals[index] += 1
        self.refusals[index].increment()
    }

    mutating func read(_ bytes: Int, _ link: PeerLinkKind) {
        switch link {
        case .control:
            self.statistics.controlBytesIn += UInt64(bytes)
            self.controlIn.increment(by: bytes)
        case .bulk:
            self.statistics.bulkBytesIn += UInt64(bytes)
            self.bulkIn.increment(by: bytes)
        }
    }

    mutating func wrote(_ bytes: Int, _ link: PeerLinkKind) {
        switch link {
        case .control:
            self.statistics.controlBytesOut += UInt64(bytes)
            self.controlOut.increment(by: bytes)
        case .bulk:
            self.statistics.bulkBytesOut += UInt64(bytes)
            self.bulkOut.increment(by: bytes)
        }
    }

    mutating func skippedFrame() {
        self.statistics.skippedFrames += 1
        self.skipped.increment()
    }

    func sample(control: Int, bulk: Int) {
        self.links[0].record(control)
        self.links[1].record(bulk)
    }
}
