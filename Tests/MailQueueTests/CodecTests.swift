import Primitives
import SMTP
import Spool
import Testing

@testable import MailQueue

/// Draws of every kind of command, small and odd.
struct CommandDice {
    var dice: Generator
    init(seed: UInt64) { self.dice = Generator(seed: seed) }

    mutating func text() -> String {
        let some = ["", "a", "b@x.example", "grüße@例え.example", "x\r\n\u{0}y", "long-", "\u{7F}"]
        let text = some[self.dice.below(some.count)]
        return text == "long-" ? String(repeating: text, count: self.dice.below(200)) : text
    }
    mutating func number() -> UInt64 {
        [0, 1, 127, 128, 300, 1 << 40, .max][self.dice.below(7)]
    }
    mutating func tag() -> Tag {
        Tag(session: SessionID(raw: self.number()), sequence: self.number())
    }
    mutating func flag() -> Bool { self.dice.chance(permille: 500) }
    mutating func delivery() -> DeliveryID {
        DeliveryID(message: self.tag(), index: UInt16(self.dice.below(65_536)))
    }
    mutating func deliveries() -> [DeliveryID] {
        (0..<self.dice.below(5)).map { _ in self.delivery() }
    }
    mutating func report() -> ReportID {
        ReportID(message: self.tag(), number: UInt16(self.dice.below(65_536)))
    }
    mutating func reply() -> Reply {
        let lines = (0..<1 + self.dice.below(3)).map { _ in self.text() }
        let code = UInt16(self.dice.below(65_536))
        return Reply(code, self.flag() ? EnhancedCode(5, code, 999) : nil, lines)
    }
    mutating func verdict() -> Verdict {
        let kinds: [Verdict.Kind] = [.delivered, .relayed, .deferred, .failed, .stored]
        return Verdict(
            kinds[self.dice.below(5)], self.reply(), remoteHost: self.flag() ? self.text() : nil)
    }
    mutating func enqueue() -> Enqueue {
        let recipients = (0..<self.dice.below(4)).map { _ in
            Recipient(
                address: self.text(), notify: Notify(rawValue: UInt8(self.dice.below(32))),
                orcpt: self.flag() ? self.text() : nil)
        }
        let one = self.text()
        let isOne = self.flag()
        let names = recipients.map { _ in isOne ? one : self.text() }
        let holders = (0..<self.dice.below(4)).map { _ in self.holder() }
        return Enqueue(
            envelope: Envelope(
                sender: self.text(), recipients: recipients, eightBit: self.flag(),
                utf8: self.flag(), ret: [nil, .full, .headers][self.dice.below(3)],
                envid: self.flag() ? self.text() : nil, user: self.flag() ? self.text() : nil),
            destinations: names,
            receipt: BodyReceipt(
                originalBytes: UInt64(self.dice.below(1 << 40)), storedBytes: 1 << 40,
                digest: BodyDigest(a: self.number(), b: 1, c: 2, d: self.number()),
                holders: holders),
            acceptedAt: WallTime(milliseconds: Int64(self.dice.below(1 << 50))),
            receivedFrom: self.text())
    }
    mutating func holder() -> Holder {
        Holder(node: self.text(), incarnation: Incarnation(raw: self.number()))
    }
    mutating func settings() -> ClusterSettings {
        var settings = ClusterSettings()
        settings.retry = (0...self.dice.below(5)).map { .seconds($0) }
        settings.expire = .milliseconds(Int64(self.dice.below(1 << 40)))
        settings.copies = UInt32(self.dice.below(1 << 32))
        settings.session = SessionTiming(
            term: .milliseconds(self.dice.below(1 << 20)),
            holdDown: .milliseconds(self.dice.below(1 << 20)),
            driftPermille: Int64(self.dice.below(500)))
        return settings
    }
    mutating func action() -> Command.Action {
        switch self.dice.below(23) {
        case 0:
            return .openSession(
                OpenSession(
                    node: self.text(), incarnation: Incarnation(raw: self.number()),
                    boot: self.number(), nonce: self.number(), credit: .max,
                    replayed: self.flag(), delivers: self.flag()))
        case 1: return .closeSession
        case 2: return .expireSession(SessionID(raw: self.number()))
        case 3: return .enqueue(self.enqueue())
        case 4:
            let lines = (0..<self.dice.below(4)).map { _ in
                Outcome.Line(recipient: UInt16(self.dice.below(65_536)), verdict: self.verdict())
            }
            return .outcome(
                Outcome(
                    delivery: self.delivery(), attempt: .max, lines: lines,
                    endsLease: self.flag(), damaged: self.flag()))
        case 5: return .release(deliveries: self.deliveries(), reports: [self.report()])
        case 6:
            return .grant(
                Grant(
                    session: SessionID(raw: self.number()), deliveries: self.deliveries(),
                    reports: [self.report()], term: self.number()))
        case 7: return .suspend(destination: self.text(), reply: self.reply())
        case 8: return .clearSuspension(destination: self.text())
        case 9: return .cancel(self.tag())
        case 10: return .report(of: self.report(), message: self.enqueue())
        case 11: return .waiveReport(self.report())
        case 12:
            let verb = Admin.Verb.allCases[self.dice.below(Admin.Verb.allCases.count)]
            return .admin(Admin(verb: verb, deliveries: self.deliveries(), reason: self.text()))
        case 13: return .expire(self.deliveries())
        case 14: return .bodyLost(self.tag())
        case 15: return .tick
        case 16: return .settings(self.settings())
        case 17: return .replicaAdded(self.tag(), self.holder())
        case 18:
            return .replicasLost(self.holder(), (0..<self.dice.below(4)).map { _ in self.tag() })
        case 19:
            let holder = self.holder()
            return .removeNode(
                RemoveNode(
                    node: holder.node, incarnation: holder.incarnation, force: self.flag()))
        case 20:
            return .admit(
                Admission(
                    node: self.text(), incarnation: Incarnation(raw: self.number()),
                    host: self.text(), port: UInt16(self.dice.below(65_536)),
                    gone: (0..<self.dice.below(3)).map { _ in Incarnation(raw: self.number()) }))
        case 21:
            let wish = MemberWish.allCases[self.dice.below(MemberWish.allCases.count)]
            return .wish(node: self.text(), wish)
        case _: return .drain(node: self.text(), draining: self.flag())
        }
    }
    mutating func command() -> Command {
        var command = Command(self.action())
        if self.flag() {
            let ranges = (0..<self.dice.below(3)).map { _ in
                let lower = self.number()
                return lower...(lower &+ 5 < lower ? lower : lower + 5)
            }
            command.origin = Origin(
                session: SessionID(raw: self.number()), sequence: self.number(),
                acknowledged: ranges)
        }
        return command
    }
}

