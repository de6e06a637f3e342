import MailQueue
import NIOCore
import Primitives
import Testing

@testable import Cluster

/// Nodes that are members no longer: left alone by the others, and told.
@Suite("Nodes that were removed", .timeLimit(.minutes(3)))
struct RemovedNodeTests {
    /// Removes a node for good, whatever it says; returns when it is no member any more.
    private func remove(_ rig: ClusterRig, _ name: String) async throws {
        let place = try await rig.leader()
        let change = ClusterChange(.remove, node: name, isForced: true)
        let done = try await rig.members[place].running.view.change(change, wait: .seconds(60))
        #expect(done.isDone)
    }

    private func isForgotten(_ rig: ClusterRig, _ name: String, by place: Int) async throws -> Bool
    {
        try await rig.on(place) { $0.mesh?.records[name]?.isForgotten ?? false }
    }

    @Test func `a worker that was removed is dialed no more, and told when it comes by itself`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let place = try await rig.startAnother()
        // It hears nothing of its removal.
        try await rig.kill(place)
        try await self.remove(rig, "d")
        for other in 0..<3 {
            try await rig.wait { try await self.isForgotten(rig, "d", by: other) }
        }
        try await rig.reopen(place)
        let running = rig.members[place].running
        let starting = Task { try await running.start() }
        try await rig.wait { await rig.status(place).alarms == ["removed"] }
        // Nobody keeps a link with it.
        for other in 0..<3 {
            let isUp = try await rig.on(other) { $0.mesh?.isUp("d", .control) }
            #expect(isUp == false)
        }
        try await rig.kill(place)
        starting.cancel()
        // With an empty disk it is another node.
        try await rig.replaceDisk(place)
        _ = try await rig.accepted(place, "it is back\r\n")
        for other in 0..<3 {
            #expect(try await !self.isForgotten(rig, "d", by: other))
        }
        try await rig.end()
    }

    @Test func `a seed that was removed is looked for now and then, told, and found again`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        // The last name: it dials nobody.
        try await rig.kill(2)
        try await self.remove(rig, "c")
        for other in 0..<2 {
            try await rig.wait { try await self.isForgotten(rig, "c", by: other) }
        }
        try await rig.reopen(2)
        let running = rig.members[2].running
        let starting = Task { try await running.start() }
        try await rig.wait { await rig.status(2).alarms == ["removed"] }
        try await rig.kill(2)
        starting.cancel()
        try await rig.replaceDisk(2)
        _ = try await rig.accepted(2, "it is back\r\n")
        for other in 0..<2 {
            #expect(try await !self.isForgotten(rig, "c", by: other))
        }
        try await rig.end()
    }
}
