import Settings

/// Files of one test, in memory.
func memory(_ files: [String: String]) -> FileAccess {
    FileAccess { path throws(FileAccess.Failure) in
        guard let text = files[path] else { throw .missing }
        return Array(text.utf8)
    }
}

let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
let privateKey = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
let usualFiles = [
    "/c.pem": certificate, "/c.key": privateKey, "/users": "jo:$scrypt$x\n",
    "/secret": "0123456789abcdef\n", "/short": "abc\n", "/empty": "", "/badusers": "jo:x\njo\n",
]

/// A text that has no fault; `more` follows it, from line 6 on.
func good(_ more: String = "") -> String {
    """
    [node]
    name = "a"
    hostname = "relay.example.com"
    [[listener]]
    address = "127.0.0.1:2525"

    """ + more
}

/// The faults of a text as the operator sees them; [] where it has none.
func faults(_ text: String, files: [String: String] = usualFiles) -> [String] {
    do {
        _ = try SettingsParser.parse(text, path: "f", files: memory(files))
        return []
    } catch {
        return error.description.split(separator: "\n").map(String.init)
    }
}
