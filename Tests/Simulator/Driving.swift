// Driving.swift - the driver of one member: it does what the actions say, in their order.
//
// Takes     the actions of a turn, the news of disk and state machine.
// Order     as `Ready` and `Replica` have it; a turn may come some time after its events.

import Primitives
import Raft

extension World {
    func tick(_ host: Host) {
        self.push(.tick, host: host.index, epoch: host.epoch, after: host.tickNanos)
        self.tickOnce(host)
    }

    func tickOnce(_ host: Host) {
        host.ticks += 1
        let before = host.replica!.raft.term
        host.replica!.tick(random: self.dice.next())
        if host.replica!.raft.role == .preCandidate {
            self.truth.check(
                .preVote, host.replica!.raft.term == before,
                "host \(host.index) asks for votes and changes its term")
        }
        self.checkContact(host)
        self.afterEvent(host)
    }

    /// A turn, now or a little later.
    func afterEvent(_ host: Host) {
        if host.isTurnDue { return }
        if self.scenario.lazyTurnPermille > 0,
            self.dice.chance(permille: self.scenario.lazyTurnPermille)
        {
            host.isTurnDue = true
            self.push(
                .turn, host: host.index, epoch: host.epoch,
                after: Int64(self.dice.below(3_000_000)))
            return
        }
        self.turn(host)
    }

    func turn(_ host: Host) {
        host.isTurnDue = false
        var actions: [Replica.Action] = []
        swap(&actions, &host.actions)
        host.replica!.turn(&actions)
        self.observe(host)
        for action in actions { self.carryOut(action, on: host) }
        actions.removeAll(keepingCapacity: true)
        swap(&actions, &host.actions)
        if host.replica!.raft.wantsSnapshot, !host.isOfferDue {
            host.isOfferDue = true
            self.push(
                .offerSnapshot, host: host.index, epoch: host.epoch,
                after: 1_000_000 + Int64(self.dice.below(50_000_000)))
        }
    }

    private func carryOut(_ action: Replica.Action, on host: Host) {
        switch action {
        case .store(let request): self.store(request, on: host)
        case .send(let message): self.send(message, from: host)
        case .apply(let entries, let applied):
            host.batches.append(Host.Batch(entries: entries, done: 0, applied: applied))
            self.scheduleApply(host)
        case .readable(let read):
            self.checkRead(read, at: host)
            host.readable.append(read)
            self.answerReads(host)
        case .changed(let state):
            self.note("\(host.index) is \(state.role), leader \(state.leader.raw)")
        }
    }

    // MARK: The disk.

    private func store(_ request: StoreRequest, on host: Host) {
        self.truth.counters.stores += 1
        self.checkStore(request, on: host)
        var records: [Disk.Record] = []
        records.reserveCapacity(request.entries.count + 2)
        var installs: Checkpoint?
        if let snapshot = request.snapshot {
            self.nextGeneration += 1
            var reader = ByteReader(snapshot.data)
            let number = (try? reader.varint()).map { Int($0) } ?? 0
            let state = self.snapshots[number]
            self.truth.check(
                .snapshot,
                state.position == snapshot.position
                    && snapshot.position.index > host.state.position.index,
                "host \(host.index) at \(host.state.position.text) installs "
                    + snapshot.position.text)
            installs = Checkpoint(
                generation: self.nextGeneration, state: state,
                configuration: snapshot.configuration)
            records.append(.base(snapshot.position, generation: self.nextGeneration))
        }
        for entry in request.entries { records.append(.entry(entry)) }
        if let hardState = request.hardState { records.append(.hardState(hardState)) }
        if let first = request.entries.first, first.index <= host.disk.written.lastIndex {
            self.mayBeUnlucky(host)
        }
        for record in records {
            let isWhole = host.disk.written.take(record)
            self.truth.check(.store, isWhole, "host \(host.index) stores with a gap")
        }
        host.disk.pending.append(
            Disk.Write(ticket: request.ticket, records: records, installs: installs))
        self.beginBatch(host)
    }

    /// The write that replaces entries, or follows a snapshot, is a good one to fail.
    private func mayBeUnlucky(_ host: Host) {
        guard !self.isHealing, host.disk.armed == nil,
            self.dice.chance(permille: self.scenario.unluckyPermille)
        else { return }
        host.disk.armed = .writeError
        host.isUnlucky = true
    }

    func beginBatch(_ host: Host) {
        guard host.disk.isIdle, !host.disk.pending.isEmpty else { return }
        _ = host.disk.begin(limit: self.scenario.groupsMax)
        var delay = self.scenario.sync.draw(&self.dice)
        if host.disk.armed == .stall {
            host.disk.armed = nil
            self.count(.stall)
            delay += 500_000_000 + Int64(self.dice.below(4_000_000_000))
            self.note("\(host.index) waits for its disk")
        }
        self.push(.storeDone, host: host.index, epoch: host.epoch, after: delay)
    }

    func storeDone(_ host: Host) {
        switch host.disk.armed {
        case .writeError?, .syncError?, .full?:
            // Final: nothing is tried again in this life. What is there is seen at the next start.
            let fault = host.disk.armed!
            self.count(fault)
            self.note("\(host.index) \(fault.name): the process ends")
            // Soon: what the others believe of it is still what it was.
            let pause = host.isUnlucky ? 5_000_000 + Int64(self.dice.below(100_000_000)) : nil
            host.isUnlucky = false
            return self.end(host, isPower: false, downFor: pause)
        case nil, .some: break
        }
        let wasRefused = host.disk.armed == .refusedSegment
        let (ticket, installed) = host.disk.finish(recordsMax: self.scenario.segmentRecords)
        if wasRefused, host.disk.armed == nil { self.count(.refusedSegment) }
        self.truth.counters.batches += 1
        self.recordVotes(host)
        if let installed { self.install(installed, on: host) }
        host.replica!.stored(upTo: ticket)
        self.beginBatch(host)
        self.afterEvent(host)
    }

