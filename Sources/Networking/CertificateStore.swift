// CertificateStore.swift - a server's certificates, read again when their files change.
//
// All or nothing: while one of the new files is not good, the old context stays in use, and the
// fault is reported once for that state of the files.

import Glibc
package import NIOCore
package import OpenSSL
package import Primitives
import Synchronization

package final class CertificateStore: Sendable {
    /// What a look at the files came to.
    package enum Event: Sendable {
        /// New certificates are in use.
        case reloaded([CertificateInfo])
        /// The old ones stay; the error names the file and the remedy.
        case rejected(OpenSSLError)
    }

    private struct State {
        var context: TLSServerContext
        /// Of the files as last looked at, good or not.
        var stamps: [FileStamp]
        var timer: RepeatedTask?
    }

    private let identities: [CertificateFiles]
    private let state: Mutex<State>

    /// Loads all certificates; the first is the default.
    ///
    /// - Throws: an error that names the file and says what to do about it.
    package init(_ identities: [CertificateFiles]) throws(OpenSSLError) {
        let stamps = Self.stamps(identities)
        let context = try TLSServerContext(identities)
        self.identities = identities
        self.state = Mutex(State(context: context, stamps: stamps, timer: nil))
    }

    /// The context for new connections; from any thread, about 20 ns.
    package var current: TLSServerContext { self.state.withLock { $0.context } }

    /// Whether the files as they are now could be used; changes nothing.
    package func check() throws(OpenSSLError) { _ = try TLSServerContext(self.identities) }

    /// Looks at the files now and loads them if they are not those of the last look. Nil:
    /// unchanged.
    package func reload() -> Event? {
        let stamps = Self.stamps(self.identities)
        guard self.state.withLock({ $0.stamps != stamps }) else { return nil }
        do throws(OpenSSLError) {
            let context = try TLSServerContext(self.identities)
            self.state.withLock {
                $0.context = context
                $0.stamps = stamps
            }
            return .reloaded(context.certificates)
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

    private static func stamps(_ identities: [CertificateFiles]) -> [FileStamp] {
        identities.flatMap { [FileStamp($0.certificate), FileStamp($0.key)] }
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
