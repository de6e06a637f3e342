// Settlement.swift - what becomes of a piece: outcomes, releases, suspensions.
//
// Takes     the results of transactions and the despair of destinations.
// Gives     one DeliveryOutcome per transaction; the last piece of a lease ends it.
// Standard  RFC 5321 §4.5.4.1; RFC 3464 §2.3.5 (the host that decided).

import Cluster
import Logging
import MailQueue
import NIOCore
import Primitives
import SMTP

extension DeliveryLoop {
    /// What is known of the connection, for verdicts and the log.
    struct Circumstances {
        var host: PlannedHost
        var tls: String?
        var seconds: Double
    }

    /// Settles a transaction; what another host or the next transaction may carry comes back to
    /// the destination.
    func settle(
        _ piece: Piece, _ result: ClientResult, _ destination: Destination,
        _ circumstances: Circumstances
    ) {
        guard case .mail(let lease) = piece.work else {
            self.answer(piece, result, destination, circumstances.host)
            return
        }
        let host = circumstances.host
        let canMove = destination.hasAlternative(to: host, for: piece)
        var verdicts: [(index: UInt16, verdict: Verdict)] = []
        verdicts.reserveCapacity(piece.positions.count)
        var elsewhere: [Int] = []
        var again: [Int] = []
        var lastReply: Reply?
        for i in 0..<piece.positions.count {
            let position = piece.positions[i]
            let index = lease.delivery.recipients[position].index
            let verdict: Verdict
            switch result[i] {
            case .delivered(let reply): verdict = Verdict(.delivered, reply, remoteHost: host.name)
            case .relayed(let reply): verdict = Verdict(.relayed, reply, remoteHost: host.name)
            case .stored(let reply): verdict = Verdict(.stored, reply, remoteHost: host.name)
            case .failed(let reply): verdict = Verdict(.failed, reply, remoteHost: host.name)
            case .deferred(let reply): verdict = Verdict(.deferred, reply, remoteHost: host.name)
            case .again:
                again.append(position)
                continue
            case .elsewhere(let reply):
                if canMove {
                    elsewhere.append(position)
                    lastReply = reply
                    continue
                }
                verdict = Verdict(.deferred, reply, remoteHost: host.name)
            }
            verdicts.append((index, verdict))
        }
        if let lastReply {
            var rest = piece
            rest.positions = .list(elsewhere)
            lease.pieces += 1
            destination.move(rest, from: host, lastReply)
        }
        if !again.isEmpty {
            var rest = piece
            rest.positions = .list(again)
            lease.pieces += 1
            destination.putBack(rest)
        }
        self.conclude(lease, verdicts, circumstances)
    }

    /// One piece fewer; says what there is to say.
    private func conclude(
        _ lease: Lease, _ verdicts: [(index: UInt16, verdict: Verdict)],
        _ circumstances: Circumstances?
    ) {
        lease.pieces -= 1
        let isLast = lease.pieces == 0
        if isLast { lease.body = nil }
        self.note(lease, verdicts, circumstances)
        if verdicts.isEmpty && !isLast { return }
        self.desk.settle(
            DeliveryOutcome(
                delivery: lease.delivery.id, session: lease.delivery.session,
                attempt: lease.delivery.attempt, verdicts: verdicts, endsLease: isLast))
    }

    /// One verdict of ours for all recipients of a piece; no host decided.
    private func conclude(_ piece: Piece, _ kind: Verdict.Kind, _ reply: Reply, host: String?) {
        guard case .mail(let lease) = piece.work else {
            if case .probe(let probe) = piece.work { probe.answer(.unknown) }
            return
        }
        let verdict = Verdict(kind, reply, remoteHost: host)
        let verdicts = (0..<piece.positions.count).map {
            (index: lease.delivery.recipients[piece.positions[$0]].index, verdict: verdict)
        }
        self.conclude(lease, verdicts, nil)
    }

    private func answer(
        _ piece: Piece, _ result: ClientResult, _ destination: Destination, _ host: PlannedHost
    ) {
        guard case .probe(let probe) = piece.work else { return }
        switch result[0] {
        case .delivered, .relayed, .stored: probe.answer(.valid)
        case .failed(let reply): probe.answer(.invalid(reply))
        case .deferred, .again: probe.answer(.unknown)
        case .elsewhere(let reply):
            if destination.hasAlternative(to: host, for: piece) {
                destination.move(piece, from: host, reply)
            } else {
                probe.answer(.unknown)
            }
        }
    }

