// OutcomeNotes.swift - what became of attempts, and who was told no, kept where the death of the
// process leaves it.
//
// Takes     outcomes and Cancels in front of their proposal; at a start, the notes that the journal
//           has.
// Gives     facts for the leader, sent before the session of this start is opened: so the leases of
//           the one before are free only when all that is known of them stands in the log.
// Durable   a note is written, not synced: the death of the process leaves it, that of the machine
//           may not. Then the attempt counts as a possible duplicate, and nobody knows of the 451.
// Never     on a node alone: there the entry is its own note (Docs/Decisions/0004).
// See       Courier, Keeper (an unresolved note is carried forward).

import MailQueue
import Primitives
import Raft
import Storage

extension Node {
    /// Notes an outcome or a Cancel that is about to be proposed under `tag`.
    func note(_ tag: Tag, _ action: Command.Action) {
        var writer = ByteWriter(capacity: 256)
        Command(Origin(session: tag.session, sequence: tag.sequence), action)
            .encode(into: &writer)
        self.storage.appendNote(tag, writer.bytes)
    }
}

/// The notes of former processes that the leader may not know.
struct OutcomeNotes {
    let facts: [Command]

    /// - Parameters:
    ///   - queue: of the newest checkpoint.
    ///   - known: the commands in the log behind it.
    ///   - commit: the log up to here is committed.
    /// - Throws: a note that is none, although its checksum is right.
    init(
        _ notes: [OutcomeNote], queue: borrowing MailQueue, known: [LogEntry], commit: UInt64
    ) throws(CodecError) {
        var committed: Set<Tag> = []
        for entry in known where entry.index <= commit {
            if let tag = entry.command.tag { committed.insert(tag) }
        }
        var facts: [Command] = []
        // One that was being carried forward may be there twice.
        var seen: Set<Tag> = []
        for note in notes where !committed.contains(note.tag) && seen.insert(note.tag).inserted {
            var reader = ByteReader(note.bytes)
            let command = try Command(from: &reader)
            try reader.finish()
            guard command.isFact else { throw .unknown("note") }
            if NotedFacts.mayBeNews(command, to: queue) { facts.append(command) }
        }
        self.facts = facts
    }
}
