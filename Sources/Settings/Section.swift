// Section.swift - a table of the settings file and its keys, as the catalogue describes them.

/// One key of a table.
struct Key<Table: Sendable>: Sendable {
    /// When a change takes effect.
    enum Effect: String { case restart, reload }

    var name: String
    /// What it is for; one or two sentences.
    var text: String
    var kind: String
    /// The default as TOML, taken from the initial values of `Table`; nil: it must be given.
    var preset: String?
    /// What the example file shows, where the default would not show the form.
    var example: String?
    var effect: Effect
    var read: @Sendable (RawNode, inout Table) throws(ValueFault) -> Void

    init<Value>(
        _ name: String, _ kind: Kind<Value>,
        _ path: any WritableKeyPath<Table, Value> & Sendable, of table: Table,
        required: Bool = false, example: String? = nil, effect: Effect = .restart, _ text: String
    ) {
        self.name = name
        self.text = text
        self.kind = kind.name
        self.preset = required ? nil : kind.print(table[keyPath: path])
        self.example = example
        self.effect = effect
        self.read = { node, table throws(ValueFault) in
            table[keyPath: path] = try kind.parse(node)
        }
    }
}

/// One table, or array of tables.
struct Section<Table: Sendable>: Sendable {
    var name: String
    /// `[[name]]`.
    var isArray: Bool
    /// What it is for.
    var text: String
    var keys: [Key<Table>]
}

/// A section without its type, for printing and for guessing names.
struct SectionText {
    struct KeyText {
        var name: String
        var text: String
        var kind: String
        var preset: String?
        var example: String?
        var effect: String
    }
    var name: String
    var isArray: Bool
    var text: String
    var keys: [KeyText]

    init<Table>(_ section: Section<Table>) {
        self.name = section.name
        self.isArray = section.isArray
        self.text = section.text
        self.keys = section.keys.map {
            KeyText(
                name: $0.name, text: $0.text, kind: $0.kind, preset: $0.preset,
                example: $0.example, effect: $0.effect.rawValue)
        }
    }
}
