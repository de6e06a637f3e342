import MailQueue
import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import SMTP
import Spool
import Testing

@testable import Cluster

/// A client that was told 451 4.4.5 sends its message again: the one before is taken back, whatever
/// becomes of the node that said it.
@Suite("What was given up", .timeLimit(.minutes(2)))
struct GivenUpTests {
    private func message(_ holders: [Holder]) -> Enqueue {
        let recipient = Recipient(address: "b@sink.test")
        return Enqueue(
            envelope: Envelope(sender: "a@client.test", recipients: [recipient]),
            destinations: ["sink.test"],
            receipt: BodyReceipt(
                originalBytes: 5, storedBytes: 5, digest: .zero, holders: holders),
            acceptedAt: WallTime(milliseconds: 0), receivedFrom: "[127.0.0.1]")
    }

    /// Its Enqueue is on its way from a node that hears nobody any more; its client is told no.
    private func giveUp(_ rig: ClusterRig, at place: Int) async throws -> Primitives.Tag {
        let mesh = try await rig.on(place) { $0.mesh?.stop() }
        try await mesh?.get()
        return try await rig.on(place) { node in
            let drawn = node.machine.drawTag()
            let tag = try #require(drawn)
            let submission = Submission(
                envelope: Envelope(sender: "", recipients: []), destinations: [],
                receivedFrom: "", head: { _ in ByteBuffer() },
                content: .whole(
                    Submission.Whole(
                        blocks: [], blockCount: 0, digest: Digest256(a: 0, b: 0, c: 0, d: 0))),
                contentBytes: 0, pieces: [], body: nil, loop: nil)
            node.propose(
                tag, .enqueue(self.message(node.machine.queue.members)),
                .submission(submission, nil, tag))
            let waiter = try #require(node.waiters[tag.sequence])
            node.giveUpOverdue(waiter.proposedAt + node.commitTimeout)
            return tag
        }
    }

    @Test func `a Cancel outlives the process that was about to say it`() async throws {
        let rig = try ClusterRig()
        try await rig.start()
        let leader = try await rig.leader()
        let place = (leader + 1) % 3
        let tag = try await self.giveUp(rig, at: place)
        // The Enqueue has arrived, the Cancel has not.
        try await rig.on(leader) { node in
            let message = self.message(node.machine.queue.members)
            node.proposeAsLeader(
                Command(
                    Origin(session: tag.session, sequence: tag.sequence), .enqueue(message)))
        }
        try await rig.wait {
            try await rig.on(leader) { $0.machine.queue.contains(tag) }
        }
        // What the turn has written is there when the process is gone.
        try await rig.kill(place)
        try await rig.restart(place)
        try await rig.wait {
            try await rig.on(leader) { !$0.machine.queue.contains(tag) }
        }
        let counted = try await rig.on(leader) { $0.machine.queue.totals.replyDuplicates }
        #expect(counted <= 1)
        try await rig.end()
    }

    @Test func `a node that stops gives up what was refused while it looked for disks`()
        async throws
    {
        let rig = try ClusterRig()
        try await rig.start()
        let place = (try await rig.leader() + 1) % 3
        for other in 0..<3 where other != place { try await rig.kill(other) }
        let node = rig.members[place].running.node
        let intake = rig.members[place].running.intake
        let promise = node.loop.makePromise(of: IntakeVerdict.self)
        let ended = node.loop.makePromise(of: Void.self)
        node.loop.execute {
            self.refuseOne(intake, node.loop, promise)
            #expect(node.placedOfClients.count == 1)
            node.giveUpRefused { ended.succeed(()) }
        }
        try await ended.futureResult.get()
        try await rig.on(place) { #expect($0.placedOfClients.isEmpty && $0.placings.isEmpty) }
        #expect(try await promise.futureResult.get() == .refused(.noLeader))
        try await rig.end()
    }

    /// A whole message whose session tells its client no before the verdict. On `loop`.
    private func refuseOne(
        _ intake: Intake, _ loop: any EventLoop, _ promise: EventLoopPromise<IntakeVerdict>
    ) {
        guard case .success(let body) = intake.begin(on: loop, resume: {}) else {
            // No test waits for this word.
            return promise.succeed(.refused(.full))
        }
        self.finish(body, promise)
        body.refuse()
    }

    // MARK: On a node alone.

    /// All of the message is there.
    private func finish(_ body: IncomingBody, _ promise: EventLoopPromise<IntakeVerdict>) {
        body.finish(
            envelope: Envelope(sender: "", recipients: [Recipient(address: "b@x.test")]),
            destinations: ["x.test"], head: { _ in ByteBuffer() }
        ) { promise.succeed($0) }
    }

    @Test func `what was answered 451 4.4.5 is attempted by nobody, and is gone`() async throws {
        let rig = try Rig()
        var (node, taker) = try await rig.open()
        let inner = node.node
        let intake = node.intake
        let promise = inner.loop.makePromise(of: IntakeVerdict.self)
        inner.loop.execute {
            guard case .success(let body) = intake.begin(on: inner.loop, resume: {}) else {
                return promise.succeed(.refused(.noLeader))
            }
            self.finish(body, promise)
            // The entry is in the log and not applied yet: the time is over before its sync.
            guard let number = inner.waiters.numbers.first,
                let waiter = inner.waiters[number]
            else { return }
            inner.giveUpOverdue(waiter.proposedAt + inner.commitTimeout)
        }
        #expect(try await promise.futureResult.get() == .refused(.timedOut))
        await node.stop()
        #expect(taker.deliveries.isEmpty)
        (node, taker) = try await rig.open()
        let status = await node.view.status()
        #expect(status.queue?.messages == 0)
        #expect(status.possibleDuplicates == 0)
        await node.stop()
        #expect(taker.deliveries.isEmpty)
        try await rig.end()
    }

    @Test func `what a session refused before its verdict came is taken back`() async throws {
        let rig = try Rig()
        var (node, taker) = try await rig.open()
        let inner = node.node
        let intake = node.intake
        for isOwnLoop in [true, false] {
            let loop = isOwnLoop ? inner.loop : rig.loops.next()
            let promise = loop.makePromise(of: IntakeVerdict.self)
            loop.execute {
                guard case .success(let body) = intake.begin(on: loop, resume: {}) else {
                    return promise.succeed(.refused(.noLeader))
                }
                self.finish(body, promise)
                body.refuse()
                body.abandon()
            }
            guard case .accepted = try await promise.futureResult.get() else {
                Issue.record("the queue took it")
                return
            }
        }
        await node.stop()
        #expect(taker.deliveries.isEmpty)
        (node, taker) = try await rig.open()
        let status = await node.view.status()
        #expect(status.queue?.messages == 0 && status.possibleDuplicates == 0)
        await node.stop()
        try await rig.end()
    }

    @Test func `a node that stops takes back what its sessions have refused`() async throws {
        let rig = try Rig()
        var (node, _) = try await rig.open()
        let inner = node.node
        let intake = node.intake
        let promise = inner.loop.makePromise(of: IntakeVerdict.self)
        let ended = inner.loop.makePromise(of: Void.self)
        inner.loop.execute {
            self.refuseOne(intake, inner.loop, promise)
            // The entry is in the log and not applied yet.
            inner.giveUpRefused { ended.succeed(()) }
        }
        _ = try await promise.futureResult.get()
        try await ended.futureResult.get()
        await node.stop()
        (node, _) = try await rig.open()
        #expect(await node.view.status().queue?.messages == 0)
        await node.stop()
        try await rig.end()
    }
}
