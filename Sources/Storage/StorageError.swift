// StorageError.swift - what can be wrong with the disk, and what to do about it.

package import Primitives

/// A fault of the disk or of what stands on it. Every case but `.full` and `.closed` is final for
/// this process: nothing is acknowledged any more, and it ends with exit code 70.
package enum StorageError: Error, Equatable, Sendable {
    /// Another process has the data directory.
    case locked(directory: String)
    /// The directory belongs to another node.
    case otherNode(found: NodeName, expected: NodeName)
    /// Written by a version that this one does not know.
    case unknownFormat(file: String)
    /// The identity file is damaged, or missing next to data.
    case identityDamaged(file: String)
    /// The founding record is damaged, of another cluster than the rest of the directory, or
    /// missing next to a log.
    case foundingDamaged(file: String)
    /// Log entries or hard state that were acknowledged are damaged.
    case quarantined(file: String, offset: Int, what: StaticLabel)
    /// The checkpoint cannot be read or is not the one that was written.
    case checkpointDamaged(reason: String)
    /// No space where space was needed and not owned.
    case full(path: String)
    /// The storage is closed, or had a fault that was told already.
    case closed
    /// A system call failed with `errno`.
    case io(operation: StaticLabel, path: String, errno: Int32)

    var isFull: Bool { if case .full = self { true } else { false } }

    /// For metrics: constant.
    package var label: StaticString {
        switch self {
        case .locked: "storage_locked"
        case .otherNode: "storage_other_node"
        case .unknownFormat: "storage_unknown_format"
        case .identityDamaged: "storage_identity_damaged"
        case .foundingDamaged: "storage_founding_damaged"
        case .quarantined: "storage_quarantined"
        case .checkpointDamaged: "storage_checkpoint_damaged"
        case .full: "storage_full"
        case .closed: "storage_closed"
        case .io: "storage_io"
        }
    }

    /// For the operator: what happened and what to do.
    package var remedy: String {
        switch self {
        case .locked(let directory):
            "Another process uses \(directory). Stop it first; two nodes never share a directory."
        case .otherNode(let found, let expected):
            "The data directory belongs to node \"\(found)\", not to \"\(expected)\". Set node.data"
                + " to this node's own directory, or node.name back to \"\(found)\"."
        case .unknownFormat(let file):
            "\(file) was written by another version of Posthouse. Start that version."
        case .identityDamaged(let file):
            "\(file) is damaged or missing while there is data next to it. Restore the file from a"
                + " copy of this directory, or move the directory away and start empty."
        case .foundingDamaged(let file):
            "\(file), which says what cluster this node belongs to, is damaged or missing. Restore"
                + " it from a copy of this directory. Else check the disk, move the data directory"
                + " away (keep it) and start this node empty: it joins its cluster again."
        case .quarantined(let file, let offset, let what):
            "\(file) is damaged at byte \(offset): \(what.text) that had been acknowledged. Check"
                + " the disk. Move the data directory away (keep it) and start this node empty."
        case .checkpointDamaged(let reason):
            "The checkpoint of the queue is damaged (\(reason)). Check the disk. Move the data"
                + " directory away (keep it) and start this node empty."
        case .full(let path):
            "The disk of \(path) is full and the reserve is used up. Free space, then start again."
        case .closed:
            "The storage is closed; what went before says why."
        case .io(let operation, let path, let errno):
            "\(operation.text) of \(path) failed: \(errorText(errno)). Nothing was acknowledged"
                + " after that. Check the disk and the system's log, then start again."
        }
    }
}
