import MailQueue
import Testing

@Suite("The hash of a node's settings")
struct SettingsHashTests {
    @Test func `it is the same everywhere, and another for each setting`() {
        let usual = ClusterSettings()
        // Stands in the peer protocol: nodes of all versions say the same.
        #expect(usual.fileHash == 0x054D_06F6_8399_E25C)
        let changes: [(inout ClusterSettings) -> Void] = [
            { $0.retry[6] = .seconds(1) }, { $0.retry.removeLast() }, { $0.expire = .seconds(1) },
            { $0.delayNotice = .zero }, { $0.connectionsPerDestination = 21 }, { $0.copies = 2 },
            { $0.session.term = .seconds(5) }, { $0.session.driftPermille = 51 },
            { $0.session.holdDown = .seconds(4) }, { $0.suspensionFirst = .seconds(61) },
            { $0.suspensionMax = .seconds(901) }, { $0.suspectMax = 21 },
        ]
        var seen = [usual.fileHash]
        for change in changes {
            var settings = usual
            change(&settings)
            #expect(!seen.contains(settings.fileHash))
            seen.append(settings.fileHash)
        }
    }
}
