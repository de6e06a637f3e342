// PeerMesh+Links.swift - what links report: who may speak, who is up, who has gone, and why.
//
// See       Hello.refusal; Docs/PeerProtocol.md, "Refusals" and "Two connections of one kind".

import Logging
import NIOCore
import Networking
import Primitives
import Raft
import Settings

/// What the mesh thinks of a Hello.
enum PeerVerdict {
    case admit
    /// Nobody's fault: another connection does the work.
    case leave(String)
    case refuse(PeerRefusal)
}

extension PeerMesh {
    /// Decides on a connection; `admit` has it in the table already.
    func judge(_ hello: Hello, _ link: PeerLink) -> PeerVerdict {
        guard link.certificateName == hello.node, link.dialed ?? hello.node == hello.node else {
            return .refuse(
                PeerRefusal(
                    .certificateName,
                    "your certificate is for \"\(link.certificateName)\", you say that you are "
                        + "\"\(hello.node)\""))
        }
        let ours = self.ownHello(hello.link)
        if let refusal = ours.refusal(of: hello, memory: self.memory) {
            // Counted there too.
            if refusal == .rolledBack { _ = self.meet(hello) }
            return .refuse(PeerRefusal(refusal))
        }
        if let refusal = self.events?.refusal(of: hello) { return .refuse(refusal) }
        let record =
            self.records[hello.node] ?? self.add(hello.node, address: nil, isSeed: false)
        guard let record else {
            return .refuse(PeerRefusal(.tooMany, "too many peers are known here"))
        }
        for kind in PeerLinkKind.allCases {
            guard let other = record.links[kind]?.hello else { continue }
            if other.incarnation != hello.incarnation {
                return .refuse(
                    PeerRefusal(
                        .sameName, "another node that is called \"\(hello.node)\" is connected"))
            }
        }
        // Links of an earlier start: that program is dead.
        for kind in PeerLinkKind.allCases {
            if let other = record.links[kind], let theirs = other.hello,
                theirs.isEarlierStart(than: hello), other !== link
            {
                other.close()
            }
        }
        if let other = record.links[hello.link], other !== link {
            // Who dials again has lost the earlier one, unless it dialed before it counted its
            // newest boot. Of two that cross the lesser name's stays.
            let isSameWay = (other.dialed == nil) == (link.dialed == nil)
            let dialer = link.dialed == nil ? hello.node : self.name
            let isLate = other.hello.map { $0.boot > hello.boot } ?? false
            guard isSameWay ? !isLate : dialer == min(self.name, hello.node) else {
                return .leave("another connection is in use")
            }
            other.close(Goodbye(label: "duplicate", sentence: "another connection is in use"))
        }
        record.links[hello.link] = link
        let isMet = self.meet(hello)
        invariant(isMet, "a disk is judged before it is met")
        if !record.isSeed, !hello.host.isEmpty, hello.port > 0 {
            record.address = Endpoint(host: hello.host, port: Int(hello.port))
        }
        return .admit
    }

    func linkUp(_ link: PeerLink, _ hello: Hello, _ kind: PeerLinkKind) {
        self.logger.info(
            "peer connected",
            metadata: [
                "peer": "\(hello.node)", "link": "\(kind)",
                "incarnation": "\(Base32.text(hello.incarnation.raw))", "boot": "\(hello.boot)",
            ])
        self.records[hello.node]?.lastError = nil
        self.events?.peerUp(hello, kind)
    }

    func received(_ message: PeerMessage, _ hello: Hello, _ link: PeerLink) {
        self.events?.received(message, from: hello.node, hello.incarnation)
    }

    /// Once for each link; for one that says goodbye, before it does.
    func linkEnded(_ link: PeerLink, wasUp: Bool, _ refusal: PeerRefusal?, label: String?) {
        self.links.removeAll { $0 === link }
        if let refusal { self.count(refusal, link, label: label) }
        guard let name = link.hello?.node ?? link.dialed, let record = self.records[name],
            let kind = link.kind
        else { return }
        if record.links[kind] === link { record.links[kind] = nil }
        if let refusal { record.lastError = refusal.sentence }
        if wasUp, let hello = link.hello {
            if link.ageTicks >= 2 { record.delays[kind] = self.limits.backoffFirst }
            self.logger.info(
                "peer disconnected",
                metadata: ["peer": "\(name)", "link": "\(kind)"])
            self.events?.peerDown(name, hello.incarnation, kind)
        }
        // Who was told that it is no member any more will be told the same again.
        if refusal?.cause == .toldRemoved { record.delays[kind] = self.limits.removedPause }
        // Not before a link that takes this one's place has been entered.
        self.dialLater(record, kind)
    }

    private func count(_ refusal: PeerRefusal, _ link: PeerLink, label: String?) {
        self.metrics.refused(refusal.cause)
        self.events?.peerRefused(link.who, refusal)
        let cause = label.map { "\(refusal.cause.rawValue): \($0)" } ?? refusal.cause.rawValue
        guard self.gate.admits(link.who, cause, now: SystemClock.bootTime()) else { return }
        let metadata: Logger.Metadata = [
            "peer": "\(link.who)", "cause": "\(cause)", "reason": "\(refusal.sentence)",
        ]
        switch refusal.cause {
        case .told, .toldRemoved:
            self.logger.warning("a peer refuses this node", metadata: metadata)
        case _: self.logger.warning("connection with a peer refused", metadata: metadata)
        }
    }

    /// A link that says goodbye still needs its ticks.
    func watchLeaving(_ link: PeerLink) { self.links.append(link) }
    func left(_ link: PeerLink) { self.links.removeAll { $0 === link } }

    func drained(_ link: PeerLink) {
        guard let node = link.hello?.node else { return }
        self.events?.peerDrained(node)
    }

    func mayRead(_ link: PeerLink) -> Bool {
        guard let node = link.hello?.node, let events = self.events else { return true }
        return events.mayRead(from: node)
    }

    func count(in bytes: Int, _ kind: PeerLinkKind) { self.metrics.read(bytes, kind) }
    func count(out bytes: Int, _ kind: PeerLinkKind) { self.metrics.wrote(bytes, kind) }
    func skipped() { self.metrics.skippedFrame() }
}
