// PeerMesh+Dialing.swift - who dials whom, and when again.
//
// The node with the lesser name dials; and one that is no seed dials everybody it knows, because
// others may not know where it is. Two connections that cross are told apart in `judge`. A node
// that was removed is dialed no more; if it is a seed, seldom (PeerMesh.forget).

import Logging
import NIOCore
import Networking
import OpenSSL
import Primitives
import Settings

extension PeerMesh {
    /// Makes what links are missing, if it is ours to do.
    func dial(_ node: NodeName) {
        guard let record = self.records[node] else { return }
        for kind in PeerLinkKind.allCases { self.dial(record, kind) }
    }

    private func isOurs(_ record: PeerRecord) -> Bool {
        guard record.address != nil, record.isWanted else { return false }
        return self.name < record.name || !self.settings.seeds.contains { $0.name == self.name }
    }

    private func dial(_ record: PeerRecord, _ kind: PeerLinkKind) {
        guard self.isRunning, record.links[kind] == nil, self.isOurs(record),
            case .idle = record.dials[kind], let address = record.address
        else { return }
        record.dials[kind] = .connecting
        let bound = NIOLoopBound((self, record), eventLoop: self.loop)
        Dialer.connect(
            toHost: address.host, port: address.port, timeout: self.limits.connectTimeout,
            on: self.loop,
            initializer: { channel in
                let (mesh, record) = bound.value
                _ = try mesh.addHandlers(to: channel, dialed: (record.name, kind))
            }
        ).whenComplete { result in
            let (mesh, record) = bound.value
            mesh.dialed(record, kind, result)
        }
    }

    private func dialed(
        _ record: PeerRecord, _ kind: PeerLinkKind, _ result: Result<any Channel, any Error>
    ) {
        record.dials[kind] = .idle
        switch result {
        case .success(let channel):
            let link: PeerLink
            do {
                link = try channel.pipeline.syncOperations.handler(type: PeerLink.self)
            } catch {
                // Closed again already: its handlers are gone.
                self.dialLater(record, kind)
                return
            }
            // The peer has come by itself meanwhile, or nobody wants the link any more.
            guard self.isRunning, record.links[kind] == nil, record.isWanted, !link.isOver
            else {
                link.close()
                self.dialLater(record, kind)
                return
            }
            record.links[kind] = link
            self.links.append(link)
        case .failure(let error):
            let reason = (error as? DialFailure)?.detail ?? "\(error)"
            record.lastError = reason
            if !record.isForgotten,
                self.gate.admits(record.name, "dial", now: SystemClock.bootTime())
            {
                self.logger.info(
                    "peer not reachable, trying on",
                    metadata: ["peer": "\(record.name)", "reason": "\(reason)"])
            }
            self.dialLater(record, kind)
        }
    }

    /// After a pause that doubles with each attempt in vain.
    func dialLater(_ record: PeerRecord, _ kind: PeerLinkKind) {
        guard self.isRunning, record.links[kind] == nil, self.isOurs(record),
            case .idle = record.dials[kind]
        else { return }
        let pause = record.isForgotten ? self.limits.removedPause : record.delays[kind]
        let delay = pause.scaled(permille: Int64(750 + self.generator.below(501)))
        record.delays[kind] = min(
            record.delays[kind].scaled(permille: 2000), self.limits.backoffLast)
        let bound = NIOLoopBound((self, record), eventLoop: self.loop)
        let timer = self.loop.scheduleTask(in: .nanoseconds(delay.inNanoseconds)) {
            let (mesh, record) = bound.value
            record.dials[kind] = .idle
            mesh.dial(record, kind)
        }
        record.dials[kind] = .waiting(timer)
    }

    /// TLS and the link on a new channel, before it is active.
    func addHandlers(
        to channel: any Channel, dialed: (NodeName, PeerLinkKind)?
    ) throws -> PeerLink {
        if dialed == nil {
            let strangers = self.links.count { $0.dialed == nil && !$0.isGreeted && !$0.isOver }
            guard self.isRunning, strangers < self.limits.strangersMax else {
                let refusal = PeerRefusal(.tooMany, "too many connections without a Hello")
                self.metrics.refused(refusal.cause)
                throw refusal
            }
        }
        // The link asks for what it can take.
        try channel.syncOptions?.setOption(ChannelOptions.autoRead, value: false)
        let certificates = self.certificates.current
        let tls =
            try dialed.map {
                try certificates.client.makeConnection(serverName: nil, matching: [$0.0])
            } ?? certificates.server.makeConnection()
        let link = PeerLink(self, tls, dialed: dialed)
        let patience = self.limits.tick.scaled(
            permille: Int64(self.limits.greetingTicks) * 1000)
        try channel.pipeline.syncOperations.addHandlers([
            TLSHandler(tls, handshakeTimeout: patience), link,
        ])
        return link
    }
}
