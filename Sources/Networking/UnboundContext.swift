// UnboundContext.swift - libunbound set up as we need it.
//
// Standard  RFC 6761 §6.2 (test. may be served by a local server), RFC 8375 (home.arpa.).

import CUnbound
import Glibc
import Primitives

/// Owns one context. Used by the resolver's thread only, once that runs.
final class UnboundContext {
    let pointer: OpaquePointer

    init(_ configuration: Resolver.Configuration) throws(ResolverError) {
        guard let pointer = ub_ctx_create() else {
            throw ResolverError(
                label: "resolver_memory", detail: "libunbound gives no context",
                remedy: "Free memory, or raise the memory limit of this service")
        }
        self.pointer = pointer
        ub_ctx_debugout(pointer, nil)
        try self.setOptions(validating: configuration.trustAnchor != nil)
        try self.setServers(configuration.servers)
        if configuration.readsHosts {
            let result = ub_ctx_hosts(pointer, nil)
            // No hosts file: then there is nothing in it.
            if result != UB_NOERROR.rawValue && result != UB_READFILE.rawValue {
                throw Self.error("resolver_hosts", "/etc/hosts", result, remedy: "Correct the file")
            }
        }
        if let file = configuration.trustAnchor { try self.trust(file) }
        let result = ub_ctx_async(pointer, 1)
        guard result == UB_NOERROR.rawValue else {
            throw Self.error("resolver_thread", "a thread of libunbound", result, remedy: "")
        }
        try self.openLocalZones()
    }

    /// libunbound reads the file when it starts; by then nobody could say which setting it was.
    private func trust(_ file: String) throws(ResolverError) {
        let remedy = "Give a file of DS or DNSKEY records, as of the package dns-root-data"
        guard access(file, R_OK) == 0 else {
            let reason = strerror(errno).map { String(cString: $0) } ?? "error \(errno)"
            throw ResolverError(
                label: "resolver_trust_anchor", detail: "dns.trust_anchor \(file): \(reason)",
                remedy: remedy)
        }
        let result = ub_ctx_add_ta_file(self.pointer, file)
        guard result == UB_NOERROR.rawValue else {
            throw Self.error(
                "resolver_trust_anchor", "dns.trust_anchor \(file)", result, remedy: remedy)
        }
    }

    /// Names that libunbound would deny by itself and that a local server may well answer. The
    /// first of these calls starts libunbound, so faults in what was set show here.
    private func openLocalZones() throws(ResolverError) {
        for zone in ["test.", "home.arpa."] {
            let result = ub_ctx_zone_remove(self.pointer, zone)
            guard result == UB_NOERROR.rawValue else {
                throw Self.error(
                    "resolver_start", "to start", result,
                    remedy: "Check the dns settings, the trust anchor and /etc/hosts")
            }
        }
    }

    /// Ends libunbound's thread and waits for it.
    deinit { ub_ctx_delete(self.pointer) }

    private func setOptions(validating: Bool) throws(ResolverError) {
        let options: [(String, String)] = [
            ("module-config:", validating ? "validator iterator" : "iterator"),
            // A resolver on this machine is the usual case, not an attack.
            ("do-not-query-localhost:", "no"),
            // A zone that is signed and arrives without signatures is insecure, not bogus.
            ("harden-dnssec-stripped:", "no"),
            // Small enough for every path without fragments.
            ("edns-buffer-size:", "1232"),
            ("num-queries-per-thread:", "2048"),
            ("msg-cache-size:", "4m"),
            ("rrset-cache-size:", "8m"),
            // A server that was down is asked again, not forgotten for a quarter of an hour.
            ("infra-keep-probing:", "yes"),
            ("infra-host-ttl:", "60"),
        ]
        for (name, value) in options {
            let result = ub_ctx_set_option(self.pointer, name, value)
            guard result == UB_NOERROR.rawValue else {
                throw Self.error(
                    "resolver_option", "\(name) \(value)", result,
                    remedy: "libunbound 1.17 or newer is needed")
            }
        }
    }

    private func setServers(_ servers: [String]) throws(ResolverError) {
        for server in servers {
            let result = ub_ctx_set_fwd(self.pointer, server)
            guard result == UB_NOERROR.rawValue else {
                throw Self.error(
                    "resolver_server", "dns.servers \"\(server)\"", result,
                    remedy: "Give an address, or an address and a port as in 127.0.0.1@5353")
            }
        }
        guard servers.isEmpty else { return }
        let result = ub_ctx_resolvconf(self.pointer, nil)
        // Without the file libunbound asks the root servers itself.
        guard result == UB_NOERROR.rawValue || result == UB_READFILE.rawValue else {
            throw Self.error(
                "resolver_system_servers", "/etc/resolv.conf", result,
                remedy: "Correct the file, or set dns.servers")
        }
    }

    private static func error(
        _ label: StaticLabel, _ what: String, _ code: Int32, remedy: String
    ) -> ResolverError {
        let reason = ub_strerror(code).map { String(cString: $0) } ?? "error \(code)"
        return ResolverError(
            label: label, detail: "libunbound refuses \(what): \(reason)", remedy: remedy)
    }
}
