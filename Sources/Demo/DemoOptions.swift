// DemoOptions.swift - what the demo is asked for, and how it says that it cannot.

package struct DemoOptions: Sendable {
    package static let nodesRange = 1...9
    /// Messages per second.
    package static let loadRange = 0...10_000

    package var nodes = 3
    /// Nil: a temporary one, removed at the end unless mail was lost.
    package var directory: String?
    /// Of load; nil: until it is asked to end.
    package var seconds: Int?
    /// Messages per second.
    package var load = 100

    package init() {}
}

/// What the user wants while it runs.
package enum DemoWish: Sendable {
    /// End in order; said again: at once.
    case end
    /// Start the nodes again that have gone.
    case restart
}

/// Why the demo does not run; told on stderr.
struct DemoFailure: Error, Equatable {
    var status: Int32
    var message: String

    init(_ status: Int32, _ message: String) {
        self.status = status
        self.message = message
    }
}
