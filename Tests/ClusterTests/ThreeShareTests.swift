import MailQueue
import Primitives
import Testing

@testable import Cluster

@Suite("Shares of connections over real links", .timeLimit(.minutes(2)))
struct ThreeShareTests {
    private static let limit = 20

    /// What each may open; all together never more than the limit.
    private func shares(_ rig: ClusterRig, _ destination: String) -> [Int] {
        let shares = rig.members.map { $0.running.desk.share(of: destination) }
        let living = zip(shares, rig.members).filter { $0.1.isAlive }.map(\.0)
        #expect(living.reduce(0, +) <= Self.limit)
        return shares
    }

    private func wait(
        _ rig: ClusterRig, _ destination: String, for wanted: [Int]
    ) async throws {
        try await rig.wait { self.shares(rig, destination) == wanted }
    }

    @Test func `even parts at first, the most where the mail is, a part for one that comes`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.wait(rig, "x.test", for: [6, 6, 6])
        // The mail of one destination lies at one node: more and more of it.
        try await rig.wait {
            _ = try await rig.send(1, Array("x\r\n".utf8), to: "b@x.test")
            return self.shares(rig, "x.test")[1] == 18
        }
        try await self.wait(rig, "x.test", for: [1, 18, 1])
        #expect(self.shares(rig, "y.test") == [6, 6, 6])
        // One that is no seed.
        let other = try await rig.startAnother()
        try await self.wait(rig, "y.test", for: [5, 5, 5, 5])
        try await rig.wait { self.shares(rig, "x.test")[other] == 1 }
        try await rig.end()
    }

    @Test func `a connection is counted until it ends, and raised elsewhere only then`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.wait(rig, "x.test", for: [6, 6, 6])
        let desk = rig.members[0].running.desk
        for _ in 0..<6 { #expect(desk.takeConnection(to: "x.test")) }
        #expect(!desk.takeConnection(to: "x.test"))
        for _ in 0..<60 { _ = try await rig.send(1, Array("x\r\n".utf8), to: "b@x.test") }
        // Lowered, but six are open: the other has what they leave.
        try await rig.wait { self.shares(rig, "x.test") == [1, 13, 1] }
        for _ in 0..<6 { desk.returnConnection(to: "x.test") }
        try await rig.wait { self.shares(rig, "x.test") == [1, 18, 1] }
        try await rig.end()
    }

    @Test func `what a dead node had is dealt to the others`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        try await self.wait(rig, "x.test", for: [6, 6, 6])
        let leader = try await rig.leader()
        try await rig.kill(leader)
        let living = [0, 1, 2].filter { $0 != leader }
        try await rig.wait {
            let shares = self.shares(rig, "x.test")
            return living.allSatisfy { shares[$0] == 10 }
        }
        try await rig.end()
    }
}
