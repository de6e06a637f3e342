import Delivery
import MailQueue
import Networking
import Primitives
import SMTP
import Settings
import Testing

@testable import Cluster

@Suite("Reports and probes of Delivery", .timeLimit(.minutes(1)))
struct DeliveryReportTests {
    private static func leased(
        sender: String, kind: OwedReport.Kind = .sender, to recipient: String = "x@d.example"
    ) -> LeasedReport {
        let line = OwedReport.Line(
            recipient: Recipient(address: recipient), action: .failed,
            verdict: Verdict(.failed, Reply(550, EnhancedCode(5, 1, 1), "no"), remoteHost: "h"),
            attempts: 1)
        return LeasedReport(
            id: ReportID(message: DeliveryBench.tag(1), number: 0),
            content: OwedReport(lines: [line], kind: kind),
            original: Envelope(sender: sender, recipients: [line.recipient]),
            acceptedAt: WallTime(milliseconds: 0), originalBytes: 10,
            expiresAt: WallTime(milliseconds: 1000))
    }

    @Test func `a report goes to the sender, from the null sender`() async throws {
        let bench = try DeliveryBench(port: 1)
        bench.service.take([.report(Self.leased(sender: "s@a.example"))])
        guard
            case .report(_, let envelope, let destinations, let text) = try await bench.desk.next()
        else {
            Issue.record("no report")
            return
        }
        #expect(envelope.sender == "" && envelope.recipients.map { $0.address } == ["s@a.example"])
        #expect(destinations == ["a.example"])
        #expect(text.contains("\r\nFinal-Recipient: rfc822; x@d.example\r\n"))
        try await bench.stop()
    }

    @Test func `a double bounce goes to the postmaster, and ends there`() async throws {
        let bench = try DeliveryBench(port: 1) { $0.delivery.postmaster = "pm@p.example" }
        bench.service.take([.report(Self.leased(sender: "", kind: .postmaster))])
        guard case .report(_, let envelope, _, _) = try await bench.desk.next() else {
            Issue.record("no report")
            return
        }
        #expect(envelope.recipients.map { $0.address } == ["pm@p.example"])
        for report in [
            Self.leased(sender: "", kind: .postmaster, to: "pm@p.example"), Self.leased(sender: ""),
        ] {
            bench.service.take([.report(report)])
            guard case .waived = try await bench.desk.next() else {
                Issue.record("not waived")
                return
            }
        }
        try await bench.stop()
    }

    @Test func `a probe is answered by the host, then from memory`() async throws {
        var behaviour = ScriptedServer.Behaviour()
        behaviour.command = { line in
            if line.contains("no@") { return .say("550 5.1.1 unknown") }
            return line.contains("later@") ? .say("450 later") : nil
        }
        let server = try await ScriptedServer.start(behaviour)
        let bench = try DeliveryBench(port: server.port)
        let prober = RecipientProber(bench.service)
        #expect(await prober.ask("x@d.example") == .valid)
        let refusal = Reply(550, EnhancedCode(5, 1, 1), "unknown")
        #expect(await prober.ask("no@d.example") == .invalid(refusal))
        #expect(await prober.ask("later@d.example") == .unknown)
        let before = server.seen.lines.count
        #expect(await prober.ask("x@d.example") == .valid)
        #expect(await prober.ask("no@d.example") == .invalid(refusal))
        #expect(server.seen.lines.count == before && !server.seen.lines.contains("DATA"))
        try await bench.stop()
        try await server.stop()
    }
}
