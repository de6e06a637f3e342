// Checkpoints.swift - a checkpoint of every row through the real storage, and the way back.

import Glibc
import MailQueue
import Primitives
import Spool
import Storage
import Synchronization

/// As the node does it: see CheckpointState.
let sliceRows = 1024
let sliceBytes = 256 << 10

/// Seconds that have gone by, whoever had the processor.
func wall() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// The most resident KiB since `resetPeak`.
func peak() -> Int {
    guard let file = fopen("/proc/self/status", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
        let text = String(
            decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if text.hasPrefix("VmHWM:") {
            return Int(text.filter(\.isNumber)) ?? 0
        }
    }
    return 0
}

func resetPeak() {
    guard let file = fopen("/proc/self/clear_refs", "w") else { return }
    fputs("5", file)
    fclose(file)
}

/// One answer from another thread.
final class Answer: Sendable {
    private let value = Mutex<CheckpointAnswer?>(nil)
    private let ends: (read: Int32, write: Int32)

    init() {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        self.ends = (ends[0], ends[1])
    }

    deinit {
        close(self.ends.read)
        close(self.ends.write)
    }

    func give(_ answer: CheckpointAnswer) {
        self.value.withLock { $0 = answer }
        var byte: UInt8 = 1
        precondition(write(self.ends.write, &byte, 1) == 1)
    }

    func wait() -> CheckpointAnswer? {
        var byte: UInt8 = 0
        while read(self.ends.read, &byte, 1) != 1 {}
        return self.value.withLock { $0 }
    }
}

let directory = "/tmp/queuebench-\(getpid())"

func openStorage() throws -> (Storage, Recovery) {
    mkdir(directory, 0o700)
    var options = StorageOptions()
    options.reserveBytes = 1 << 20
    let (storage, recovery) = try Storage.open(
        directory: directory, node: "a", incarnation: Incarnation(raw: 1),
        cluster: ClusterID(raw: 1), options: options)
    storage.start(
        StorageEvents(
            progress: { _ in }, fault: { fatalError("\($0)") }, relieved: {}, level: { _ in },
            checkpointWanted: { _ in }, alarm: { _ in }, prove: { _, _ in }))
    return (storage, recovery)
}

/// One checkpoint of what is dirty, a slice at a time.
func checkpoint(_ bench: inout Bench, _ name: String) throws {
    let (storage, _) = try openStorage()
    resetPeak()
    let before = resident()
    let start = wall()
    let answer = Answer()
    let began = now()
    bench.queue.value.beginCheckpoint()
    let beginning = now() - began
    var longest = 0.0
    var loop = 0.0
    var slices = 0
    var isDone = false
    while !isDone {
        let start = now()
        var batch = RowBatch()
        var last: CheckpointMeta?
        isDone = bench.queue.value.encodeCheckpoint(
            rows: sliceRows, bytesMax: sliceBytes, into: &batch)
        if isDone {
            let seal = bench.queue.value.sealCheckpoint()
            last = CheckpointMeta(appliedIndex: seal.applied, appliedTerm: 1, meta: seal.meta)
        }
        storage.checkpoint(batch, last: last) { answer.give($0) }
        let spent = now() - start
        longest = max(longest, spent)
        loop += spent
        slices += 1
        let given = answer.wait()
        precondition(given == (isDone ? .saved : .next), "\(String(describing: given))")
    }
    bench.queue.value.endCheckpoint()
    print(
        "checkpoint of \(name): begin \(Int(beginning * 1e6)) us, \(slices) slices, longest "
            + "\(Int(longest * 1e6)) us, \(Int(loop * 1000)) ms of the loop, "
            + "\(Int((wall() - start) * 1000)) ms in all, "
            + "\((peak() * 1024 - before) >> 20) MiB more memory at the most")
    storage.close()
}

/// The queue from its checkpoint.
func restart(_ bench: inout Bench) throws {
    let hash = bench.queue.value.stateHash()
    let (storage, recovery) = try openStorage()
    guard let checkpoint = recovery.checkpoint else { fatalError("no checkpoint") }
    let start = now()
    let box = MailQueueBox()
    box.value = try MailQueue(restoring: checkpoint.meta)
    try recovery.forEachRow { key, row in
        do {
            try box.value.restore(key: Array(key), row: Array(row))
        } catch {
            fatalError("\(error)")
        }
    }
    try box.value.finishRestoring()
    print("restore: \(Int((now() - start) * 1000)) ms")
    precondition(box.value.stateHash() == hash)
    bench.queue = box
    storage.close()
    for file in ["queue.1.sqlite", "queue.1.sqlite-journal"] { unlink(directory + "/" + file) }
}
