// Invariant.swift - our own impossible states end the process, in release builds too.

/// Ends the process if `condition` is false. For mistakes of ours only: a peer's mistake is an
/// action, a disk's fault is an error.
@inline(__always)
package func invariant(
    _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
    file: StaticString = #fileID, line: UInt = #line
) {
    if !condition() { unreachable(message(), file: file, line: line) }
}

/// Ends the process: this place cannot be reached.
@inline(never)
package func unreachable(
    _ message: String, file: StaticString = #fileID, line: UInt = #line
) -> Never {
    fatalError("invariant broken: \(message)", file: file, line: line)
}
