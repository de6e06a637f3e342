import Foundation
import Testing

@Suite("https to the node")
struct SecureServerTests {
    /// `openssl s_server -www` on a free port, until the value is gone.
    private final class SecureServer {
        let process = Process()
        let port: Int

        init(_ folder: String) throws {
            let output = Pipe()
            self.process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            self.process.arguments = [
                "s_server", "-accept", "127.0.0.1:0", "-www", "-cert", "\(folder)/a.pem", "-key",
                "\(folder)/a.key",
            ]
            self.process.standardOutput = output
            self.process.standardError = FileHandle.nullDevice
            self.process.standardInput = Pipe()
            try self.process.run()
            var text = ""
            while !text.contains("ACCEPT ") || !text.hasSuffix("\n") {
                let data = output.fileHandleForReading.availableData
                if data.isEmpty { break }
                text += String(decoding: data, as: UTF8.self)
            }
            let line = try #require(
                text.split(separator: "\n").first { $0.hasPrefix("ACCEPT ") })
            self.port = try #require(line.split(separator: ":").last.flatMap { Int($0) })
        }

        deinit { self.process.terminate() }
    }

    @Test func `a certificate of the given authority is trusted, others are not`() throws {
        let folder = Folder()
        let other = Folder()
        #expect(run("ca", "init", folder.path, now: .real).status == 0)
        #expect(run("ca", "init", other.path, now: .real).status == 0)
        #expect(
            run("ca", "issue", folder.path, "--node", "a", "--address", "127.0.0.1", now: .real)
                .status == 0)
        let server = try SecureServer(folder.path)
        let url = "https://127.0.0.1:\(server.port)"
        let good = run("queue", "cat", "1-1", "--server", url, "--ca", "\(folder.path)/ca.pem")
        #expect(good.status == 0 && good.out.contains("<HTML>"), "\(good)")
        let wrongCA = run("queue", "cat", "1-1", "--server", url, "--ca", "\(other.path)/ca.pem")
        #expect(wrongCA.status == 69 && wrongCA.out == "")
        #expect(wrongCA.messages.first?.contains("certificate not accepted") == true)
        let wrongName = run(
            "queue", "cat", "1-1", "--server", "https://localhost:\(server.port)", "--ca",
            "\(folder.path)/ca.pem")
        #expect(wrongName.status == 69 && wrongName.out == "")
        #expect(run("queue", "cat", "1", "--server", url, "--ca", "/no/file").status == 78)
        withExtendedLifetime(server) {}
    }
}
