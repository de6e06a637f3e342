// ReceptionReload.swift - new settings for listeners that are open: all of them, or none.
//
// Order     1 everything that can fail is tried: users, certificates, the new ports. 2 Only then
//           rules and faces are swapped, and the ports that are gone are closed.
// Keeps     a listener whose address stays keeps its socket: no connection in its backlog is lost.
//           Sessions keep the TLS that they began with; relay rules hold for them at once.

import Logging
package import NIOCore
import Networking
import OpenSSL
package import Primitives
package import Settings
import Synchronization

extension Reception {
    enum Limit {
        /// Listeners closed by reloads whose sessions follow later changes of the rules; sessions
        /// of older ones end by `relay.session_timeout`.
        static let retired = 64
    }

    /// What a reload comes to, before anything has changed.
    private struct Plan: Sendable {
        var policy: ReceptionPolicy
        /// In the order of the new settings; `face` is nil for a port that is to be opened.
        var ports: [(port: Port, face: ListenerFace?)] = []
        var removed: [Port] = []
    }

    /// Limits of `settings` hold for sessions that begin from now on; relay rules, routes and users
    /// for those that are open too.
    ///
    /// - Returns: where it listens in addition; fails with `ReceptionFault` or `ListenFailure`,
    ///   nothing has changed then.
    package func reload(
        _ settings: Settings
    ) -> EventLoopFuture<[(address: IPAddress, port: Int)]> {
        let loop = self.loops[0]
        let plan: Plan
        do throws(ReceptionFault) {
            plan = try self.plan(settings)
        } catch {
            return loop.makeFailedFuture(error)
        }
        let fresh = plan.ports.filter { $0.face == nil }.map(\.port)
        return self.open(fresh).flatMapErrorThrowing { error in
            throw Self.explain(error, plan, fresh)
        }.map { sockets in
            self.carryOut(plan, sockets, settings)
            return sockets.map { ($0.address, $0.port) }
        }
    }

    private func plan(_ settings: Settings) throws(ReceptionFault) -> Plan {
        var plan = Plan(policy: try self.policy(settings))
        var rest = self.state.withLock { $0.ports }
        for listener in settings.listeners {
            guard let place = rest.firstIndex(where: { $0.settings.address == listener.address })
            else {
                let rules = SessionRules(settings, listener, plan.policy)
                plan.ports.append((try self.port(listener, rules), nil))
                continue
            }
            var port = rest.remove(at: place)
            let face = try self.face(of: port, as: listener)
            port.settings = listener
            plan.ports.append((port, face))
        }
        plan.removed = rest
        return plan
    }

    /// What a listener that stays open is to be. What has not changed is kept.
    private func face(
        of port: Port, as listener: Settings.Listener
    ) throws(ReceptionFault) -> ListenerFace {
        let old = port.settings
        var face = port.context.currentFace
        face.isImplicit = listener.tls == .implicit
        if listener.tls != .off, old.certificate == listener.certificate, old.key == listener.key,
            let store = face.certificates
        {
            do throws(OpenSSLError) {
                try store.check()
            } catch {
                throw ReceptionFault(detail: error.detail, remedy: error.remedy)
            }
        } else {
            face.certificates = try Self.certificates(listener)
        }
        if !listener.proxyProtocol {
            face.proxy = nil
        } else if face.proxy == nil || old.proxyTrusted != listener.proxyTrusted {
            face.proxy = ProxyDoor(listener, log: self.log)
        }
        return face
    }

    /// A port that this very reload would free cannot be had before.
    private static func explain(_ error: any Error, _ plan: Plan, _ fresh: [Port]) -> any Error {
        guard let failure = error as? ListenFailure, failure.label.text == "listen_in_use" else {
            return error
        }
        for old in plan.removed {
            guard let port = old.socket?.port,
                fresh.contains(where: { $0.settings.address.port == port })
            else { continue }
            return ReceptionFault(
                detail: "\(failure.detail), by listener \(old.settings.address) which this reload "
                    + "would close",
                remedy: "Restart, or reload twice: first without either listener")
        }
        return error
    }

    private func carryOut(_ plan: Plan, _ sockets: [Listener], _ settings: Settings) {
        var sockets = sockets[...]
        var ports: [Port] = []
        for (port, face) in plan.ports {
            var port = port
            if let face {
                let old = port.context.currentFace
                port.context.use(SessionRules(settings, port.settings, plan.policy))
                port.context.use(face)
                self.follow(old.certificates, face.certificates)
            } else {
                port.socket = sockets.popFirst()
                self.watch(port.context.currentFace.certificates)
                self.log.notice(
                    "listener opened", metadata: ["listener": "\(port.settings.address)"])
            }
            ports.append(port)
        }
        for port in plan.removed {
            // Connections that it has accepted are sessions like others.
            port.socket?.close().whenFailure { [log = self.log] error in
                log.error("listener not closed", metadata: ["reason": "\(error)"])
            }
            port.context.currentFace.certificates?.stop()
            self.log.notice("listener closed", metadata: ["listener": "\(port.settings.address)"])
        }
        let retired = self.state.withLock { state in
            state.ports = ports
            state.retired = Array((state.retired + plan.removed).suffix(Limit.retired))
            return state.retired
        }
        for port in retired {
            port.context.use(SessionRules(settings, port.settings, plan.policy))
        }
    }

    /// The certificates of a listener after a reload: the same store, or another.
    private func follow(_ old: CertificateStore?, _ new: CertificateStore?) {
        if let new, new === old {
            if let event = new.reload() {
                Self.report(event, new.certificateFiles, self.log)
            }
        } else {
            old?.stop()
            self.watch(new)
        }
    }
}
