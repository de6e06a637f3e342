// Catalogue.swift - every member and message that ever occurred, by number; every step done once.
//
// A world is a few numbers. What an event does to a member depends on that member alone, and few
// members make many worlds: almost every step of the search is found here.

import Primitives
import Raft

final class Catalogue {
    /// What a step led to.
    struct Outcome {
        var member: UInt32
        /// Where in `sent` its messages lie.
        var sentStart: UInt32
        var sentCount: UInt32
        /// In `faults`; -1: none.
        var fault: Int32
    }

    /// Kept once, compared by what is in it.
    private final class Kept: Hashable {
        let member: Member
        init(_ member: Member) { self.member = member }
        static func == (a: Kept, b: Kept) -> Bool { a.member == b.member }
        func hash(into hasher: inout Hasher) { hasher.combine(self.member) }
    }

    private var kept: [Kept] = []
    private var memberNumbers: [Kept: UInt32] = [:]
    private(set) var memberFacts: [MemberFacts] = []
    private(set) var messages: [Message] = []
    private(set) var messageFacts: [MessageFacts] = []
    private var messageNumbers: [Message: UInt32] = [:]
    private var outcomes: [UInt64: Outcome] = [:]
    private(set) var sent: ContiguousArray<UInt32> = []
    private(set) var faults: [String] = []

    private let isBoundless: Bool

    init(isBoundless: Bool) { self.isBoundless = isBoundless }

    var memberCount: Int { self.kept.count }
    var messageCount: Int { self.messages.count }

    func member(_ number: UInt32) -> Member { self.kept[Int(number)].member }

    func number(of member: Member) -> UInt32 {
        let kept = Kept(member)
        if let number = self.memberNumbers[kept] { return number }
        let number = UInt32(self.kept.count)
        self.memberNumbers[kept] = number
        self.memberFacts.append(MemberFacts(member))
        self.kept.append(kept)
        return number
    }

    private func number(of message: Message) -> UInt32 {
        if let number = self.messageNumbers[message] { return number }
        let number = UInt32(self.messages.count)
        invariant(number <= Event.argumentMax, "a message's number fits into an event")
        self.messageNumbers[message] = number
        self.messages.append(message)
        self.messageFacts.append(MessageFacts(message))
        return number
    }

    /// What `event` does to the member it happens to. Doubled or not, a message does the same.
    func outcome(of event: Event, at member: UInt32) -> Outcome {
        let kind = event.kind == .deliverDoubled ? Event.Kind.deliver : event.kind
        let key =
            UInt64(member) << 32 | UInt64(kind.rawValue) << 28 | UInt64(event.argument)
        if let known = self.outcomes[key] { return known }
        // Nothing of the catalogue is being changed while the replica runs: it may trap, and then
        // the trace is printed out of the catalogue.
        let step = self.member(member).step(
            self.local(event), isBoundless: self.isBoundless)
        var outcome = Outcome(
            member: self.number(of: step.member), sentStart: UInt32(self.sent.count),
            sentCount: UInt32(step.sent.count), fault: -1)
        for message in step.sent { self.sent.append(self.number(of: message)) }
        if let fault = step.fault {
            outcome.fault = Int32(self.faults.count)
            self.faults.append(fault)
        }
        self.outcomes[key] = outcome
        return outcome
    }

    private func local(_ event: Event) -> LocalEvent {
        let argument = Int(event.argument)
        switch event.kind {
        case .deliver, .deliverDoubled: return .deliver(self.messages[argument])
        case .sync: return .sync(argument)
        case .crash: return .crash(kept: argument)
        case .campaign: return .campaign
        case .tick: return .tick
        case .propose: return .propose(UInt8(argument))
        case .unreachable: return .unreachable(MemberID(raw: UInt64(argument) + 1))
        case .lose, .cut, .heal: unreachable("no business of one member")
        }
    }
}
