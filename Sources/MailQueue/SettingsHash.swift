// SettingsHash.swift - a number by which nodes compare what their settings files say.
//
// See       Docs/PeerProtocol.md (standing): the bytes are those of the command `settings`.

import Primitives

extension ClusterSettings {
    /// The same for the same settings, on every node and in every run; never 0.
    package var fileHash: UInt64 {
        var writer = ByteWriter(capacity: 64)
        self.encode(into: &writer)
        var hash = StableHash()
        hash.add(writer.bytes)
        return hash.value == 0 ? 1 : hash.value
    }
}
