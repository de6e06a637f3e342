// CheckCommand.swift - posthouse check config: every fault before a start or reload; see also
// CheckRelayCommand.

package import ArgumentParser
import OpenSSL
import Primitives
import Settings

package struct CheckCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Check before something goes wrong.",
        subcommands: [CheckConfigCommand.self, CheckRelayCommand.self])
    package init() {}
}

struct CheckConfigCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Check a settings file and the files that it names.",
        discussion:
            "Each fault with file, line and remedy on stderr; exit code 78 if there is one. "
            + "What is allowed and dangerous is a warning."
    )
    @Option(help: "The settings file.")
    var config = "/etc/posthouse/posthouse.toml"

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        let settings: Settings
        do {
            settings = try SettingsParser.load(self.config)
        } catch {
            terminal.tell(error.description)
            throw CommandFailure(.configuration)
        }
        let faults = Self.certificateFaults(settings)
        for fault in faults { terminal.tell("\(self.config): \(fault)") }
        if !faults.isEmpty { throw CommandFailure(.configuration) }
        for warning in settings.warnings { terminal.tell("\(self.config): warning: \(warning)") }
        terminal.write("\(self.config): no faults\n")
    }

    /// What only OpenSSL sees: keys that do not fit, damaged certificates.
    private static func certificateFaults(_ settings: Settings) -> [String] {
        var pairs = settings.listeners.filter { $0.tls != .off }
            .map { ("listener \($0.address)", $0.certificate, $0.key) }
        if !settings.admin.certificate.isEmpty {
            pairs.append(("admin", settings.admin.certificate, settings.admin.key))
        }
        return pairs.compactMap { owner, certificate, key -> String? in
            do throws(OpenSSLError) {
                _ = try TLSServerContext([CertificateFiles(certificate: certificate, key: key)])
                return nil
            } catch {
                return "\(owner): \(error.detail); \(error.remedy)"
            }
        }
    }
}

package struct VersionCommand: Command {
    package static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version.")
    package init() {}

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        terminal.write("posthouse \(Version.text)\n")
    }
}

/// Prints the documents that are generated from the settings' catalogue.
package struct DocsCommand: Command {
    enum Document: String, ExpressibleByArgument, CaseIterable { case example, settings }
    package static let configuration = CommandConfiguration(
        commandName: "docs", abstract: "Print a generated document.", shouldDisplay: false)
    @Argument var document: Document
    package init() {}

    func perform(_ terminal: Terminal) throws(CommandFailure) {
        switch self.document {
        case .example: terminal.write(SettingsPrinter.example)
        case .settings: terminal.write(SettingsPrinter.reference)
        }
    }
}
