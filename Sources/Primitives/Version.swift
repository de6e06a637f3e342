// Version.swift - what `posthouse version` says.

package enum Version {
    /// Semantic version of this source.
    package static let text = "0.1.0"
}