    private func install(_ checkpoint: Checkpoint, on host: Host) {
        self.truth.counters.snapshotsInstalled += 1
        self.note("\(host.index) installs \(checkpoint.position.text)")
        self.truth.installs(
            host.member, position: checkpoint.position, state: checkpoint.state.hash)
        self.truth.check(
            .configuration,
            checkpoint.configuration == self.truth.configuration(at: checkpoint.position.index),
            "host \(host.index) installs \(checkpoint.configuration.text)")
        host.state = checkpoint.state
        host.configuration = checkpoint.configuration
        host.wholeUpTo = checkpoint.position.index
        // What lies before is of no use from now on.
        self.truth.counters.segmentsDropped += host.disk.dropSegments(
            below: checkpoint.position.index)
        self.answerReads(host)
        // Before anything is written behind it.
        self.mayBeUnlucky(host)
    }

    // MARK: The state machine.

    private func scheduleApply(_ host: Host) {
        guard !host.isApplying, !host.batches.isEmpty else { return }
        host.isApplying = true
        self.push(
            .applyStep, host: host.index, epoch: host.epoch,
            after: self.scenario.apply.draw(&self.dice))
    }

    /// Applies one batch, or the beginning of it.
    func applyStep(_ host: Host) {
        host.isApplying = false
        var batch = host.batches[0]
        var end = batch.entries.count
        if self.scenario.splitApplyPermille > 0, end - batch.done > 1,
            self.dice.chance(permille: self.scenario.splitApplyPermille)
        {
            end = batch.done + 1 + self.dice.below(end - batch.done)
        }
        for i in batch.done..<end { self.apply(batch.entries[i], on: host) }
        batch.done = end
        if end == batch.entries.count {
            _ = host.batches.popFirst()
            host.replica!.applied(batch.applied)
        } else {
            host.batches[0] = batch
        }
        self.answerReads(host)
        self.considerCheckpoint(host)
        self.scheduleApply(host)
        self.afterEvent(host)
    }

    private func apply(_ entry: Entry, on host: Host) {
        // Covered by a state that came as a whole meanwhile.
        if entry.index <= host.wholeUpTo { return }
        self.truth.check(
            .apply,
            entry.index == host.state.position.index + 1
                && host.disk.view.holds(entry.position),
            "host \(host.index) at \(host.state.position.text) applies \(entry.position.text)")
        self.truth.counters.applied += 1
        if entry.kind != .normal {
            self.observe(host)
            let changed = host.replica!.apply(entry)
            if let changed { host.configuration = changed }
            host.contactFloor = host.ticks
            self.note(
                "\(host.index) applies \(entry.position.text): \(host.configuration.text)"
                    + (changed == nil ? " unchanged" : ""))
            if changed != nil {
                self.truth.configures(host.member, host.configuration, at: entry.index)
                self.noteReplaced()
            }
        }
        let effect = host.state.apply(entry)
        self.truth.applies(host.member, entry, state: host.state.hash, effect: effect)
        if let effect { self.commandApplied(effect.command, on: host) }
    }

    // MARK: Checkpoints, snapshots, compaction.

    private func considerCheckpoint(_ host: Host) {
        let position = host.state.position
        guard host.disk.checkpointing == nil,
            position.index >= host.disk.current.position.index + self.scenario.checkpointEvery
        else { return }
        self.truth.check(
            .configuration, host.configuration == self.truth.configuration(at: position.index),
            "host \(host.index) writes a checkpoint with \(host.configuration.text)")
        host.disk.checkpointing = Checkpoint(
            generation: host.disk.generation, state: host.state,
            configuration: host.configuration)
        self.push(
            .checkpointDone, host: host.index, epoch: host.epoch,
            after: 1_000_000 + Int64(self.dice.below(300_000_000)))
    }

    func checkpointDone(_ host: Host) {
        guard host.disk.finishCheckpoint() else { return }
        self.truth.counters.checkpoints += 1
        let position = host.disk.current.position
        host.disk.forget(to: position)
        self.truth.counters.segmentsDropped += host.disk.dropSegments(below: position.index)
        let keep = UInt64(self.dice.below(Int(self.scenario.keepEntries) + 1))
        if position.index > keep {
            self.truth.counters.compactions += 1
            host.replica!.compact(to: position.index - keep)
        }
        self.afterEvent(host)
    }

    func offerSnapshot(_ host: Host) {
        host.isOfferDue = false
        // Of the newest checkpoint, or of one that is made for it.
        let isFresh = self.dice.chance(permille: 500)
        let state = isFresh ? host.state : host.disk.current.state
        let configuration =
            isFresh ? host.configuration : host.disk.current.configuration
        guard state.position.index > 0 else { return }
        self.truth.counters.snapshotsSent += 1
        var writer = ByteWriter()
        writer.varint(self.snapshots.count)
        self.snapshots.append(state)
        host.replica!.offer(
            Snapshot(
                position: state.position, configuration: configuration, data: writer.bytes))
        self.afterEvent(host)
    }

    func snapshotReport(_ host: Host, _ item: Int) {
        host.replica!.reportSnapshot(
            MemberID(raw: UInt64(item >> 1)), isInstalled: item & 1 == 1)
        self.afterEvent(host)
    }
}
