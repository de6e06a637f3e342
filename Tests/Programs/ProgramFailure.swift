// ProgramFailure.swift - why a program that a test needs is of no use.

/// Something did not happen, or happened wrongly; the text says what.
package struct ProgramFailure: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