    /// The DNS says that no host will ever take these.
    func fail(_ pieces: [Piece], _ reply: Reply) {
        for piece in pieces { self.conclude(piece, .failed, reply, host: nil) }
    }

    /// Every host that could be tried has been.
    func putOff(_ piece: Piece) {
        let reply =
            piece.lastReply ?? Reply(451, EnhancedCode(4, 4, 1), "no host could be reached")
        self.conclude(piece, .deferred, reply, host: piece.lastHost)
    }

    /// The body cannot be read: not the host's fault and not the sender's.
    func bodyMissing(_ piece: Piece, _ error: BodyReadError) {
        switch error {
        case .unavailable:
            let reply = Reply(451, EnhancedCode(4, 3, 0), "the message cannot be read now")
            self.conclude(piece, .deferred, reply, host: nil)
        case .lost, .gone: self.giveBack(piece)
        }
    }

    /// Unattempted; the lease goes back with its last piece.
    func giveBack(_ piece: Piece) {
        guard case .mail(let lease) = piece.work else {
            if case .probe(let probe) = piece.work { probe.answer(.unknown) }
            return
        }
        if self.isLastPiece(of: lease) { self.desk.release([lease.delivery]) }
    }

    /// One piece of the lease fewer, with nothing to say of it.
    private func isLastPiece(of lease: Lease) -> Bool {
        lease.pieces -= 1
        guard lease.pieces == 0 else { return false }
        lease.body = nil
        return true
    }

    /// No host of the destination can be used: it rests in the queue, and what waits here goes
    /// back to it. A lease of which a piece is under way elsewhere goes back with that piece.
    func suspend(_ destination: Destination, _ reply: Reply) {
        let pieces = destination.takeAll()
        self.noteDead(destination)
        self.log.notice(
            "destination suspended",
            metadata: [
                "destination": "\(destination.key)", "waiting": "\(pieces.count)",
                "reply": "\(reply.summary)",
            ])
        guard let name = destination.name else {
            for piece in pieces { self.conclude(piece, .deferred, reply, host: nil) }
            return
        }
        var hasMail = false
        var unbegun: [LeasedDelivery] = []
        for piece in pieces {
            switch piece.work {
            case .probe(let probe): probe.answer(.unknown)
            case .mail(let lease):
                hasMail = true
                if self.isLastPiece(of: lease) { unbegun.append(lease.delivery) }
            }
        }
        // In this order: what comes back finds its destination at rest.
        if hasMail { self.desk.suspend(destination: name, reply: reply) }
        if !unbegun.isEmpty { self.desk.release(unbegun) }
    }

    // MARK: - Log and metrics

    private func note(
        _ lease: Lease, _ verdicts: [(index: UInt16, verdict: Verdict)],
        _ circumstances: Circumstances?
    ) {
        for (_, verdict) in verdicts { self.meters.count(verdict.kind) }
        guard self.log.logLevel <= .info, !verdicts.isEmpty else { return }
        // One line for each group of recipients that shares a reply.
        var start = 0
        while start < verdicts.count {
            var end = start + 1
            while end < verdicts.count && verdicts[end].verdict == verdicts[start].verdict {
                end += 1
            }
            self.line(lease, verdicts[start..<end], circumstances)
            start = end
        }
    }

    /// Addresses that stand in one line of the log.
    private static let loggedRecipientsMax = 3

    private func line(
        _ lease: Lease, _ group: ArraySlice<(index: UInt16, verdict: Verdict)>,
        _ circumstances: Circumstances?
    ) {
        guard let verdict = group.first?.verdict else { return }
        var addresses: [String] = []
        for (index, recipient) in lease.delivery.recipients {
            guard addresses.count < Self.loggedRecipientsMax else { break }
            if group.contains(where: { $0.index == index }) { addresses.append(recipient.address) }
        }
        var metadata: Logger.Metadata = [
            "id": "\(lease.delivery.id.message.text)", "attempt": "\(lease.delivery.attempt)",
            "destination": "\(lease.delivery.destination)", "recipients": "\(group.count)",
            "to": "\(addresses.joined(separator: " "))",
            "result": .string(verdict.kind.label), "reply": "\(verdict.reply.summary)",
        ]
        if let circumstances {
            metadata["host"] = "\(circumstances.host.name)"
            metadata["ip"] = "\(circumstances.host.address)"
            metadata["tls"] = "\(circumstances.tls ?? "none")"
            metadata["seconds"] = "\(circumstances.seconds)"
        }
        self.log.info("delivery attempt", metadata: metadata)
    }
}
