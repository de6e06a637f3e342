// StorageSnapshots.swift - snapshots, as the node asks for them.
//
// Takes     calls from any thread; none blocks. Each answer comes once, on a thread of the storage.
// See       Snapshots (the files), Clerk (the checkpoint's own thread).

import Primitives
package import Spool

extension Storage {
    // MARK: For others.

    /// Copies the newest checkpoint into a file of its own. Keep it until nobody reads it; then
    /// `releaseSnapshot`.
    ///
    /// - Parameter digest: a fresh one.
    package func exportSnapshot(
        digest: @escaping @Sendable () -> any ContentDigest,
        answer: @escaping @Sendable (Result<SnapshotExport, SnapshotError>) -> Void
    ) {
        let files = self.core.snapshots
        let path = files.path("new")
        self.core.clerk.copy(to: path) { result in
            files.submit(answer, path: path) { files in
                do {
                    return try files.seal(path, try result.get(), digest())
                } catch {
                    // A copy that came to nothing.
                    files.drop(path)
                    throw error
                }
            }
        }
    }

    /// Reads a piece of at most `bytes`.
    package func readSnapshot(
        _ export: SnapshotExport, at offset: UInt64, bytes: Int,
        answer: @escaping @Sendable (Result<[UInt8], SnapshotError>) -> Void
    ) {
        self.core.snapshots.submit(answer, path: export.path) {
            try $0.read(export, at: offset, bytes: bytes)
        }
    }

    /// Nobody reads it any more: the file goes.
    package func releaseSnapshot(_ export: SnapshotExport) {
        self.core.snapshots.submit({ (_: Result<Void, SnapshotError>) in }, path: export.path) {
            $0.release(export)
        }
    }

    // MARK: From others.

    /// Takes space for a snapshot that comes in pieces.
    package func beginSnapshot(
        byteCount: UInt64,
        answer: @escaping @Sendable (Result<IncomingSnapshot, SnapshotError>) -> Void
    ) {
        self.core.snapshots.submit(answer, path: self.core.pool.directory) {
            try $0.begin(byteCount: byteCount)
        }
    }

    /// Writes the next piece. The answer: how much is written.
    package func writeSnapshot(
        _ snapshot: IncomingSnapshot, _ bytes: [UInt8],
        answer: @escaping @Sendable (Result<UInt64, SnapshotError>) -> Void
    ) {
        self.core.snapshots.submit(answer, path: snapshot.path) { try $0.write(snapshot, bytes) }
    }

    /// All pieces are written: syncs it, reads it back, compares digest and form. Then `load` gets
    /// its rows on the storage's thread; what that throws says that it is no state of ours.
    package func checkSnapshot<R: Sendable>(
        _ snapshot: IncomingSnapshot, _ expected: BodyDigest,
        digest: @escaping @Sendable () -> any ContentDigest,
        load: @escaping @Sendable (SnapshotRows) throws -> R,
        answer: @escaping @Sendable (Result<R, SnapshotError>) -> Void
    ) {
        self.core.snapshots.submit(answer, path: snapshot.path) { files in
            _ = try files.check(snapshot, expected, digest())
            do {
                return try load(files.rows(snapshot))
            } catch is CodecError {
                throw SnapshotError.damaged
            } catch let error as StorageError {
                guard case .checkpointDamaged = error else { throw error }
                throw SnapshotError.damaged
            }
        }
    }

    /// Puts a checked snapshot in the place of the checkpoint. The answer: a position of the
    /// journal. Once that is durable, a start finds this state; append nothing that follows it
    /// before the answer. A failure other than `.full` is a fault of the storage as well.
    package func installSnapshot(
        _ snapshot: IncomingSnapshot,
        answer: @escaping @Sendable (Result<UInt64, SnapshotError>) -> Void
    ) {
        let core = self.core
        core.snapshots.submit(
            { (ended: Result<Void, SnapshotError>) in
                switch ended {
                case .success: core.clerk.install(snapshot, answer)
                case .failure(let error): answer(.failure(error))
                }
            }, path: snapshot.path
        ) { $0.end(snapshot, removes: false) }
    }

    /// It is not wanted any more.
    package func abandonSnapshot(_ snapshot: IncomingSnapshot) {
        self.core.snapshots.submit({ (_: Result<Void, SnapshotError>) in }, path: snapshot.path) {
            $0.end(snapshot, removes: true)
        }
    }
}
