// WatchedFiles.swift - what is made of files, certificates above all, made again when these change.
//
// All or nothing: while one of the new files is not good, the old value stays in use, and the
// fault is reported once for that state of the files.

import Glibc
package import NIOCore
package import OpenSSL
package import Primitives
import Synchronization

/// A server's certificates.
package typealias CertificateStore = WatchedFiles<TLSServerContext>

package final class WatchedFiles<Value: Sendable>: Sendable {
    /// What a look at the files came to.
    package enum Event: Sendable {
        /// This is in use from now on.
        case reloaded(Value)
        /// The old value stays; the error names the file and the remedy.
        case rejected(OpenSSLError)
    }

    private struct State {
        var value: Value
        /// Of the files as last looked at, good or not.
        var stamps: [FileStamp]
        var timer: RepeatedTask?
    }

    package let paths: [String]
    private let load: @Sendable () throws(OpenSSLError) -> Value
    private let state: Mutex<State>

    /// Loads the files.
    ///
    /// - Parameters:
    ///   - paths: of all files that `load` reads.
    ///   - load: makes the value, or throws an error that names the file and the remedy.
    package init(
        _ paths: [String], load: @escaping @Sendable () throws(OpenSSLError) -> Value
    ) throws(OpenSSLError) {
        let stamps = paths.map { FileStamp($0) }
        self.state = Mutex(State(value: try load(), stamps: stamps, timer: nil))
        self.paths = paths
        self.load = load
    }

    /// For new connections; from any thread, about 20 ns.
    package var current: Value { self.state.withLock { $0.value } }

    /// Whether the files as they are now could be used; changes nothing.
    package func check() throws(OpenSSLError) { _ = try self.load() }

    /// Looks at the files now and loads them if they are not those of the last look. Nil:
    /// unchanged.
    package func reload() -> Event? {
        let stamps = self.paths.map { FileStamp($0) }
        guard self.state.withLock({ $0.stamps != stamps }) else { return nil }
        do throws(OpenSSLError) {
            let value = try self.load()
            self.state.withLock {
                $0.value = value
                $0.stamps = stamps
            }
            return .reloaded(value)
        } catch {
            self.state.withLock { $0.stamps = stamps }
            return .rejected(error)
        }
    }

    /// Looks at the files every `interval` on `loop` until `stop`; `report` is called on `loop`.
    package func watch(
        on loop: any EventLoop, every interval: Duration = .seconds(10),
        report: @escaping @Sendable (Event) -> Void
    ) {
        let delay = TimeAmount.nanoseconds(interval.inNanoseconds)
        let timer = loop.scheduleRepeatedTask(initialDelay: delay, delay: delay) { [weak self] _ in
            if let event = self?.reload() { report(event) }
        }
        let old = self.state.withLock { state in
            defer { state.timer = timer }
            return state.timer
        }
        old?.cancel()
    }

    package func stop() {
        let timer = self.state.withLock { state in
            defer { state.timer = nil }
            return state.timer
        }
        timer?.cancel()
    }
}

extension WatchedFiles where Value == TLSServerContext {
    /// One for each of `current.certificates`.
    package var certificateFiles: [String] {
        stride(from: 0, to: self.paths.count, by: 2).map { self.paths[$0] }
    }

    /// Loads all certificates; the first is the default.
    ///
    /// - Throws: an error that names the file and says what to do about it.
    package convenience init(_ identities: [CertificateFiles]) throws(OpenSSLError) {
        try self.init(identities.flatMap { [$0.certificate, $0.key] }) { () throws(OpenSSLError) in
            try TLSServerContext(identities)
        }
    }
}

/// What tells two states of a file apart; all zero if there is none.
private struct FileStamp: Equatable, Sendable {
    var device: UInt64 = 0
    var inode: UInt64 = 0
    var bytes: Int64 = 0
    var changedSeconds = 0
    var changedNanoseconds = 0

    init(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        self.device = UInt64(status.st_dev)
        self.inode = UInt64(status.st_ino)
        self.bytes = Int64(status.st_size)
        // Changes with the content and with the owner and mode, which may be what was wrong.
        self.changedSeconds = status.st_ctim.tv_sec
        self.changedNanoseconds = status.st_ctim.tv_nsec
    }
}
