// Bug.swift - a mistake that somebody could make, as a change of the text.

/// One place that is changed. `find` must occur there exactly once.
struct Edit {
    let file: String
    let find: String
    let replace: String

    init(_ file: String, _ find: String, _ replace: String) {
        self.file = file
        self.find = find
        self.replace = replace
    }
}

/// A mistake, and why it is one.
struct Bug {
    let name: String
    let why: String
    let edits: [Edit]

    init(_ name: String, _ why: String, _ edits: Edit...) {
        self.name = name
        self.why = why
        self.edits = edits
    }
}
