// Normalization.swift - one spelling for the same characters: composed, as NFC has it.
//
// The standard library has no public way to NFC, only to the question whether a text is in it. What
// its `_nfcCodeUnits` gives is asked that question, and whether it is the same text; so a library
// that did something else one day would cost mail to such domains, and never send it elsewhere.
// Standard  Unicode Standard Annex 15; RFC 5891 §4.2.1, §5.3. See Docs/Decisions/0007.

enum Normalization {
    /// `text` in NFC; nil: the library cannot say.
    static func nfc(_ text: String) -> String? {
        if Self.isNFC(text) { return text }
        // Strings are equal if their characters are, composed or not.
        guard let result = String(validating: text._nfcCodeUnits, as: UTF8.self),
            Self.isNFC(result), result == text
        else { return nil }
        return result
    }

    static func isNFC(_ text: String) -> Bool {
        var span = text.utf8Span
        return span.checkForNFC(quickCheck: false)
    }
}
