// CACommand.swift - posthouse ca: the cluster's own authority and its nodes' certificates.
//
// `DIR/ca.pem`, `DIR/ca.key`, `DIR/NAME.pem`, `DIR/NAME.key`; keys with mode 0600, nothing is
// overwritten.

package import ArgumentParser
import Glibc
import OpenSSL
import Primitives
import Settings

package struct CACommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "ca", abstract: "Make the cluster's own certificates.",
        subcommands: [CAInit.self, CAIssue.self])
    package init() {}
}

struct CAInit: Command {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a certificate authority.",
        discussion: "Keep DIR/ca.key away from the nodes: it makes members of the cluster.")
    /// How long the authority is good.
    private static let years = 20
    @Argument(help: "Directory; made if it does not exist.") var directory: String

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        if mkdir(self.directory, 0o700) != 0 && errno != EEXIST {
            throw CommandFailure(
                .inputOutput, "cannot make \(self.directory): \(String(cString: strerror(errno)))")
        }
        for name in ["ca.pem", "ca.key"] where access("\(self.directory)/\(name)", F_OK) == 0 {
            throw CommandFailure(
                .badData, "\(self.directory)/\(name) exists; a second authority needs another DIR")
        }
        let now = WallTime(milliseconds: terminal.now())
        let authority: IssuedCertificate
        do {
            authority = try CertificateAuthority.make(
                name: "Posthouse CA", validity: .years(Self.years, from: now))
        } catch {
            throw CommandFailure(.internalFault, error.description)
        }
        try CertificateFolder.write(authority, to: self.directory, name: "ca")
        terminal.tell("made \(self.directory)/ca.pem and ca.key")
    }
}

struct CAIssue: Command {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Make a node's key and certificate.")
    /// How long a node's certificate is good.
    private static let years = 5
    @Argument(help: "The authority's directory.") var directory: String
    @Option(help: "The node's name (node.name).") var node: String
    @Option(help: "A host name or address of the node; may be given several times.")
    var address: [String] = []

    func validate() throws {
        let isFine =
            (1...63).contains(self.node.utf8.count) && self.node != "ca"
            && self.node.utf8.first != UInt8(ascii: ".")
            && self.node.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20)
                    || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".")
            }
        guard isFine else {
            throw ValidationError("--node takes 1 … 63 letters, digits, \"-\", \"_\", \".\"")
        }
    }

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let authority = IssuedCertificate(
            certificate: try CertificateFolder.read("\(self.directory)/ca.pem"),
            key: try CertificateFolder.read("\(self.directory)/ca.key"))
        let now = WallTime(milliseconds: terminal.now())
        let issued: IssuedCertificate
        do {
            issued = try CertificateAuthority.issue(
                by: authority, name: self.node, hosts: [self.node] + self.address,
                validity: .years(Self.years, from: now))
        } catch {
            throw CommandFailure(.badData, error.description)
        }
        try CertificateFolder.write(issued, to: self.directory, name: self.node)
        terminal.tell("made \(self.directory)/\(self.node).pem and \(self.node).key")
    }
}

private enum CertificateFolder {
    static func read(_ path: String) throws(CommandFailure) -> String {
        do {
            return String(decoding: try FileAccess.system.read(path), as: UTF8.self)
        } catch {
            throw CommandFailure(
                error == .notPermitted ? .notPermitted : .noSuchThing,
                "\(path) \(error.text); posthouse ca init makes an authority")
        }
    }

    /// The key first: a certificate without its key would be of no use.
    static func write(
        _ issued: IssuedCertificate, to directory: String, name: String
    ) throws(CommandFailure) {
        try Self.create("\(directory)/\(name).key", issued.key, mode: 0o600)
        try Self.create("\(directory)/\(name).pem", issued.certificate, mode: 0o644)
    }

    private static func create(
        _ path: String, _ text: String, mode: mode_t
    ) throws(CommandFailure) {
        do {
            try AtomicFile.create(path, with: Array(text.utf8), mode: mode)
        } catch {
            throw CommandFailure(
                error.code == EEXIST ? .badData : .inputOutput,
                "cannot write \(path): \(String(cString: strerror(error.code)))")
        }
    }
}
