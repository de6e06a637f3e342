// Register.swift - the small state machine of the workload: registers and one list of appends.
//
// Takes     committed entries in their order.
// Gives     whether a command took effect: one that was seen before does not (by client and
//           sequence, inside the state).
// See       the seams: `Host` keeps one `Register`; a larger machine takes its place there.

import Primitives
import Raft

/// One command of one client.
struct Command: Equatable, Sendable {
    enum What: UInt8, Sendable {
        case put = 0
        case get = 1
        case append = 2
    }

    var client: UInt8
    /// Counts the client's commands, from 1.
    var sequence: UInt64
    var what: What
    var key: UInt8
    var value: UInt32

    var bytes: [UInt8] {
        var writer = ByteWriter(capacity: 15)
        writer.u8(self.client)
        writer.u64(self.sequence)
        writer.u8(self.what.rawValue | self.key << 2)
        writer.u32(self.value)
        return writer.bytes
    }

    init(client: UInt8, sequence: UInt64, what: What, key: UInt8, value: UInt32) {
        self.client = client
        self.sequence = sequence
        self.what = what
        self.key = key
        self.value = value
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do throws(CodecError) {
            self.client = try reader.u8()
            self.sequence = try reader.u64()
            let both = try reader.u8()
            guard let what = What(rawValue: both & 3) else { return nil }
            self.what = what
            self.key = both >> 2
            self.value = try reader.u32()
            try reader.finish()
        } catch {
            return nil
        }
    }
}

/// The state at one position. A value: checkpoints and snapshots are copies.
struct Register: Equatable, Sendable {
    private(set) var position: LogPosition
    /// Of everything applied so far, entry by entry.
    private(set) var hash: UInt64 = 0
    /// What registers hold: the list's length and hash stand in the last two.
    private var cells = [UInt32](repeating: 0, count: 10)
    /// The last sequence of each client.
    private var sessions = [UInt64](repeating: 0, count: 16)

    init(position: LogPosition) { self.position = position }

    /// Applies the next entry.
    ///
    /// - Returns: the command, and whether it took effect; nil for entries without one.
    mutating func apply(_ entry: Entry) -> (command: Command, isNew: Bool)? {
        self.position = entry.position
        var mix = StableHash()
        mix.add(self.hash)
        mix.add(EntryFacts.hash(entry))
        guard entry.kind == .normal, !entry.data.isEmpty, let command = Command(entry.data) else {
            self.hash = mix.value
            return nil
        }
        let client = Int(command.client)
        let isNew = command.sequence > self.sessions[client]
        if isNew {
            self.sessions[client] = command.sequence
            switch command.what {
            case .put: self.cells[Int(command.key & 7)] = command.value
            case .get: break
            case .append:
                self.cells[8] += 1
                self.cells[9] = self.cells[9] &* 31 &+ command.value
            }
        }
        mix.add(isNew ? UInt64(self.cells[Int(command.key & 7)]) : 1)
        mix.add(UInt64(self.cells[9]))
        self.hash = mix.value
        return (command, isNew)
    }
}

/// What is told of an entry without its data.
struct EntryFacts: Equatable, Sendable {
    var term: UInt64
    var hash: UInt64
    /// Of the entry in front of it; `.max`: not known.
    var termBefore: UInt64

    static func hash(_ entry: Entry) -> UInt64 {
        var mix = StableHash()
        mix.add(entry.term)
        mix.add(entry.index << 2 | UInt64(entry.kind.rawValue))
        mix.add(entry.data)
        return mix.value
    }
}
