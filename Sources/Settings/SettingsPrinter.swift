// SettingsPrinter.swift - the example file and the reference, printed from the catalogue.

/// Generated documents; checked in, and compared by a test.
package enum SettingsPrinter {
    /// `Config/posthouse.toml`: complete. What must be chosen is set; the rest stands as comments
    /// `#key = default`, so that removing the `#` changes nothing.
    package static var example: String {
        var lines = [
            "# Posthouse: all settings. Check with: posthouse check config --config FILE",
            "#",
            "# A line \"#key = value\" shows the default. Sizes: \"25MB\"; durations: \"90s\",",
            "# \"5m\", \"4h\", \"5d\". The same text as a reference: Docs/Settings.md",
        ]
        for section in Catalogue.all {
            let isOff = section.name == "cluster" || section.name == "route"
            lines += ["", isOff ? "#\(section.header)" : section.header]
            lines += Self.wrapped(section.text)
            for key in section.keys {
                lines.append("")
                lines += Self.wrapped("\(key.text) (\(key.kind))")
                lines.append(Self.assignment(key, isOff: isOff))
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func assignment(_ key: SectionText.KeyText, isOff: Bool) -> String {
        guard let preset = key.preset else {
            return "\(isOff ? "#" : "")\(key.name) = \(key.example ?? "\"\"")"
        }
        return "#\(key.name) = \(preset)"
    }

    /// `Docs/Settings.md`.
    package static var reference: String {
        var lines = [
            "# Settings",
            "",
            "Generated from `Sources/Settings/Catalogue.swift` by `posthouse docs settings`; do "
                + "not edit.",
            "",
            "One TOML file, given by `--config`. Unknown keys are errors. Sizes are written "
                + "`\"25MB\"` (B, KB, MB, GB by thousands; KiB, MiB, GiB by 1024), durations "
                + "`\"90s\"` (ms, s, m, h, d). `posthouse check config` names every fault with its "
                + "line and remedy. *Reload*: a change takes effect with SIGHUP; else with a "
                + "restart. Certificates and keys are read again when their files change. "
                + "`Config/posthouse.toml` is a complete example.",
        ]
        for section in Catalogue.all {
            lines += ["", "## `\(section.header)`", "", section.text]
            if section.isArray { lines[lines.count - 1] += " May stand several times." }
            lines += ["", "| key | value | default | change | meaning |", "|---|---|---|---|---|"]
            for key in section.keys {
                let preset = key.preset.map { "`\($0)`" } ?? "**required**"
                lines.append(
                    "| `\(key.name)` | \(Self.cell(key.kind)) | \(Self.cell(preset)) | "
                        + "\(key.effect) | \(Self.cell(key.text)) |")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func cell(_ text: String) -> String {
        text.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
    }

    /// Comment lines of at most 96 columns.
    private static func wrapped(_ text: String) -> [String] {
        var lines: [String] = []
        var line = "#"
        for word in text.split(separator: " ") {
            if line.count + 1 + word.count > 96 {
                lines.append(line)
                line = "#"
            }
            line += " \(word)"
        }
        return lines + [line]
    }
}
