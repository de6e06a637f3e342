// Reporter.swift - turns an owed report into a message, or into nothing where nobody may be told.
//
// Takes     leased reports; the original's body from the desk.
// Gives     submitReport or waiveReport, once for each.
// Standard  RFC 5321 §6.1 (the null sender is never told), §4.5.5; RFC 3461 §6; RFC 3464.

import Cluster
import Logging
import MailQueue
import NIOCore
import Networking
import Primitives
import SMTP

/// Used on one loop.
struct Reporter {
    let desk: any DeliveryDesk  // existential: see DeliveryLoop
    let loop: any EventLoop  // existential: see DeliveryLoop
    let routing: Routing
    let log: Logger

    func take(_ leased: LeasedReport) {
        guard let report = self.report(leased) else {
            self.log.debug(
                "report waived", metadata: ["id": "\(leased.id.message.text)"])
            self.desk.waiveReport(leased.id)
            return
        }
        self.desk.openBody(of: leased.id.message, on: self.loop) { result in
            switch result {
            case .success(let source):
                let fits = source.byteCount <= self.routing.reportMessageBytes
                let start = Original(parts: [source.head], bytes: source.head.readableBytes)
                self.read(source, start, wantsAll: fits) { self.submit(report, $0, leased) }
            case .failure:
                // Without the original the report still says what happened.
                self.submit(report, Original(parts: [], bytes: 0), leased)
            }
        }
    }

    /// As much of the original as was read.
    private struct Original {
        var parts: [ByteBuffer]
        var bytes: Int
        var isWhole = false
    }

    /// Reads the original, or as much of it as holds the header that a report may give back. What
    /// is damaged further on still has its header.
    private func read(
        _ source: BodySource, _ original: Original, wantsAll: Bool,
        _ done: @escaping (Original) -> Void
    ) {
        source.next(on: self.loop) { result in
            var original = original
            guard case .success(let piece) = result else { return done(original) }
            original.parts.append(piece.bytes)
            original.bytes += piece.bytes.readableBytes
            original.isWhole = piece.isLast
            let isEnough = !wantsAll && original.bytes >= ReportComposer.Limit.headerBytes
            if piece.isLast || isEnough { return done(original) }
            self.read(source, original, wantsAll: wantsAll, done)
        }
    }

    /// Nil: nobody may be told.
    private func report(_ leased: LeasedReport) -> DeliveryReport? {
        let lines = leased.content.lines.map { line in
            DeliveryReport.Line(
                recipient: line.recipient, action: Self.action(line.action), verdict: line.verdict,
                status: line.status)
        }
        let toSender = leased.content.kind == .sender
        if toSender && leased.original.sender.isEmpty { return nil }
        let recipient = toSender ? leased.original.sender : self.routing.postmaster
        if !toSender {
            // A double bounce: failures only, and never about mail to the postmaster itself.
            let isHopeless = lines.contains {
                $0.recipient.address == recipient
                    || $0.recipient.address.lowercased() == "postmaster"
            }
            if isHopeless || !lines.contains(where: { $0.action == .failed }) { return nil }
        }
        var report = DeliveryReport(
            host: self.routing.hostname, recipient: recipient, lines: lines,
            originalSender: leased.original.sender, arrivedAt: leased.acceptedAt,
            madeAt: SystemClock.wallTime(), queueID: leased.id.message.text)
        report.audience = toSender ? .sender : .postmaster
        report.envid = leased.original.envid
        report.ret = leased.original.ret
        report.retriesUntil = leased.expiresAt
        return report
    }

    private static func action(_ action: OwedReport.Action) -> DeliveryReport.Action {
        switch action {
        case .failed: .failed
        case .delayed: .delayed
        case .delivered: .delivered
        case .relayed: .relayed
        }
    }

    private func submit(
        _ report: DeliveryReport, _ original: Original, _ leased: LeasedReport
    ) {
        let composed = ReportComposer.compose(
            report, original: original.parts,
            maxBytes: original.isWhole ? self.routing.reportMessageBytes : 0)
        let recipient = Recipient(address: report.recipient, notify: [.explicit, .never])
        let envelope = Envelope(
            sender: "", recipients: [recipient], eightBit: composed.eightBit, utf8: composed.utf8)
        let host = report.host
        let madeAt = report.madeAt
        self.desk.submitReport(
            leased.id, envelope: envelope,
            destinations: [self.routing.table.destination(for: recipient.domain)],
            content: composed.content
        ) { tag in ReportComposer.head(tag.text, host: host, at: madeAt) }
    }
}
