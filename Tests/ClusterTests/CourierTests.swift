import MailQueue
import Primitives
import Raft
import Testing

@testable import Cluster

@Suite("Commands on their way to the leader (4)")
struct CourierTests {
    private let leader = Courier.Way.leader(MemberID(raw: 2), term: 3)

    private func command(
        _ number: UInt64, _ action: Command.Action = .clearSuspension(destination: "x")
    ) -> Command {
        Command(Origin(session: SessionID(raw: 1), sequence: number), action)
    }

    private func numbers(_ courier: inout Courier) -> [UInt64] {
        var numbers: [UInt64] = []
        while let command = courier.next() {
            numbers.append(command.origin?.sequence ?? 0)
            courier.handedOver()
        }
        return numbers
    }

    @Test func `on one way each goes once, in order, also one that came late`() {
        var courier = Courier()
        for number: UInt64 in [1, 2, 4] { courier.add(self.command(number), number: number) }
        #expect(courier.next() == nil, "nobody leads")
        courier.turn(to: self.leader)
        #expect(self.numbers(&courier) == [1, 2, 4])
        courier.add(self.command(3), number: 3)
        courier.add(self.command(5), number: 5)
        #expect(self.numbers(&courier) == [3, 5])
        courier.turn(to: self.leader)
        #expect(self.numbers(&courier).isEmpty)
    }

    @Test func `it stays the next one until it is handed over`() {
        var courier = Courier()
        courier.turn(to: .own(term: 1))
        for number: UInt64 in 1...2 { courier.add(self.command(number), number: number) }
        #expect(courier.next() == self.command(1))
        #expect(courier.next() == self.command(1))
        courier.handedOver()
        #expect(courier.next() == self.command(2))
    }

    @Test func `another way: all that have no result go again`() {
        var courier = Courier()
        courier.turn(to: self.leader)
        for number: UInt64 in 1...4 { courier.add(self.command(number), number: number) }
        #expect(self.numbers(&courier) == [1, 2, 3, 4])
        courier.resolve(1)
        courier.resolve(3)
        courier.turn(to: .own(term: 4))
        #expect(self.numbers(&courier) == [2, 4])
        courier.sendAgain()
        #expect(self.numbers(&courier) == [2, 4])
        courier.turn(to: .none)
        #expect(courier.next() == nil)
    }

    @Test func `a session is closed behind the results of all that it has said`() {
        var courier = Courier()
        courier.turn(to: self.leader)
        courier.add(self.command(1), number: 1)
        courier.add(self.command(2, .closeSession), number: 2)
        courier.add(self.command(3), number: 3)
        #expect(self.numbers(&courier) == [1, 3])
        courier.resolve(1)
        #expect(courier.next() == nil && courier.waiting == [2, 3])
        // What was declined goes again before it.
        courier.sendAgain()
        #expect(self.numbers(&courier) == [3])
        courier.add(fact: self.command(9, .cancel(Tag(session: .none, sequence: 9))))
        courier.resolve(3)
        #expect(self.numbers(&courier) == [9])
        courier.resolveFact(Origin(session: SessionID(raw: 1), sequence: 9))
        #expect(self.numbers(&courier) == [2] && courier.waiting == [2])
        courier.turn(to: .own(term: 9))
        #expect(self.numbers(&courier) == [2])
        courier.resolve(2)
        courier.sendAgain()
        #expect(courier.next() == nil && courier.waiting.isEmpty)
    }

    @Test
    func `of a closed session facts go on, in front of the next session, until they are said`() {
        var courier = Courier()
        courier.turn(to: self.leader)
        courier.add(self.command(1), number: 1)
        courier.add(self.command(2, .cancel(Tag(session: .none, sequence: 9))), number: 2)
        courier.close()
        let open = Command(
            .openSession(
                OpenSession(
                    node: "a", incarnation: Incarnation(raw: 1), boot: 2, nonce: 3, credit: 1,
                    replayed: false, delivers: true)))
        courier.open(open)
        #expect(courier.next()?.origin?.sequence == 2)
        courier.handedOver()
        // A leader may decline it and take what comes behind it.
        #expect(courier.next() == nil)
        courier.resolveFact(Origin(session: SessionID(raw: 1), sequence: 2))
        #expect(courier.next() == open)
        courier.handedOver()
        #expect(courier.next() == nil)
        courier.opened()
        // Numbers begin anew.
        courier.add(self.command(1), number: 1)
        #expect(self.numbers(&courier) == [1])
        // A fact that comes later is said beside them; one that is there twice is said once.
        courier.add(fact: self.command(3, .cancel(Tag(session: .none, sequence: 8))))
        courier.add(fact: self.command(3, .cancel(Tag(session: .none, sequence: 8))))
        courier.sendAgain()
        #expect(self.numbers(&courier) == [3, 3, 1])
        courier.resolveFact(Origin(session: SessionID(raw: 1), sequence: 3))
        courier.sendAgain()
        #expect(self.numbers(&courier) == [1])
    }
}
