import Foundation
import MailQueue
import NIOCore
import Networking
import Primitives
import Raft
import SMTP
import Testing

@testable import Cluster
@testable import Storage

@Suite("Snapshots between nodes", .timeLimit(.minutes(2)))
struct SnapshotNodeTests {
    /// Of a node, as its loop sees it.
    private struct Seen: Equatable, Sendable {
        var applied: UInt64
        var first: UInt64
        var last: UInt64
        var hash: UInt64
        var bytes: UInt64
        var installed: UInt64
        var sent: UInt64
        var files: [String] = []
    }

    /// A log that reaches a few entries back, and a checkpoint that is made when a test says so.
    private func rig(mails: Int, content: Int = 10) async throws -> (ClusterRig, leader: Int) {
        let rig = try ClusterRig()
        rig.limits.log.tailBytes = 0
        rig.limits.log.keptBytesMax = 2 << 10
        rig.limits.pieceBytes = 4 << 10
        rig.limits.windowBytes = 16 << 10
        rig.limits.pause = .milliseconds(50)
        try await rig.start()
        let leader = try await rig.leader()
        for _ in 0..<mails { try await self.mail(rig, leader, content) }
        return (rig, leader)
    }

    private func mail(_ rig: ClusterRig, _ place: Int, _ size: Int = 10) async throws {
        let content = [UInt8](repeating: UInt8(ascii: "x"), count: size)
        try await rig.wait {
            guard case .accepted = try await rig.send(place, content) else { return false }
            return true
        }
    }

    private func on<R: Sendable>(
        _ rig: ClusterRig, _ place: Int, _ body: @escaping @Sendable (Node) -> R
    ) async throws -> R {
        let node = rig.members[place].running.node
        return try await node.loop.submit { body(node) }.get()
    }

    private func see(_ rig: ClusterRig, _ place: Int) async throws -> Seen {
        var seen = try await self.on(rig, place) { node in
            Seen(
                applied: node.machine.applied.index, first: node.machine.replica.raft.firstIndex,
                last: node.machine.replica.raft.lastIndex, hash: node.machine.stateHash(),
                bytes: node.machine.replica.raft.log.bytes, installed: node.sink.installedCount,
                sent: node.source.sentCount)
        }
        let data = "\(rig.directory)/data-\(ClusterRig.names[place])"
        seen.files = try FileManager.default.contentsOfDirectory(atPath: data)
            .filter { $0.hasPrefix("queue.") || $0.hasPrefix("snapshot.") }
            .filter { !$0.hasSuffix("-journal") }.sorted()
        return seen
    }

    /// A checkpoint on every node that lives: only behind it the log goes.
    private func checkpoint(_ rig: ClusterRig) async throws {
        for place in rig.members.indices where rig.members[place].isAlive {
            let node = rig.members[place].running.node
            let promise = node.loop.makePromise(of: Void.self)
            node.loop.execute {
                guard !node.checkpoint.isRunning else { return promise.succeed() }
                node.makeCheckpoint { _ in promise.succeed() }
            }
            try await promise.futureResult.get()
        }
    }

    /// Mail goes on until the leader's log begins behind `index`.
    private func leaveBehind(_ rig: ClusterRig, _ leader: Int, _ index: UInt64) async throws {
        while true {
            let seen = try await self.see(rig, leader)
            guard seen.first <= index + 1 else { return }
            for _ in 0..<10 { try await self.mail(rig, leader) }
            try await self.checkpoint(rig)
        }
    }

    /// A member that was killed, and needs the state to go on.
    ///
    /// - Parameter mails: taken by the others meanwhile, at least.
    private func leftBehind(
        mails: Int = 0
    ) async throws -> (ClusterRig, leader: Int, away: Int) {
        let (rig, leader) = try await self.rig(mails: 5)
        let away = (leader + 1) % 3
        let left = try await self.see(rig, away).last
        try await rig.kill(away)
        for _ in 0..<mails { try await self.mail(rig, leader) }
        try await self.leaveBehind(rig, leader, left)
        return (rig, leader, away)
    }

    private func seeAll(_ rig: ClusterRig) async throws -> [Seen] {
        var all: [Seen] = []
        for place in rig.members.indices where rig.members[place].isAlive {
            all.append(try await self.see(rig, place))
        }
        return all
    }

    /// All that live have applied the same and agree.
    private func waitForAgreement(_ rig: ClusterRig) async throws {
        try await rig.wait {
            let all = try await self.seeAll(rig)
            let first = all[0]
            guard all.allSatisfy({ $0.applied == first.applied && $0.last == first.applied })
            else { return false }
            #expect(Set(all.map(\.hash)).count == 1)
            return true
        }
    }

    @Test func `a node that was away for longer than the log reaches is given the state`()
        async throws
    {
        let (rig, leader, away) = try await self.leftBehind()
        #expect(try await self.see(rig, leader).bytes < 64 << 10)
        // The others take mail all the while.
        rig.members[away] = try rig.open(away)
        let running = rig.members[away].running
        async let started: Void = running.start()
        for _ in 0..<20 { try await self.mail(rig, leader) }
        try await started
        try await rig.wait { try await self.see(rig, away).installed == 1 }
        try await rig.wait { try await self.see(rig, leader).sent == 1 }
        try await self.waitForAgreement(rig)
        // It is a node like any other.
        try await self.mail(rig, away)
        try await rig.wait { await rig.status(leader).health == .healthy }
        let seen = try await self.see(rig, away)
        #expect(seen.files == ["queue.2.sqlite"] || seen.files.count == 2)
        // And starts from there.
        try await rig.kill(away)
        try await rig.restart(away)
        try await self.waitForAgreement(rig)
        #expect(try await self.see(rig, away).files == ["queue.2.sqlite"])
        try await rig.end()
    }

