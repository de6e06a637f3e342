import Primitives
import Testing

@testable import Demo

@Suite("The demo's ledger")
struct DemoLedgerTests {
    /// The next message's number; -1: the ledger is full.
    private static func number(_ ledger: inout DemoLedger) -> Int { ledger.draw() ?? -1 }

    @Test func `a promise and an arrival make a delivered message, in either order`() {
        var ledger = DemoLedger()
        let first = Self.number(&ledger)
        let second = Self.number(&ledger)
        ledger.accept(first, id: "A")
        ledger.arrive(first, attempt: 0)
        ledger.arrive(second, attempt: 0)
        ledger.accept(second, id: "B")
        #expect(ledger.missing.isEmpty)
        #expect(ledger.line(lost: 0) == "accepted 2, delivered 2, lost 0, duplicates 0")
    }

    @Test func `what has not arrived is lost unless a node still has it`() {
        var ledger = DemoLedger()
        for id in ["A", "B"] { ledger.accept(Self.number(&ledger), id: id) }
        #expect(ledger.lost(queued: []) == 2)
        #expect(ledger.lost(queued: ["B", "C"]) == 1)
        #expect(ledger.line(lost: 1) == "accepted 2, delivered 0, lost 1, duplicates 0")
    }

    @Test func `an arrival without a promise is neither delivered nor lost`() {
        var ledger = DemoLedger()
        ledger.arrive(Self.number(&ledger), attempt: 0)
        #expect(ledger.line(lost: ledger.lost(queued: [])) == DemoLedger().line(lost: 0))
    }

    @Test func `duplicates tell what the client sent again from what the nodes repeated`() {
        var ledger = DemoLedger()
        let number = Self.number(&ledger)
        ledger.accept(number, id: "A")
        ledger.arrive(number, attempt: 0)
        ledger.arrive(number, attempt: 1)  // the client had no answer to the first
        ledger.arrive(number, attempt: 1)  // a node sent the second twice
        #expect(ledger.duplicates == 2)
        #expect(ledger.sentAgain == 1)
        #expect(ledger.delivered == 1)
        // All attempts from the eighth on share a bit.
        ledger.arrive(number, attempt: 7)
        ledger.arrive(number, attempt: 100)
        #expect(ledger.duplicates == 4)
        #expect(ledger.sentAgain == 2)
    }

    @Test func `numbers that were never drawn are not of this load`() {
        var ledger = DemoLedger()
        ledger.arrive(0, attempt: 0)
        ledger.arrive(-1, attempt: 0)
        ledger.accept(5, id: "A")
        #expect(ledger.accepted == 0 && ledger.duplicates == 0)
    }

    @Test(arguments: ["", "1 2", "1 2 3 4", "x 2 3", "-1 2 3"])
    func `what is no mark of a load is none`(_ text: String) {
        #expect(DemoMark(text) == nil)
    }

    @Test func `a mark is read as it was written`() {
        let mark = DemoMark(run: .max, number: 7, attempt: 2)
        #expect(DemoMark(mark.text) == mark)
    }

    @Test(arguments: ["", "HTTP/1.1 200 OK\r\n", "\r\n\r\n", "HTTP/1.1 two OK\r\n\r\n"])
    func `what is no answer of a node is none`(_ text: String) {
        #expect(AdminQuestion.parse(Array(text.utf8)) == nil)
    }

    @Test func `an answer has a status and a body`() {
        let answer = AdminQuestion.parse(Array("HTTP/1.1 503 No\r\nA: b\r\n\r\n{\"a\":1}".utf8))
        #expect(answer?.status == 503)
        #expect(answer?.json?["a"]?.asInteger == 1)
    }
}
