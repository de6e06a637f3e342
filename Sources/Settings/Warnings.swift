// Warnings.swift - what is allowed and dangerous: told by `check config` and at the start.

import Primitives

extension Settings {
    /// Ranges of more addresses than this make a relay that is all but open: an IPv4 prefix below 8
    /// bits, an IPv6 prefix below 16.
    private static func isVast(_ range: AddressRange) -> Bool {
        range.prefix < (range.base.isV4 ? 8 : 16)
    }

    /// Sentences for the operator; empty: nothing to say.
    package var warnings: [String] {
        var sentences: [String] = []
        for range in self.relay.allow where Self.isVast(range) {
            sentences.append(
                "relay.allow \(range) is all but an open relay: all its addresses may send to "
                    + "anywhere; name your own networks")
        }
        for listener in self.listeners {
            for balancer in listener.proxyTrusted {
                guard
                    let range = self.relay.allow.first(where: {
                        $0.contains(balancer.base) && $0.prefix <= balancer.prefix
                    })
                else { continue }
                sentences.append(
                    "listener \(listener.address): proxy_trusted \(balancer) is inside of "
                        + "relay.allow \(range): what this balancer passes to a listener without "
                        + "proxy_protocol may be sent to anywhere; leave it out of relay.allow")
            }
        }
        return sentences
    }
}
