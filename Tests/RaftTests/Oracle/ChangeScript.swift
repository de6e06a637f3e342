// ChangeScript.swift - the blocks of the files about changes of members, on one configuration.

import Primitives
import Raft

struct ChangeScript {
    private var membership = Membership(
        lastIndex: 0, window: InFlight(messagesMax: 10, bytesMax: 0))

    init() {}

    mutating func answer(_ block: DataFile.Block) -> [String] {
        // Every command is as good as an entry: what is added later is probed from further on.
        defer { self.membership.lastIndex += 1 }
        do {
            let changes = try block.changes()
            switch block.command {
            case "simple": try self.membership.simple(changes)
            case "enter-joint":
                let autoLeave = try block.options.first { $0.key == "autoleave" }?.flag()
                try self.membership.enterJoint(autoLeave: autoLeave ?? false, changes)
            case "leave-joint":
                guard changes.isEmpty else {
                    throw DirectiveError("this command takes no input")
                }
                try self.membership.leaveJoint()
            case let command: throw DirectiveError("unknown command: \(command)")
            }
        } catch {
            return [DirectiveError.text(of: error)]
        }
        return [Text.configuration(self.membership.configuration)]
            + self.membership.peers.map { "\($0.id.raw): \(Text.progress($0.progress))" }
    }
}
