// StatusLine.swift - a reason or note of `GET /v1/cluster`, safe to show.
//
// Limits    `charactersMax` of each text: what a peer said may stand in it.

import Primitives

struct StatusLine: Equatable {
    /// What is so.
    var sentence: String
    /// The next step.
    var remedy: String

    static let charactersMax = 500

    /// - Parameter value: a list of objects; nil: the node is of a version that has none.
    static func list(_ value: JSON?) -> [StatusLine] {
        (value?.asList ?? []).map { line in
            StatusLine(
                sentence: Human.safe(
                    line["sentence"]?.asText ?? "unknown", limit: Self.charactersMax),
                remedy: Human.safe(line["remedy"]?.asText ?? "-", limit: Self.charactersMax))
        }
    }

    /// Of that many the whole text stands in a line; of the others how many they are.
    static let toldMax = 3

    /// Behind the health, in the same line; "" if there is nothing to tell.
    static func tail(_ lines: [StatusLine]) -> String {
        guard !lines.isEmpty else { return "" }
        let told = lines.prefix(Self.toldMax).map { "\($0.sentence) (next: \($0.remedy))" }
        let rest = lines.count - told.count
        return ": " + told.joined(separator: "; ")
            + (rest > 0 ? "; and \(rest) more (posthouse cluster status)" : "")
    }
}
