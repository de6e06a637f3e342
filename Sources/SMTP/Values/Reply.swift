// Reply.swift - what a server says, ours or another's, as one value.
//
// Standard  RFC 5321 §4.2; RFC 2034 (enhanced codes stand at the start of each line's text).

/// A complete reply, all its lines.
package struct Reply: Hashable, Sendable {
    /// 200 … 599; the last two digits are free, the first decides (RFC 5321 §4.2.1).
    package var code: UInt16
    /// Taken off the lines' texts; nil where the peer sent none.
    package var enhanced: EnhancedCode?
    /// The texts without code, separator, enhanced code and line end; never empty.
    package var lines: [String]

    package init(_ code: UInt16, _ enhanced: EnhancedCode? = nil, _ lines: [String]) {
        self.code = code
        self.enhanced = enhanced
        self.lines = lines.isEmpty ? [""] : lines
    }

    package init(_ code: UInt16, _ enhanced: EnhancedCode? = nil, _ text: String) {
        self.init(code, enhanced, [text])
    }

    /// 2yz.
    package var isPositive: Bool { self.code / 100 == 2 }
    /// 3yz.
    package var isIntermediate: Bool { self.code / 100 == 3 }
    /// 4yz: try again (RFC 5321 §4.2.1).
    package var isTransient: Bool { self.code / 100 == 4 }
    /// 5yz: do not try again.
    package var isPermanent: Bool { self.code / 100 == 5 }

    /// One line for people: `550 5.1.1 no such user`; lines joined by spaces.
    package var summary: String {
        let text = self.lines.joined(separator: " ")
        guard let enhanced else { return "\(self.code) \(text)" }
        return "\(self.code) \(enhanced) \(text)"
    }
}
