// House.swift - the targets, what each may import, and what the pure ones must not say.
//
// See       Docs/Architecture.md, which says why.

/// One target of `Sources`.
package struct Room: Sendable {
    /// The modules that its files may import.
    package let imports: Set<String>
    /// Pure: no clock, dice, log, task, file, socket or promise.
    package let isPure: Bool

    package init(_ imports: Set<String>, isPure: Bool = false) {
        self.imports = imports
        self.isPure = isPure
    }
}

package enum House {
    /// A target without a line here is a finding: who adds a room says what it may import.
    package static let rooms: [String: Room] = [
        "Primitives": Room([], isPure: true),
        "Settings": Room(["Primitives", "TOMLKit", "Glibc"]),
        "SMTP": Room(["Primitives", "NIOCore.ByteBuffer"], isPure: true),
        "Spool": Room(["Primitives", "NIOCore.ByteBuffer"], isPure: true),
        "Raft": Room(["Primitives"], isPure: true),
        "MailQueue": Room(["Primitives", "SMTP", "Spool"], isPure: true),
        "Storage": Room([
            "Primitives", "Raft", "Spool", "MailQueue", "CSQLite", "CLZ4", "Glibc",
            "Synchronization",
        ]),
        "OpenSSL": Room(["Primitives", "COpenSSL", "Glibc", "Synchronization"]),
        "Networking": Room([
            "Primitives", "OpenSSL", "NIOCore", "NIOPosix", "CUnbound", "Glibc", "Synchronization",
        ]),
        "Cluster": Room([
            "Primitives", "Settings", "SMTP", "Raft", "Spool", "MailQueue", "Storage",
            "Networking", "OpenSSL", "NIOCore", "Logging", "Metrics", "Synchronization",
        ]),
        "Reception": Room([
            "Primitives", "Settings", "SMTP", "Networking", "OpenSSL", "Cluster", "NIOCore",
            "Logging", "Metrics", "Synchronization",
        ]),
        "Delivery": Room([
            "Primitives", "Settings", "SMTP", "MailQueue", "Networking", "OpenSSL", "Cluster",
            "NIOCore", "Logging", "Metrics", "Synchronization",
        ]),
        "Admin": Room([
            "Primitives", "Settings", "MailQueue", "Networking", "Cluster", "Hummingbird",
            "HummingbirdCore", "HTTPTypes", "NIOCore", "Logging", "Metrics", "CoreMetrics",
            "Glibc", "Synchronization",
        ]),
        "Console": Room([
            "Primitives", "Settings", "SMTP", "OpenSSL", "ArgumentParser", "NIOCore", "NIOPosix",
            "NIOHTTP1", "Glibc", "Synchronization",
        ]),
        "Demo": Room([
            "Primitives", "Settings", "OpenSSL", "Console", "NIOCore", "NIOPosix", "Glibc",
            "Synchronization",
        ]),
        "posthouse": Room([
            "Primitives", "Settings", "SMTP", "Spool", "MailQueue", "Storage", "OpenSSL",
            "Networking", "Cluster", "Reception", "Delivery", "Admin", "Console", "Demo",
            "ArgumentParser", "ServiceLifecycle", "UnixSignals", "Logging", "Metrics", "NIOCore",
            "NIOPosix", "Glibc", "Synchronization",
        ]),
        // A module map and static inline shims; no Swift.
        "COpenSSL": Room([]), "CSQLite": Room([]), "CLZ4": Room([]), "CUnbound": Room([]),
    ]

    /// Parts of a driver that are pure all the same, with what they may import.
    package static let pureFolders: [String: Set<String>] = [
        "Cluster/Machine": [
            "Primitives", "SMTP", "Raft", "Spool", "MailQueue", "NIOCore.ByteBuffer",
        ],
        "Cluster/Peer/Frames": ["Primitives", "Raft", "Spool", "NIOCore.ByteBuffer"],
        "Reception/Proxy": ["Primitives"],
    ]

    /// The C modules; one Swift target imports each.
    package static let cModules: Set<String> = ["COpenSSL", "CSQLite", "CLZ4", "CUnbound"]

    /// Words that a pure target does not say, with what it says instead.
    package static let pureBans: [String: String] = [
        "Date": "take an Instant or a WallTime as a parameter",
        "ContinuousClock": "take `now: Instant` as a parameter",
        "SuspendingClock": "take `now: Instant` as a parameter",
        "Task": "return an action; a driver carries it out",
        "async": "return an action; a driver carries it out",
        "await": "return an action; a driver carries it out",
        "actor": "a machine has one owner; a driver confines it",
        "SystemRandomNumberGenerator": "take `inout Generator`",
        "UUID": "draw bytes from the Generator that you are given",
        "hashValue": "it differs from process to process; use StableHash",
        "Hasher": "it differs from process to process; use StableHash",
        "ObjectIdentifier": "it differs from run to run; use an id of ours",
        "print": "return an action; a driver logs",
        "Logger": "return an action; a driver logs",
        "Foundation": "use the standard library and Primitives",
        "Dispatch": "return an action; a driver has the threads",
        "DispatchQueue": "return an action; a driver has the threads",
        "Thread": "return an action; a driver has the threads",
        "EventLoop": "return an action; a driver has the loop",
        "EventLoopFuture": "return an action; a driver has the loop",
        "EventLoopPromise": "return an action; a driver has the loop",
        "Channel": "return an action; a driver has the socket",
        "Continuation": "return an action; a driver waits",
        "CheckedContinuation": "return an action; a driver waits",
        "UnsafeContinuation": "return an action; a driver waits",
        "Mutex": "a machine has one owner and needs no lock",
        "Atomic": "a machine has one owner and needs no atomics",
    ]

    /// Calls that draw from the system's dice unless they are handed a generator.
    package static let dice: Set<String> = ["random", "randomElement", "shuffle", "shuffled"]

    /// What stands at the top of the repository.
    package static let topLevel: Set<String> = [
        ".ci", ".gitignore", ".swift-format", "Config", "Deploy", "Docs", "LICENSE",
        "Package.resolved", "Package.swift", "README.md", "Sources", "Tests",
    ]

    /// Made by git and by the build; never part of the repository.
    package static func isIgnoredAtTop(_ name: String) -> Bool {
        name == ".git" || name == ".swiftpm" || name.hasPrefix(".build") || name.hasSuffix(".swp")
    }
}

package enum Limits {
    package static let functionLines = 70
    package static let fileLines = 500
    package static let lineColumns = 100
    /// Entries in `Tests/tidy-exceptions.txt`. Lower it when one goes; never raise it.
    package static let exceptions = 0
}
