import MailQueue
import Primitives
import Storage
import Synchronization
import Testing

@testable import Cluster

@Suite("Start of a node whose disk is damaged", .timeLimit(.minutes(2)))
struct DamagedStartTests {
    /// Leases two messages, dies, and starts again; how many it attempts then, and how many of them
    /// may be repeated.
    ///
    /// - Parameter isDamaged: bytes of the first one's body have changed meanwhile.
    private func leasedAgain(isDamaged: Bool) async throws -> (taken: Int, repeated: Int) {
        let rig = try Rig()
        // Long enough to be seen, however slow the machine is.
        let hold: @Sendable (RunningNode) -> Void = {
            $0.node.clusterSettings.session.holdDown = .seconds(3600)
        }
        let (node, taker) = try await rig.open(prepare: hold)
        let content = ClusterRig.content(20_000)
        // The second one makes sure that the first one's batch is not the last.
        _ = try await rig.send(node, on: rig.loop(0), content: content)
        _ = try await rig.send(node, on: rig.loop(0), content: [])
        await taker.wait { taker.deliveries.count == 2 }
        node.node.storage.close()
        if isDamaged {
            let changed = try changeBytes(
                Array(content[9_000..<9_040]), in: [rig.directory + "/journal"])
            #expect(changed > 0)
        }
        let (again, next) = try await rig.open(prepare: hold)
        _ = try await rig.send(again, on: rig.loop(0), content: [])
        await next.wait { next.deliveries.count >= (isDamaged ? 1 : 3) }
        let found = (next.deliveries.count, Int(await again.view.status().possibleDuplicates))
        await again.stop()
        try await rig.end()
        return found
    }

    @Test func `its old leases wait: what it noted of the attempts may be lost`() async throws {
        let found = try await self.leasedAgain(isDamaged: true)
        #expect(found == (taken: 1, repeated: 0))
    }

    @Test func `a sound one has its old leases free at once`() async throws {
        let found = try await self.leasedAgain(isDamaged: false)
        #expect(found == (taken: 3, repeated: 2))
    }
}
