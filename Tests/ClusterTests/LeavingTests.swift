import MailQueue
import NIOCore
import Networking
import Primitives
import Synchronization
import Testing

@testable import Cluster

@Suite("A node that will stop", .timeLimit(.minutes(1)))
struct LeavingTests {
    @Test func `a leader hands over while it still takes mail, and says no to balancers`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let name = ClusterRig.names[leader]
        #expect(rig.members[leader].running.view.readiness == .ready)
        rig.members[leader].running.leave()
        #expect(rig.members[leader].running.view.readiness == .notReady(.draining))
        let other = (leader + 1) % 3
        try await rig.wait {
            let now = await rig.status(other).leader
            return now != nil && now != name
        }
        #expect(rig.members[leader].running.intake.obstacle == nil)
        _ = try await rig.accepted(leader, "in the time of the balancer")
        try await rig.wait { await rig.status(other).nodes[leader].state == .draining }
        try await rig.end()
    }

    @Test func `a leader that stops has handed over before its links close`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let other = (leader + 1) % 3
        let term = await rig.status(other).term
        await rig.members[leader].running.stop()
        rig.members[leader].isAlive = false
        let next = await rig.status(other)
        #expect(next.term > term)
        #expect(next.leader != nil && next.leader != ClusterRig.names[leader])
        try await rig.end()
    }

    @Test func `a node that stops closes its session, if it knows how all it has begun has ended`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        for (place, isKnown) in [((leader + 1) % 3, true), ((leader + 2) % 3, false)] {
            let name = ClusterRig.names[place]
            if !isKnown {
                // A connection was cut behind its final dot.
                try await rig.on(place) { node in node.abandon(node.machine.session) }
            }
            await rig.members[place].running.stop()
            rig.members[place].isAlive = false
            try await rig.on(leader) { node in
                let isClosed = node.machine.queue.session(of: name) == nil
                #expect(isClosed == isKnown, "\(name)")
            }
            if isKnown { try await rig.reopen(place) }
        }
        try await rig.end()
    }

    @Test func `who asks is waited for, who does not ask is not`() {
        let second = Duration.seconds(1)
        let start = Instant.zero + second
        let watch = BalancerWatch(start: start)
        #expect(watch.isOver(start, asked: nil))
        #expect(watch.isOver(start + BalancerWatch.interval, asked: start), "it went away")
        #expect(!watch.isOver(start, asked: .zero), "one second ago")
        #expect(!watch.isOver(start + second, asked: start))
        let late = start + BalancerWatch.noticed
        #expect(watch.isOver(late, asked: late), "long enough")
    }

    @Test func `sessions that idle are told when the balancers' time is over`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let told = Counter()
        rig.members[0].running.whenDrained { told.count.add(1, ordering: .relaxed) }
        try await rig.on(0) { node in
            node.tellDrained(false)
            #expect(told.count.load(ordering: .relaxed) == 0)
            node.tellDrained(true)
            node.tellDrained(true)
            #expect(told.count.load(ordering: .relaxed) == 1, "once")
            node.tellDrained(false)
            node.tellDrained(true)
            #expect(told.count.load(ordering: .relaxed) == 2, "and again the next time")
        }
        try await rig.end()
    }

    private final class Counter: Sendable {
        let count = Atomic<Int>(0)
    }
}
