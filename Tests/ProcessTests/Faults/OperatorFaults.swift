// OperatorFaults.swift - what operators do on a day of work, under load.

import Foundation
import Testing

extension FaultStory {
    func operate(_ fault: Fault) throws {
        switch fault {
        case .restartAll: for place in 0..<3 { try self.restart(place) }
        case .drainLeader, .drainFollower:
            let place = try self.choose(leads: fault == .drainLeader)
            // Any node takes the command.
            let asked = self.fleet.nodes[self.draw(below: 3)]
            try self.order(asked, "drain", Fleet.names[place], "--timeout", "60s")
            self.step("drained")
            #expect(try self.fleet.leader() != place)
            try self.expectMail("drained")
            try self.order(asked, "undrain", Fleet.names[place])
        case .transferLeader:
            let leader = try self.leader()
            let place = (leader + 1 + self.draw(below: 2)) % 3
            let asked = self.fleet.nodes[self.draw(below: 3)]
            try self.order(asked, "transfer-leader", Fleet.names[place])
            self.step("transferred")
            #expect(try self.fleet.leader() == place)
        case _: throw Failure("\(fault) is of another kind")
        }
    }

    func order(_ node: Relay, _ arguments: String...) throws {
        let ended = try node.command(["cluster"] + arguments)
        guard ended.status == 0 else {
            throw Failure("\(arguments): \(ended.status ?? -1) \(ended.errorText)")
        }
    }
}
