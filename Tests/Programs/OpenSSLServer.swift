// OpenSSLServer.swift - `openssl s_server` on a free port, for as long as a test needs it.
//
// Never     outlives the tests. A thread of a pool blocks signals, and a child inherits that:
//           SIGTERM would wait in it for ever. So it gets SIGKILL, and is waited for; and a shell
//           beside it kills it when a pipe ends that only the tests hold: they trap, or are killed.

import Foundation

private struct OpenSSLServer {
    private let pair: Pair
    let port: Int

    /// The server and its shell.
    private final class Pair {
        private let server = Process()
        private let lifeline = Pipe()
        private var isStopped = false

        /// Only the server keeps `output`: that ends with it.
        init(_ arguments: [String], output: Pipe) throws {
            let script = #"""
                exec 3<&0 </dev/null
                (exec >/dev/null; read line <&3 || kill -KILL $$) &
                exec "$@" 3<&-
                """#
            self.server.executableURL = URL(fileURLWithPath: "/bin/sh")
            self.server.arguments = ["-c", script, "sh", "/usr/bin/openssl"] + arguments
            self.server.standardInput = self.lifeline
            self.server.standardOutput = output
            self.server.standardError = FileHandle.nullDevice
            try self.server.run()
        }

        func stop() throws {
            guard !self.isStopped else { return }
            self.isStopped = true
            // In this order: the shell shares a socket by which Foundation sees the end of both, so
            // the number is the server's own until the shell is gone, too.
            kill(self.server.processIdentifier, SIGKILL)
            try self.lifeline.fileHandleForWriting.write(contentsOf: Data("\n".utf8))
            try self.lifeline.fileHandleForWriting.close()
            self.server.waitUntilExit()
        }
    }

    /// - Parameter options: those of `s_server`, but for the address.
    /// - Throws: it ends before it listens.
    init(_ options: [String]) throws {
        let output = Pipe()
        self.pair = try Pair(["s_server", "-accept", "127.0.0.1:0"] + options, output: output)
        do {
            self.port = try Self.port(output.fileHandleForReading)
        } catch {
            try self.pair.stop()
            throw error
        }
    }

    private static func port(_ output: FileHandle) throws -> Int {
        var text = ""
        while true {
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            if let line = lines.first(where: { $0.hasPrefix("ACCEPT ") }) {
                guard let port = line.split(separator: ":").last.flatMap({ Int($0) }) else {
                    throw ProgramFailure("no port: \(line)")
                }
                return port
            }
            let data = output.availableData
            guard !data.isEmpty else {
                throw ProgramFailure("openssl s_server does not listen: \(text)")
            }
            text += String(decoding: data, as: UTF8.self)
        }
    }

    /// Returns when it is gone.
    func stop() throws { try self.pair.stop() }
}

/// Runs `body` with the port of a server, which is gone when this returns or throws.
///
/// - Parameter options: those of `s_server`, but for the address.
/// - Throws: what `body` throws; the server ends before it listens.
package func withOpenSSLServer(
    _ options: [String], _ body: (_ port: Int) throws -> Void
) throws {
    let server = try OpenSSLServer(options)
    let result = Result { try body(server.port) }
    try server.stop()
    try result.get()
}

/// The same for what waits.
package func withOpenSSLServer(
    _ options: [String], _ body: (_ port: Int) async throws -> Void
) async throws {
    let server = try OpenSSLServer(options)
    do {
        try await body(server.port)
    } catch {
        try server.stop()
        throw error
    }
    try server.stop()
}
