// LogEntry.swift - one entry of the log: a command and the times it was stamped with.
//
// Format    varint queue time (ms), varint wall clock (ms since 1970), then the command.

package import MailQueue
package import Primitives

/// What is proposed, stored, replicated and applied.
package struct LogEntry: Sendable {
    package var index: UInt64
    package var term: UInt64
    /// The leader's stamp; `apply` knows no other time.
    package var stamp: QueueTime
    /// The leader's wall clock; for people, and for going on after a full stop.
    package var wall: WallTime
    package var command: Command

    package init(
        index: UInt64, term: UInt64, stamp: QueueTime, wall: WallTime, command: Command
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
        writer.varint(UInt64(max(0, self.wall.milliseconds)))
        self.command.encode(into: &writer)
    }

    package init(index: UInt64, term: UInt64, bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        let stamp = QueueTime(milliseconds: try reader.varint())
        let wall = WallTime(milliseconds: Int64(truncatingIfNeeded: try reader.varint()))
        let command = try Command(from: &reader)
        try reader.finish()
        self.init(index: index, term: term, stamp: stamp, wall: wall, command: command)
    }
}
