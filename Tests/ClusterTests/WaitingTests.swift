import MailQueue
import NIOCore
import Networking
import Primitives
import SMTP
import Spool
import Testing

@testable import Cluster

@Suite("Mail that waits for what a node lacks", .timeLimit(.minutes(1)))
struct WaitingTests {
    @Test func `whole messages wait for the next session`() async throws {
        let rig = try ClusterRig()
        let (place, session) = try await rig.startAndLoseASession()
        #expect(rig.members[place].running.intake.obstacle == nil)

        let running = rig.members[place].running
        async let verdict = ClusterRig.send(running, Array("waits".utf8))
        try await rig.wait { try await rig.on(place) { $0.wants.sessionless.count == 1 } }
        try await rig.on(place) { node in
            node.isReopening = false
            node.goOn()
        }
        guard case .accepted(let tag) = try await verdict else {
            Issue.record("it is refused")
            return
        }
        #expect(tag.session != session)
        #expect(try await rig.on(place) { $0.wants.sessionSince } == nil)
        try await rig.end()
    }

    @Test func `without a session for long mail is refused, and who waits is told`() async throws {
        let rig = try ClusterRig()
        let (place, _) = try await rig.startAndLoseASession()
        let running = rig.members[place].running
        async let verdict = ClusterRig.send(running, Array("waits".utf8))
        try await rig.wait { try await rig.on(place) { $0.wants.sessionless.count == 1 } }
        try await rig.on(place) { node in
            node.wants.sessionSince = SystemClock.bootTime() - Node.patience
            node.updateObstacle()
        }
        #expect(rig.members[place].running.intake.obstacle == .noLeader)
        #expect(rig.members[place].running.view.readiness == .notReady(.catchingUp))
        try await rig.on(place) { node in
            node.wants.sessionless[0].since = SystemClock.bootTime() - node.commitTimeout
            node.giveUpSessionless(SystemClock.bootTime())
        }
        #expect(try await verdict == .refused(.noLeader))
        try await rig.end()
    }

    @Test func `full disks of others are said at once`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let usual = rig.lowWaterBytes
        try await rig.kill(1)
        rig.lowWaterBytes = .max / 2
        try await rig.restart(1)
        rig.lowWaterBytes = usual
        _ = try await rig.accepted(0, "two of three take copies")
        try await rig.kill(2)
        try await rig.wait { rig.members[0].running.intake.obstacle == .full }
        try await rig.wait { await rig.status(0).alarms.contains("no_copies") }
        #expect(rig.members[0].running.view.readiness == .notReady(.disk))
        #expect(await rig.status(0).health != .healthy)

        try await rig.restart(2)
        try await rig.wait { rig.members[0].running.intake.obstacle == nil }
        try await rig.wait { await !rig.status(0).alarms.contains("no_copies") }
        _ = try await rig.accepted(0, "again")
        try await rig.end()
    }

    @Test func `with too few nodes for R copies mail waits, then is refused`() async throws {
        let rig = try ClusterRig()
        rig.copies = 3
        try await rig.start()
        try await rig.kill(2)
        try await rig.wait { try await rig.on(0) { $0.wants.copiesSince } != nil }
        #expect(rig.members[0].running.intake.obstacle == nil, "a reconnection's time")
        try await rig.on(0) { node in
            node.wants.copiesSince = SystemClock.bootTime() - Node.patience
        }
        try await rig.wait { rig.members[0].running.intake.obstacle == .noCopies }
        try await rig.wait { await rig.status(0).alarms.contains("no_copies") }
        #expect(rig.members[0].running.view.readiness == .notReady(.storage))
        guard case .failure(let refusal)? = try await rig.begin(0) else {
            Issue.record("a message is begun")
            return
        }
        #expect(refusal.reply.code == 451)
        try await rig.restart(2)
        try await rig.wait { rig.members[0].running.intake.obstacle == nil }
        _ = try await rig.accepted(0, "three copies")
        try await rig.end()
    }
}

extension ClusterRig {
    /// A follower that has lost its session; the next one does not come before the test wants it.
    fileprivate func startAndLoseASession() async throws -> (place: Int, lost: SessionID) {
        try await self.start()
        let leader = try await self.leader()
        let place = (leader + 1) % 3
        let session = try await self.on(place) { node in
            node.isReopening = true
            return node.machine.session
        }
        try await self.on(leader) { $0.proposeAsLeader(Command(.expireSession(session))) }
        try await self.wait { try await self.on(place) { $0.machine.session == .none } }
        return (place, session)
    }

    /// What a client that begins a message meets; nil: it may.
    fileprivate func begin(_ place: Int) async throws -> Result<Void, IntakeRefusal>? {
        let loop = self.members[place].running.node.loop
        let intake = self.members[place].running.intake
        return try await loop.submit {
            switch intake.begin(on: loop, resume: {}) {
            case .success(let body):
                body.abandon()
                return nil
            case .failure(let refusal): return .failure(refusal)
            }
        }.get()
    }
}
