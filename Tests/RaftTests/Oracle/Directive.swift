// Directive.swift - the words of a block read as numbers, members and changes.

import Primitives
import Raft

/// What a directive answers instead of doing anything: its text is the output.
struct DirectiveError: Error, Equatable {
    var text: String

    init(_ text: String) { self.text = text }

    /// What stands in the output for an error.
    static func text(of error: any Error) -> String {
        switch error {
        case let error as DirectiveError: error.text
        case StepError.unknownPeer: "raft: cannot step as peer not found"
        case StepError.proposalDropped: "raft proposal dropped"
        case let error as ChangeError: error.description
        case _: "error: \(error)"
        }
    }
}

extension DataFile.Argument {
    /// The only value.
    var value: String {
        get throws {
            guard let values = self.values, values.count == 1 else {
                throw DirectiveError("\(self.key) takes one value")
            }
            return values[0]
        }
    }

    func number<Number: FixedWidthInteger>() throws -> Number {
        try Self.number(try self.value)
    }

    func flag() throws -> Bool {
        switch try self.value {
        case "true", "t", "1": return true
        case "false", "f", "0": return false
        case let value: throw DirectiveError("\(self.key)=\(value): true or false")
        }
    }

    /// All values.
    func numbers() throws -> [UInt64] {
        try (self.values ?? []).map { try Self.number($0) }
    }

    static func number<Number: FixedWidthInteger>(_ text: String) throws -> Number {
        guard let number = Number(text) else { throw DirectiveError("\(text): not a number") }
        return number
    }
}

extension DataFile.Block {
    /// Bare words.
    var words: [String] { self.arguments.filter { $0.values == nil }.map(\.key) }

    /// `key=…` arguments.
    var options: [DataFile.Argument] { self.arguments.filter { $0.values != nil } }

    /// The value of the option `key`, which must be there.
    func option(_ key: String) throws -> DataFile.Argument {
        guard let option = self.options.first(where: { $0.key == key }) else {
            throw DirectiveError("\(self.command) needs \(key)=")
        }
        return option
    }

    /// The bare word at `place` as a number.
    func number<Number: FixedWidthInteger>(_ place: Int) throws -> Number {
        guard place < self.words.count else {
            throw DirectiveError("\(self.command) needs \(place + 1) arguments")
        }
        return try DataFile.Argument.number(self.words[place])
    }

    /// All bare words as numbers.
    func numbers() throws -> [UInt64] {
        try self.words.map { try DataFile.Argument.number($0) }
    }

    /// The input as changes of members: `v1 l2 r3 u4`.
    func changes() throws -> [MemberChange] {
        var all: [MemberChange] = []
        for line in self.input {
            for word in line.split(whereSeparator: \.isWhitespace) {
                let what: MemberChange.What
                switch word.first {
                case "v": what = .addVoter
                case "l": what = .addLearner
                case "r": what = .remove
                case "u": what = .update
                case _: throw DirectiveError("unknown input: \(word)")
                }
                let id: UInt64 = try DataFile.Argument.number(String(word.dropFirst()))
                all.append(MemberChange(what, MemberID(raw: id)))
            }
        }
        return all
    }
}
