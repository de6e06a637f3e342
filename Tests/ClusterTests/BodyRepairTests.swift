// BodyRepairTests.swift - copies that are lost are made again, and mail does not wait for that.

import MailQueue
import NIOCore
import Primitives
import SMTP
import Spool
import Storage
import Testing

@testable import Cluster

@Suite("Copies lost and made among nodes", .serialized, .timeLimit(.minutes(2)))
struct BodyRepairTests {
    /// As many copies as there should be, each of them readable where it is said to be.
    private func waitForCopies(
        _ rig: ClusterRig, _ tag: Primitives.Tag, of content: [UInt8], by place: Int, count: Int = 2
    ) async throws -> [Int] {
        var found: [Int] = []
        try await rig.wait {
            found = try await rig.holders(tag, by: place)
            guard found.count == count else { return false }
            for holder in found {
                guard try await rig.ownCopy(tag, holder) == content else { return false }
            }
            return true
        }
        return found
    }

    @Test(arguments: [20_000, 300_000])
    func `a copy that the disk has changed is given from the other, and made again`(size: Int)
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(size)
        let tag = try await rig.accepted(0, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 0)
        let bad = try #require(holders.first)
        #expect(try rig.damage(Array(content[size / 2..<size / 2 + 40]), bad) == 1)
        #expect(try await rig.read(tag, bad) == .success(content))
        // The copy on that disk counts no more, and another one does.
        try await rig.wait {
            let own = try await rig.on(bad) { $0.ownTag(of: tag) }
            return own != tag
        }
        let after = try await self.waitForCopies(rig, tag, of: content, by: bad)
        for place in 0..<3 {
            #expect(try await rig.read(tag, place) == .success(content))
        }
        // A copy that was made again lies under the tag of the command that added it.
        let made = try #require(after.first { $0 == bad || !holders.contains($0) })
        let under = try await rig.on(made) { $0.ownTag(of: tag) }
        #expect(under != nil && under != tag)
        // Nobody was told that anything is lost.
        for member in rig.members { #expect(member.taker.reports.isEmpty) }
        try await rig.end()
    }

    @Test func `what a removed node held is copied to the one that is left`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        var messages: [(Primitives.Tag, [UInt8])] = []
        for number in 0..<12 {
            let content = ClusterRig.content(number == 0 ? 400_000 : 5000, seed: UInt64(number))
            messages.append((try await rig.accepted(number % 3, content), content))
        }
        let gone = (leader + 1) % 3
        let left = (leader + 2) % 3
        try await rig.kill(gone)
        let holder = rig.members[gone].running.node.ownHolder
        try await rig.on(leader) { node in
            node.proposeAsLeader(
                Command(
                    .removeNode(
                        RemoveNode(
                            node: holder.node, incarnation: holder.incarnation, force: false))))
        }
        for (tag, content) in messages {
            let holders = try await self.waitForCopies(rig, tag, of: content, by: leader)
            #expect(Set(holders) == [leader, left])
        }
        // Copies that were made again are still theirs after a start.
        try await rig.kill(left)
        try await rig.restart(left)
        for (tag, content) in messages {
            try await rig.wait { try await rig.ownCopy(tag, left) == content }
        }
        try await rig.end()
    }

    @Test func `damage that a start finds costs that copy, which is made again`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(30_000)
        let tag = try await rig.accepted(1, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 1)
        // Something behind it on every disk: the damage is in what is known to be synced.
        for place in 0..<3 { _ = try await rig.accepted(place, ClusterRig.content(100)) }
        let leader = try await rig.leader()
        let bad = try #require(holders.first { $0 != leader } ?? holders.first)
        try await rig.kill(bad)
        #expect(try rig.damage(Array(content[10_000..<10_040]), bad) == 1)
        try await rig.restart(bad)
        try await rig.wait {
            let own = try await rig.on(bad) { $0.ownTag(of: tag) }
            return own != tag
        }
        _ = try await self.waitForCopies(rig, tag, of: content, by: bad)
        #expect(try await rig.read(tag, bad) == .success(content))
        try await rig.end()
    }

    @Test func `when all copies are lost the recipients end, with one report`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        for place in 0..<3 {
            try await rig.on(place) { $0.repairs.planner.hopesFor = .milliseconds(100) }
        }
        let content = ClusterRig.content(50_000)
        let tag = try await rig.accepted(0, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 0)
        for place in holders {
            #expect(try rig.damage(Array(content[20_000..<20_040]), place) == 1)
        }
        let reader = try #require([0, 1, 2].first { !holders.contains($0) })
        var found = try await rig.read(tag, reader)
        // The holders look again, tell, and the leader gives the message up.
        try await rig.wait {
            found = try await rig.read(tag, reader)
            let copies = try await rig.holders(tag, by: reader)
            return found == .failure(.unavailable) && copies.isEmpty
        }
        // Its lease is given back; then what is left of it fails.
        try await rig.wait {
            for member in rig.members {
                member.running.desk.release(
                    member.taker.deliveries.filter { $0.id.message == tag }.map(\.id))
            }
            return rig.members.contains { $0.taker.reports.contains { $0.id.message == tag } }
        }
        let reports = rig.members.flatMap { $0.taker.reports.filter { $0.id.message == tag } }
        #expect(reports.count == 1)
        let verdict = try #require(reports.first?.content.lines.first?.verdict)
        #expect(verdict.kind == .failed && verdict.reply.enhanced == EnhancedCode(5, 3, 0))
        try await rig.end()
    }

    @Test func `20 MB are accepted, and read on a node without a copy, a few pieces at a time`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let content = ClusterRig.content(20 << 20)
        let tag = try await rig.accepted(2, content)
        let holders = try await self.waitForCopies(rig, tag, of: content, by: 2)
        let reader = try #require([0, 1, 2].first { !holders.contains($0) })
        #expect(try await rig.ownCopy(tag, reader) == nil)
        #expect(try await rig.read(tag, reader) == .success(content))
        // One holder's copy breaks in its last part: what was sent on already is not sent again.
        let end = content.count - 100_000
        let bad = try #require(try await rig.on(reader) { $0.sources(of: tag) }.first)
        let place = try #require(ClusterRig.names.firstIndex(of: bad.node))
        #expect(try rig.damage(Array(content[end..<end + 40]), place) == 1)
        #expect(try await rig.read(tag, reader) == .success(content))
        _ = try await self.waitForCopies(rig, tag, of: content, by: reader)
        for place in 0..<3 {
            #expect(try await rig.on(place) { $0.fetches.isEmpty && $0.senders.isEmpty })
        }
        try await rig.end()
    }
}
