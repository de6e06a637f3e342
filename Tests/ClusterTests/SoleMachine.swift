// SoleMachine.swift - a machine that is the whole group; whatever it stores is on disk at once.

import MailQueue
import Primitives
import Raft
import SMTP
import Spool
import Testing

@testable import Cluster

enum SoleMachine {
    static let now = Instant(nanoseconds: 1_000_000_000)
    private static let clocks = Clocks(now: Self.now, wall: WallTime(milliseconds: 0))

    /// One that leads, with an entry of its own.
    static func leading(_ id: MemberID) -> NodeMachine {
        var machine = NodeMachine(
            queue: MailQueue(), options: Options(id: id),
            start: Start(configuration: Configuration(voters: [id])), known: [],
            clock: QueueClock(last: .zero, stopped: .zero, now: Self.now), random: 1)
        machine.campaign()
        Self.run(&machine)
        return machine
    }

    /// Until nothing is left to do.
    static func run(_ machine: inout NodeMachine) {
        var actions: [Replica.Action] = []
        var effects: [Effect] = []
        while true {
            machine.turn(&actions, at: Self.clocks)
            if actions.isEmpty { return }
            for action in actions {
                switch action {
                case .store(let request): machine.stored(upTo: request.ticket)
                case .apply(let entries, let applied):
                    for entry in entries {
                        do {
                            _ = try machine.apply(entry, effects: &effects)
                        } catch {
                            Issue.record("what is committed cannot be read: \(error)")
                        }
                    }
                    machine.appliedAll(applied)
                case .send, .readable, .changed: continue
                }
            }
            actions = []
        }
    }

    static func propose(_ command: Command, _ machine: inout NodeMachine) {
        #expect(machine.propose(command, at: Self.clocks) != nil)
        Self.run(&machine)
    }

    static func opening(_ holder: Holder) -> OpenSession {
        OpenSession(
            node: holder.node, incarnation: holder.incarnation, boot: 1,
            nonce: holder.incarnation.raw, credit: 10, replayed: false, delivers: false)
    }

    static func enqueue(at holders: [Holder]) -> Command.Action {
        .enqueue(
            Enqueue(
                envelope: Envelope(
                    sender: "a@x.test", recipients: [Recipient(address: "b@a.test")]),
                destinations: ["a.test"],
                receipt: BodyReceipt(
                    originalBytes: 10, storedBytes: 10, digest: .zero, holders: holders),
                acceptedAt: WallTime(milliseconds: 0), receivedFrom: ""))
    }
}
