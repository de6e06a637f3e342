// OpenSSLError.swift - what OpenSSL complains of, taken from its error stack at once.
//
// OpenSSL keeps errors in a queue per thread. Whoever leaves them there blames the next connection
// on that thread, so each failing call is followed by `capture`, which empties the queue.

import COpenSSL
package import Primitives

/// A fault of TLS, certificates or cryptography.
package struct OpenSSLError: Error, Equatable, Sendable, CustomStringConvertible {
    /// For metrics: constant, without data.
    package let label: StaticLabel
    /// What happened, in one line.
    package let detail: String
    /// What the operator does about it; empty if the peer is to blame.
    package let remedy: String

    package init(label: StaticLabel, detail: String, remedy: String = "") {
        self.label = label
        self.detail = detail
        self.remedy = remedy
    }

    package var description: String {
        self.remedy.isEmpty ? self.detail : "\(self.detail). \(self.remedy)"
    }

    /// Empties this thread's error queue; `doing` says what was attempted.
    static func capture(
        _ label: StaticLabel, _ doing: String, remedy: String = ""
    ) -> OpenSSLError {
        let reasons = Self.drain()
        let detail = reasons.isEmpty ? doing : "\(doing): \(reasons.joined(separator: "; "))"
        return OpenSSLError(label: label, detail: detail, remedy: remedy)
    }

    /// The texts of this thread's error queue, oldest first, at most four; the queue is empty then.
    static func drain() -> [String] {
        var texts: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { return texts }
            guard texts.count < 4 else { continue }
            if let reason = ERR_reason_error_string(code) {
                texts.append(String(cString: reason))
            } else {
                texts.append(Self.systemText(code))
            }
        }
    }

    /// The text of an error of the system: the last part of `error:80000002:system library::No
    /// such…`.
    private static func systemText(_ code: UInt) -> String {
        var line = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(code, &line, line.count)
        let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let tail = bytes.split(separator: UInt8(ascii: ":")).last ?? bytes[...]
        return String(decoding: tail, as: UTF8.self)
    }
}
