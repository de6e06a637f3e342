// EnhancedCode.swift - the machine-readable half of a reply.
//
// Standard  RFC 3463 §2 (class.subject.detail), RFC 2034 §4.

/// `class.subject.detail`, e.g. 5.1.1.
package struct EnhancedCode: Hashable, Sendable, CustomStringConvertible {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    package var kind: UInt8
    /// 0 … 999 (RFC 3463 §2).
    package var subject: UInt16
    /// 0 … 999.
    package var detail: UInt16

    package init(_ kind: UInt8, _ subject: UInt16, _ detail: UInt16) {
        self.kind = kind
        self.subject = subject
        self.detail = detail
    }

    package var description: String { "\(self.kind).\(self.subject).\(self.detail)" }
}
