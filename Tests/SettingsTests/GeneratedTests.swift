import Foundation
import Settings
import Testing

@Suite("Settings, generated documents")
struct GeneratedTests {
    /// The top of the checkout, also where the sources are reached through links.
    private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private func text(_ path: String) throws -> String {
        try String(contentsOf: Self.root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test func `the example file is fresh`() throws {
        #expect(
            try self.text("Config/posthouse.toml") == SettingsPrinter.example,
            "run: swift run posthouse docs example > Config/posthouse.toml")
    }

    @Test func `the reference is fresh`() throws {
        #expect(
            try self.text("Docs/Settings.md") == SettingsPrinter.reference,
            "run: swift run posthouse docs settings > Docs/Settings.md")
    }

    private var expected: Settings {
        var settings = Settings()
        settings.node.name = "a"
        settings.node.hostname = "relay.example.com"
        settings.listeners = [Settings.Listener()]
        return settings
    }

    @Test func `the example is valid and means the defaults`() throws {
        let settings = try SettingsParser.parse(SettingsPrinter.example, path: "f")
        #expect(settings == self.expected)
    }

    @Test func `the defaults that the example shows in comments are the defaults`() throws {
        var section = ""
        var lines: [Substring] = []
        for line in SettingsPrinter.example.split(separator: "\n") {
            if line.hasPrefix("[") || line.hasPrefix("#[") { section = String(line) }
            let isShown = line.hasPrefix("#") && !line.hasPrefix("# ") && !section.hasPrefix("#")
            lines.append(isShown ? line.dropFirst() : line)
        }
        let text = lines.joined(separator: "\n")
        #expect(text.contains("\nmax_recipients = 1000\n") && text.contains("\nipv6 = true\n"))
        #expect(try SettingsParser.parse(text, path: "f") == self.expected)
    }

    @Test func `the tables that the example leaves out have no unknown keys`() {
        let text = SettingsPrinter.example.split(separator: "\n")
            .map { $0.hasPrefix("#") && !$0.hasPrefix("# ") ? $0.dropFirst() : $0 }
            .joined(separator: "\n")
        #expect(text.contains("\n[[route]]\n") && text.contains("\n[cluster]\n"))
        let found = faults(text, files: [:])
        #expect(found.allSatisfy { $0.contains("/etc/posthouse/") }, "\(found)")
    }

    @Test func `no line of the example is wider than 100 columns`() {
        #expect(SettingsPrinter.example.split(separator: "\n").allSatisfy { $0.count <= 100 })
    }
}
