// LogEntry.swift - one entry of the log: a command and the times it was stamped with.
//
// Format    varint queue time (ms), varint wall clock (ms since 1970; 0: none that can be
//           believed), then the command.

package import MailQueue
package import Primitives

/// What is proposed, stored, replicated and applied.
package struct LogEntry: Sendable {
    package var index: UInt64
    package var term: UInt64
    /// The leader's stamp; `apply` knows no other time.
    package var stamp: QueueTime
    /// The leader's wall clock, for going on after a full stop; nil: a majority's clocks said
    /// another time.
    package var wall: WallTime?
    package var command: Command

    package init(
        index: UInt64, term: UInt64, stamp: QueueTime, wall: WallTime?, command: Command
    ) {
        self.index = index
        self.term = term
        self.stamp = stamp
        self.wall = wall
        self.command = command
    }

    /// Index and term stand in the record around it.
    package func encode(into writer: inout ByteWriter) {
        writer.varint(self.stamp.milliseconds)
        writer.wall(self.wall)
        self.command.encode(into: &writer)
    }

    package init(index: UInt64, term: UInt64, bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        let stamp = QueueTime(milliseconds: try reader.varint())
        let wall = try reader.wall()
        let command = try Command(from: &reader)
        try reader.finish()
        self.init(index: index, term: term, stamp: stamp, wall: wall, command: command)
    }
}

extension ByteWriter {
    mutating func wall(_ wall: WallTime?) {
        self.varint(UInt64(max(0, wall?.milliseconds ?? 0)))
    }
}

extension ByteReader {
    mutating func wall() throws(CodecError) -> WallTime? {
        let milliseconds = Int64(truncatingIfNeeded: try self.varint())
        return milliseconds == 0 ? nil : WallTime(milliseconds: milliseconds)
    }
}
