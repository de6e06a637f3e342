import Programs
import Testing

@Suite("https to the node")
struct SecureServerTests {
    @Test func `a server that cannot listen fails its test, and is not waited for`() {
        #expect(throws: ProgramFailure.self) {
            try withOpenSSLServer(["-cert", "/no/certificate", "-key", "/no/key"]) { _ in }
        }
    }

    @Test func `a certificate of the given authority is trusted, others are not`() throws {
        let folder = Folder()
        let other = Folder()
        #expect(run("ca", "init", folder.path, now: .real).status == 0)
        #expect(run("ca", "init", other.path, now: .real).status == 0)
        #expect(
            run("ca", "issue", folder.path, "--node", "a", "--address", "127.0.0.1", now: .real)
                .status == 0)
        let options = ["-www", "-cert", "\(folder.path)/a.pem", "-key", "\(folder.path)/a.key"]
        try withOpenSSLServer(options) { port in
            let url = "https://127.0.0.1:\(port)"
            let good = run("queue", "cat", "1-1", "--server", url, "--ca", "\(folder.path)/ca.pem")
            #expect(good.status == 0 && good.out.contains("<HTML>"), "\(good)")
            let wrongCA = run(
                "queue", "cat", "1-1", "--server", url, "--ca", "\(other.path)/ca.pem")
            #expect(wrongCA.status == 69 && wrongCA.out == "")
            #expect(wrongCA.messages.first?.contains("certificate not accepted") == true)
            let wrongName = run(
                "queue", "cat", "1-1", "--server", "https://localhost:\(port)", "--ca",
                "\(folder.path)/ca.pem")
            #expect(wrongName.status == 69 && wrongName.out == "")
            #expect(run("queue", "cat", "1", "--server", url, "--ca", "/no/file").status == 78)
        }
    }
}
