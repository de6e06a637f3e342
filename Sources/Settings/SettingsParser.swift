// SettingsParser.swift - from the text of a settings file to checked settings.
//
// Takes     TOML; the files that it names, through FileAccess.
// Gives     settings in range, or every fault with its line and remedy.
// Never     half of either: with one fault there are no settings.

import Primitives

package enum SettingsParser {
    /// Bytes of a settings file, at most.
    package static let textBytesLimit = 4 << 20

    /// Reads and checks the file at `path`.
    ///
    /// - Throws: all faults that were found, also if the file itself cannot be read.
    package static func load(
        _ path: String, files: FileAccess = .system
    ) throws(SettingsFaults) -> Settings {
        let bytes: [UInt8]
        do {
            bytes = try files.read(path)
        } catch {
            throw Self.single(
                path, 0, "the settings file \(error.text)", "give its path with --config")
        }
        guard bytes.count <= Self.textBytesLimit else {
            throw Self.single(
                path, 0, "\(bytes.count) bytes are too many for a settings file",
                "keep it below \(Quantity.print(bytes: Self.textBytesLimit))")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let line = Self.lineOfBadText(bytes)
            throw Self.single(path, line, "not UTF-8", "save the file as UTF-8")
        }
        return try Self.parse(text, path: path, files: files)
    }

    /// Reads and checks a text; `path` is for messages only.
    package static func parse(
        _ text: String, path: String, files: FileAccess = .system
    ) throws(SettingsFaults) -> Settings {
        let entries: [RawNode.Entry]
        do {
            entries = try RawNode.document(text)
        } catch {
            throw Self.single(
                path, error.line, "not TOML: \(error.what)", "see https://toml.io/en/v1.0.0")
        }
        var reading = Reading(LineIndex(text))
        reading.document(entries)
        var settings = reading.settings
        var check = Check(lines: reading.lines, faulty: reading.faulty, files: files)
        check.all(&settings)
        let faults = reading.faults + check.faults
        guard faults.isEmpty else { throw SettingsFaults(path: path, faults: faults) }
        return settings
    }

    private static func single(
        _ path: String, _ line: Int, _ what: String, _ remedy: String
    ) -> SettingsFaults {
        SettingsFaults(path: path, faults: [SettingsFault(line: line, what: what, remedy: remedy)])
    }

    private static func lineOfBadText(_ bytes: [UInt8]) -> Int {
        for (index, line) in bytes.split(separator: 10, omittingEmptySubsequences: false)
            .enumerated()
        where String(validating: line, as: UTF8.self) == nil {
            return index + 1
        }
        return 0
    }
}

/// Fills settings from a document, by the catalogue.
private struct Reading {
    let lines: LineIndex
    var settings = Settings()
    var faults: [SettingsFault] = []
    /// Paths whose values could not be read: what depends on them is not checked.
    var faulty: Set<String> = []

    init(_ lines: LineIndex) {
        self.lines = lines
    }

    mutating func document(_ entries: [RawNode.Entry]) {
        for entry in entries {
            switch entry.key {
            case "node":
                self.settings.node = self.single(Catalogue.node, entry.value, Settings.Node())
            case "cluster":
                self.settings.cluster = self.single(
                    Catalogue.cluster, entry.value, Settings.Cluster())
            case "listener":
                self.settings.listeners = self.array(
                    Catalogue.listener, entry.value, Settings.Listener())
            case "relay":
                self.settings.relay = self.single(Catalogue.relay, entry.value, Settings.Relay())
            case "route":
                self.settings.routes = self.array(Catalogue.route, entry.value, Settings.Route())
            case "delivery":
                self.settings.delivery = self.single(
                    Catalogue.delivery, entry.value, Settings.Delivery())
            case "dns":
                self.settings.dns = self.single(Catalogue.dns, entry.value, Settings.DNS())
            case "admin":
                self.settings.admin = self.single(Catalogue.admin, entry.value, Settings.Admin())
            case let name: self.unknownTable(name)
            }
        }
        if !entries.contains(where: { $0.key == "node" }) {
            self.fault(
                "node", "the table [node] is missing", "add it, with `name` and `hostname`")
            self.faulty.insert("node.hostname")
        }
    }

