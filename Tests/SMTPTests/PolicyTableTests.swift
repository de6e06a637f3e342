import SMTP
import Testing

@Suite("Failure table, RFC 5321 §4.2.1, §4.5.3.1.10, §5.1")
struct PolicyTableTests {
    private static let stages = ClientStage.allCases.filter { $0.isTransaction }

    @Test func `5yz fails, 4yz goes to the next host, at every stage of a transaction`() {
        for stage in Self.stages {
            #expect(
                FailureTable.ending(at: stage, .reply(reply(550, "no")))
                    == .failed(reply(550, "no")))
            #expect(
                FailureTable.ending(at: stage, .reply(reply(450, "no")))
                    == .elsewhere(reply(450, "no")))
            #expect(
                FailureTable.ending(at: stage, .reply(reply(421, "no")))
                    == .elsewhere(reply(421, "no")))
        }
    }

    @Test func `only behind the final dot is a loss unknown, and not tried elsewhere`() {
        for stage in Self.stages {
            for trouble in [ClientTrouble.lost("x"), .timedOut, .garbage(.notAReply)] {
                let ending = FailureTable.ending(at: stage, trouble)
                let reply = FailureTable.reply(at: stage, trouble)
                #expect(ending == (stage == .finalDot ? .deferred(reply) : .elsewhere(reply)))
                #expect(reply.code == 451 && reply.enhanced?.kind == 4)
            }
        }
    }

    @Test func `nothing before a transaction fails a recipient; the host is out`() {
        for stage in ClientStage.allCases where !stage.isTransaction {
            let isKept = stage == .idle || stage == .quit
            #expect(FailureTable.remedy(at: stage) == (isKept ? .reconnect : .nextHost))
        }
    }

    @Test func `too many recipients counts only behind an accepted one, and only at RCPT`() {
        for code in [UInt16(452), 552] {
            let said = reply(code, "many")
            #expect(
                FailureTable.ending(at: .recipient, .reply(said), accepted: true) == .again(said))
            #expect(
                FailureTable.ending(at: .recipient, .reply(said)) != .again(said))
            #expect(
                FailureTable.ending(at: .finalDot, .reply(said), accepted: true) != .again(said))
        }
    }
}
