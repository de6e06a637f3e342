// CheckSecrets.swift - certificates, keys, passwords and tokens: there, readable, in pairs.

import Primitives

extension Check {
    mutating func routes(_ routes: inout [Settings.Route]) {
        var seen: [String: Int] = [:]
        for index in routes.indices {
            let path = "route[\(index)]"
            if routes[index].domains.isEmpty {
                self.fault(
                    "\(path).domains", "route.domains is empty: nothing goes this way",
                    "name domains, or \"*\" for all")
            }
            for domain in routes[index].domains {
                let earlier = seen[domain] ?? seen["*"]
                guard let earlier else {
                    seen[domain] = index
                    continue
                }
                let line = self.lines.line(of: "route[\(earlier)]")
                self.fault(
                    "\(path).domains",
                    "\(domain) never goes this way: the route on line \(line) comes first",
                    "remove it, or put this route before that one")
            }
            self.route(&routes[index], path)
        }
    }

    private mutating func route(_ route: inout Settings.Route, _ path: String) {
        if route.scheme == .smtps && route.tls == .none {
            self.fault(
                "\(path).tls", "tls = \"none\" on a smtps:// route",
                "write smtp://, or tls = \"encrypt\"")
        }
        if !route.passwordFile.isEmpty {
            if !route.password.isEmpty {
                self.fault(
                    "\(path).password_file", "password and password_file both given",
                    "keep password_file")
            } else if let secret = self.secret(route.passwordFile, "\(path).password_file") {
                route.password = secret
            }
        }
        let hasPassword = !route.password.isEmpty || !route.passwordFile.isEmpty
        if route.user.isEmpty && hasPassword {
            self.fault("\(path).password", "a password without user", "add user, or remove it")
        }
        if route.user.isEmpty { return }
        if !hasPassword {
            self.fault("\(path).user", "user without password", "add password_file")
        }
        let isPrivate = route.scheme == .smtps || route.tls == .encrypt || route.tls == .verify
        let isLocal = route.via.host == "localhost" || IPAddress(route.via.host)?.isLoopback == true
        if !isPrivate && !isLocal {
            self.fault(
                "\(path).user", "the password could be sent in the clear",
                "set tls = \"encrypt\" or \"verify\"")
        }
    }

    mutating func admin(_ admin: inout Settings.Admin) {
        self.certificate(
            at: "admin", name: "admin", certificate: admin.certificate, key: admin.key,
            neededBy: nil)
        if !admin.tokenFile.isEmpty, let token = self.secret(admin.tokenFile, "admin.token_file") {
            let isPlain = token.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
            if token.utf8.count < 16 || !isPlain {
                self.fault(
                    "admin.token_file", "the token in \(admin.tokenFile) is too easy to guess",
                    "use 16 printable characters or more, e.g. openssl rand -hex 32")
            }
            admin.token = token
        }
        guard IPAddress(admin.listen.host)?.isLoopback != true else { return }
        if admin.tokenFile.isEmpty {
            self.fault(
                "admin.listen",
                "admin.listen \(admin.listen) is not on loopback and asks for no token",
                "set token_file, certificate and key, or listen on 127.0.0.1")
        } else if admin.certificate.isEmpty && admin.key.isEmpty {
            self.fault(
                "admin.listen", "admin.listen \(admin.listen) is not on loopback and has no TLS",
                "set certificate and key, or listen on 127.0.0.1")
        }
    }

    /// A certificate and its key: both or none, and readable. `neededBy`: nil if none is fine.
    mutating func certificate(
        at path: String, name: String, certificate: String, key: String, neededBy: String?
    ) {
        if certificate.isEmpty && key.isEmpty {
            guard let neededBy else { return }
            self.fault(
                "\(path).tls", "\(name): \(neededBy) needs certificate and key",
                "add certificate and key")
            return
        }
        if certificate.isEmpty {
            self.fault("\(path).key", "\(name): key without certificate", "add certificate")
        } else {
            self.pem(certificate, "\(path).certificate", holds: "CERTIFICATE")
        }
        if key.isEmpty {
            self.fault("\(path).certificate", "\(name): certificate without key", "add key")
        } else {
            self.pem(key, "\(path).key", holds: "PRIVATE KEY")
        }
    }

    /// A PEM file with at least one block whose label ends in `label` (RFC 7468 §3).
    mutating func pem(_ file: String, _ path: String, holds label: String) {
        guard let bytes = self.file(file, path) else { return }
        let found = bytes.split(separator: 10).contains { line in
            line.starts(with: "-----BEGIN ".utf8)
                && String(decoding: line, as: UTF8.self).contains("\(label)-----")
        }
        if !found {
            self.fault(path, "\(file) holds no \(label) in PEM form", "name a PEM file")
        }
    }

    /// The first line of a file that holds a secret.
    private mutating func secret(_ file: String, _ path: String) -> String? {
        guard let bytes = self.file(file, path) else { return nil }
        var line = bytes.prefix { $0 != 10 }
        if line.last == 13 { line = line.dropLast() }
        guard !line.isEmpty, let text = String(validating: line, as: UTF8.self) else {
            self.fault(
                path, "the first line of \(file) is empty or not text", "put the secret there")
            return nil
        }
        return text
    }

    mutating func file(_ file: String, _ path: String) -> [UInt8]? {
        do {
            return try self.files.read(file)
        } catch {
            self.fault(path, "\(file) \(error.text)", "make it readable, or name another file")
            return nil
        }
    }
}