    // MARK: Killed on the way.

    enum Stage: CaseIterable {
        case receiving, whole, asked, placed, current
    }

    /// It has got so far, or farther.
    private static func isAt(_ stage: Stage, _ node: Node) -> Bool {
        let isCurrent = node.sink.installedCount > 0
        let isPlaced = isCurrent || node.stores.first?.installs != nil
        let isAsked = isPlaced || node.sink.installing != nil
        let isWhole =
            isAsked || node.sink.prepared != nil || node.sink.receiving?.isChecking ?? false
        return switch stage {
        case .receiving: isWhole || (node.sink.receiving?.written ?? 0) > 0
        case .whole: isWhole
        case .asked: isAsked
        case .placed: isPlaced
        case .current: isCurrent
        }
    }

    /// Looks again and again, and stops the node there and then.
    private static func watch(_ node: Node, _ stage: Stage, _ seen: EventLoopPromise<Void>) {
        guard self.isAt(stage, node) else {
            node.loop.scheduleTask(in: .microseconds(100)) { self.watch(node, stage, seen) }
            return
        }
        for timer in node.timers { timer.cancel() }
        node.phase = .stopped
        node.mesh?.stop().assumeIsolated().whenComplete { _ in seen.succeed() }
    }

    @Test(arguments: Stage.allCases)
    func `a node that is killed while it is given the state comes back`(stage: Stage) async throws {
        let (rig, leader, away) = try await self.leftBehind(mails: 60)
        rig.members[away] = try rig.open(away)
        let node = rig.members[away].running.node
        let seen = node.loop.makePromise(of: Void.self)
        node.loop.execute {
            node.beginAmongOthers()
            Self.watch(node, stage, seen)
        }
        try await seen.futureResult.get()
        try await rig.kill(away)
        try await self.mail(rig, leader)
        try await rig.restart(away)
        try await self.waitForAgreement(rig)
        try await self.mail(rig, away)
        try await rig.wait { try await self.see(rig, away).files == ["queue.2.sqlite"] }
        try await rig.end()
    }

    /// Between a message of agreement and the turn that follows it a tick may come.
    private final class Ticking: PeerEvents {
        private let node: Node
        init(_ node: Node) { self.node = node }
        func received(_ message: PeerMessage, from name: NodeName, _ disk: Incarnation) {
            self.node.received(message, from: name, disk)
            self.node.tickInstall(SystemClock.bootTime())
        }
        func peerUp(_ peer: Hello, _ link: PeerLinkKind) { self.node.peerUp(peer, link) }
        func peerDown(_ name: NodeName, _ disk: Incarnation, _ link: PeerLinkKind) {
            self.node.peerDown(name, disk, link)
        }
        func peerDrained(_ name: NodeName) { self.node.peerDrained(name) }
        func mayRead(from name: NodeName) -> Bool { self.node.mayRead(from: name) }
    }

    @Test func `a tick right behind the leader's words takes no file from under the core`()
        async throws
    {
        let (rig, _, away) = try await self.leftBehind()
        rig.members[away] = try rig.open(away)
        let node = rig.members[away].running.node
        let ticking = try await node.loop.submit {
            let ticking = Ticking(node)
            node.mesh?.events = ticking
            node.beginAmongOthers()
            return NIOLoopBound(ticking, eventLoop: node.loop)
        }.get()
        try await rig.wait { try await self.see(rig, away).installed == 1 }
        try await self.waitForAgreement(rig)
        _ = ticking
        try await rig.end()
    }

    @Test func `links that break on the way, and a member without room, only cost time`()
        async throws
    {
        let (rig, leader, away) = try await self.leftBehind(mails: 60)
        // No room: it is refused, again and again, and the others go on.
        rig.lowWaterBytes = 1 << 60
        rig.members[away] = try rig.open(away)
        let full = rig.members[away].running.node
        full.loop.execute { full.beginAmongOthers() }
        try await rig.wait { try await self.on(rig, leader) { $0.source.refusedCount > 1 } }
        try await self.mail(rig, leader)
        #expect(try await self.see(rig, away).installed == 0)
        try await rig.kill(away)
        // Room again; but three times the links break.
        rig.lowWaterBytes = 1 << 20
        rig.members[away] = try rig.open(away)
        let running = rig.members[away].running
        async let started: Void = running.start()
        for _ in 0..<3 {
            let name = ClusterRig.names[leader]
            try await rig.wait {
                try await self.on(rig, away) { node in
                    guard node.sink.receiving?.written ?? 0 > 0 else {
                        return node.sink.installedCount > 0
                    }
                    node.mesh?.disconnect(name)
                    return true
                }
            }
        }
        try await started
        try await self.waitForAgreement(rig)
        #expect(try await self.see(rig, away).installed == 1)
        try await rig.end()
    }
}