func encoded(_ command: Command) -> [UInt8] {
    var writer = ByteWriter()
    command.encode(into: &writer)
    return writer.bytes
}

func decoded(_ bytes: [UInt8]) throws(CodecError) -> Command {
    var reader = ByteReader(bytes)
    let command = try Command(from: &reader)
    try reader.finish()
    return command
}

@Suite("Commands as bytes")
struct CodecTests {
    @Test func `every command comes back as it was, and no shorter piece does`() throws {
        var dice = CommandDice(seed: 1)
        for _ in 0..<3000 {
            let command = dice.command()
            let bytes = encoded(command)
            #expect(try decoded(bytes) == command)
            let cut = dice.dice.below(bytes.count)
            #expect(throws: CodecError.self) { try decoded(Array(bytes[..<cut])) }
            #expect(throws: CodecError.trailing) { try decoded(bytes + [0]) }
        }
    }

    @Test func `changed and random bytes give a command or an error, and apply takes any command`()
    {
        var dice = CommandDice(seed: 2)
        let rig = Rig()
        _ = rig.open("a")
        var good = 0
        for _ in 0..<20_000 {
            var bytes = encoded(dice.command())
            for _ in 0...dice.dice.below(3) {
                bytes[dice.dice.below(bytes.count)] = UInt8(dice.dice.below(256))
            }
            do {
                rig.apply(try decoded(bytes))
                good += 1
            } catch {}
            let noise = (0..<dice.dice.below(60)).map { _ in UInt8(dice.dice.below(256)) }
            do { _ = try decoded([1, UInt8(dice.dice.below(23))] + noise) } catch {}
        }
        #expect(good > 1000)
        #expect(rig.queue.audit() == nil)
    }

    @Test func `counts are bounded before anything is made of them`() {
        var writer = ByteWriter()
        writer.u8(Command.version)
        writer.u8(14)
        writer.bool(false)
        writer.varint(Command.idsMax + 1)
        #expect(throws: CodecError.outOfRange("count")) { try decoded(writer.bytes) }
        writer.bytes.removeLast(3)
        writer.varint(Command.idsMax)
        #expect(throws: CodecError.truncated) { try decoded(writer.bytes) }
    }

    @Test func `another version is refused`() {
        #expect(throws: CodecError.unknown("command version")) { try decoded([1, 16, 0]) }
        #expect(throws: Never.self) { try decoded([2, 16, 0]) }
    }
}
