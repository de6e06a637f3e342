// KillFaults.swift - processes that end, stand still, or come back with an empty disk.

import Foundation

extension FaultStory {
    func kill(_ fault: Fault) throws {
        switch fault {
        case .killLeader, .killFollower: try self.kill(try self.choose(leads: fault == .killLeader))
        case .killTwo:
            let first = self.draw(below: 3)
            try self.kill(first)
            // Healthy: every message has two copies again.
            try self.fleet.waitUntilHealthy()
            try self.kill((first + 1 + self.draw(below: 2)) % 3)
        case .pauseLeader, .pauseFollower:
            let node = self.fleet.nodes[try self.choose(leads: fault == .pauseLeader)]
            node.pause()
            defer { node.resume() }
            try self.outlast("paused")
        case .wipeLeader, .wipeFollower: try self.wipe(try self.choose(leads: fault == .wipeLeader))
        case _: throw Failure("\(fault) is of another kind")
        }
    }

    private func kill(_ place: Int) throws {
        self.fleet.nodes[place].kill()
        try self.expectMail("dead")
        try self.fleet.nodes[place].start()
    }

    /// The one loss that R = 2 permits: every message must have another copy before.
    private func wipe(_ place: Int) throws {
        try self.fleet.waitUntilHealthy()
        let node = self.fleet.nodes[place]
        node.kill()
        try self.expectMail("dead")
        try FileManager.default.removeItem(atPath: node.folder.path + "/data")
        try node.start()
        self.step("joined")
    }
}
