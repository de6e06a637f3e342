// StorageErrands.swift - what is rarely written and blocks: on a thread of its own.
//
// Durable   synced before `done` is called; a failure is a fault of the storage, and final.

package import Primitives
package import Raft

extension Storage {
    /// Adds one to the boot number, for a session that this process opens anew.
    package func countBoot(_ done: @escaping @Sendable (BootNumber) -> Void) {
        let core = self.core
        core.errand {
            done(
                try IdentityFile(directory: core.pool.directory, files: core.pool.files)
                    .countUp(
                        node: core.identity.node, incarnation: core.identity.incarnation,
                        cluster: core.identity.cluster, hasData: true
                    ).0.boot)
        }
    }

    /// Keeps the founding record.
    package func keepFounding(
        _ record: FoundingRecord, _ done: @escaping @Sendable () -> Void
    ) {
        self.core.errand {
            try self.keepFounding(record)
            done()
        }
    }
}