    private mutating func fault(_ path: String, _ what: String, _ remedy: String) {
        self.faulty.insert(path)
        self.faults.append(
            SettingsFault(line: self.lines.line(of: path), what: what, remedy: remedy))
    }

    private mutating func unknownTable(_ name: String) {
        let sections = Catalogue.all
        if let home = sections.first(where: { $0.keys.contains { $0.name == name } }) {
            self.fault(
                name, "\(name) stands outside of a table", "move it below \(home.header)")
            return
        }
        let guess = nearest(name, among: sections.map(\.name))
        let meant = sections.first { $0.name == guess }
        self.fault(
            name, "unknown table \(name)",
            meant.map { "did you mean \($0.header)?" }
                ?? "tables are \(sections.map(\.header).joined(separator: ", "))")
    }

    private mutating func single<T>(_ section: Section<T>, _ node: RawNode, _ initial: T) -> T {
        guard case .table(let entries) = node else {
            self.fault(
                section.name, "\(section.name) must be one table, found \(node.shape)",
                "write [\(section.name)]")
            return initial
        }
        var value = initial
        self.table(section, entries, at: section.name, into: &value)
        return value
    }

    private mutating func array<T>(_ section: Section<T>, _ node: RawNode, _ initial: T) -> [T] {
        guard case .list(let nodes) = node else {
            self.fault(
                section.name, "\(section.name) must be an array of tables, found \(node.shape)",
                "write [[\(section.name)]]")
            return []
        }
        guard nodes.count <= Catalogue.listLimit else {
            self.fault(
                section.name, "\(nodes.count) tables, \(Catalogue.listLimit) are allowed",
                "leave some out")
            return []
        }
        var values: [T] = []
        for (index, node) in nodes.enumerated() {
            var value = initial
            let path = "\(section.name)[\(index)]"
            if case .table(let entries) = node {
                self.table(section, entries, at: path, into: &value)
            } else {
                self.fault(
                    path, "\(section.name) must be an array of tables, found \(node.shape) in it",
                    "write [[\(section.name)]]")
            }
            values.append(value)
        }
        return values
    }

    private mutating func table<T>(
        _ section: Section<T>, _ entries: [RawNode.Entry], at path: String, into value: inout T
    ) {
        for entry in entries {
            let place = "\(path).\(entry.key)"
            guard let key = section.keys.first(where: { $0.name == entry.key }) else {
                self.unknownKey(entry.key, in: section, at: place)
                continue
            }
            do {
                try key.read(entry.value, &value)
            } catch {
                self.fault(place, "\(section.name).\(key.name): \(error.what)", error.remedy)
            }
        }
        for key in section.keys where key.preset == nil {
            if entries.contains(where: { $0.key == key.name }) { continue }
            self.faulty.insert("\(path).\(key.name)")
            self.fault(
                path, "\(section.name).\(key.name) is missing",
                "add \(key.name) = \(key.example ?? "…")")
        }
    }

    private mutating func unknownKey<T>(_ name: String, in section: Section<T>, at place: String) {
        let what = "unknown key \(section.name).\(name)"
        if let guess = nearest(name, among: section.keys.map(\.name)) {
            self.fault(place, what, "did you mean \(guess)?")
            return
        }
        if let home = Catalogue.all.first(where: { $0.keys.contains { $0.name == name } }) {
            self.fault(place, what, "move it to \(home.header), or remove it")
            return
        }
        let names = section.keys.map(\.name).joined(separator: ", ")
        self.fault(place, what, "remove it; keys here are \(names)")
    }
}

extension SectionText {
    /// `[relay]`, `[[route]]`.
    var header: String { self.isArray ? "[[\(self.name)]]" : "[\(self.name)]" }
}
