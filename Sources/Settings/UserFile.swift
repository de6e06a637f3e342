// UserFile.swift - the credentials file for AUTH: one `name:hash` per line.
//
// Takes     the whole text; blank lines and lines that start with `#` are kept as they are.
// Gives     the hash of a name, and the text back with users set or removed.
// Never     the file system (Console rewrites it), passwords (only their hashes).

/// What is wrong with one line of a credentials file.
package struct UserFileFault: Error, Hashable, Sendable {
    /// Counts from 1.
    package var line: Int
    package var what: String

    package init(line: Int, what: String) {
        self.line = line
        self.what = what
    }
}

/// A credentials file in memory.
package struct UserFile: Hashable, Sendable {
    /// Bytes of a user name, at most (RFC 4616 §2 allows 255 for `authcid`).
    package static let nameBytesLimit = 255
    /// Users in one file, at most.
    package static let userLimit = 100_000

    private enum Line: Hashable, Sendable {
        case other(String)
        case user(name: String, hash: String)
    }
    private var lines: [Line] = []
    private var places: [String: Int] = [:]

    /// An empty file.
    package init() {}

    /// Reads a file's text.
    ///
    /// - Throws: the first line that is neither blank, a comment nor `name:hash`, or that names a
    ///   user for the second time.
    package init(_ text: String) throws(UserFileFault) {
        var rest = text.split(separator: "\n", omittingEmptySubsequences: false)
        if rest.last == "" { rest.removeLast() }
        for (index, raw) in rest.enumerated() {
            let line = raw.last == "\r" ? raw.dropLast() : raw
            if line.allSatisfy({ $0 == " " || $0 == "\t" }) || line.first == "#" {
                self.lines.append(.other(String(line)))
                continue
            }
            guard let colon = line.firstIndex(of: ":") else {
                throw UserFileFault(line: index + 1, what: "no colon between name and hash")
            }
            let name = String(line[..<colon])
            let hash = String(line[line.index(after: colon)...])
            guard Self.isValid(name: name) else {
                throw UserFileFault(line: index + 1, what: "not a valid user name")
            }
            guard Self.isValid(hash: hash) else {
                throw UserFileFault(line: index + 1, what: "not a password hash")
            }
            guard self.places[name] == nil else {
                throw UserFileFault(line: index + 1, what: "user \(name) stands here twice")
            }
            guard self.places.count < Self.userLimit else {
                throw UserFileFault(line: index + 1, what: "more than \(Self.userLimit) users")
            }
            self.places[name] = self.lines.count
            self.lines.append(.user(name: name, hash: hash))
        }
    }

    /// Users in the file.
    package var count: Int { self.places.count }

    /// The names, in the order of the file.
    package var names: [String] {
        self.lines.compactMap { line in
            switch line {
            case .user(let name, _): name
            case .other: nil
            }
        }
    }

    /// The password hash of `name`; nil: no such user. Names are compared byte by byte.
    package func hash(of name: String) -> String? {
        guard let place = self.places[name] else { return nil }
        switch self.lines[place] {
        case .user(_, let hash): return hash
        case .other: return nil
        }
    }

    /// Adds a user, or gives one another hash. Both must be valid (`isValid`).
    package mutating func set(_ name: String, hash: String) {
        precondition(Self.isValid(name: name) && Self.isValid(hash: hash), "checked by the caller")
        let line = Line.user(name: name, hash: hash)
        if let place = self.places[name] {
            self.lines[place] = line
        } else {
            self.places[name] = self.lines.count
            self.lines.append(line)
        }
    }

    /// Removes a user.
    ///
    /// - Returns: false if there was none of that name.
    package mutating func remove(_ name: String) -> Bool {
        guard let place = self.places.removeValue(forKey: name) else { return false }
        self.lines.remove(at: place)
        for index in place..<self.lines.count {
            switch self.lines[index] {
            case .user(let other, _): self.places[other] = index
            case .other: continue
            }
        }
        return true
    }

    /// The file's text, each line ended by LF.
    package var text: String {
        self.lines.map { line in
            switch line {
            case .other(let text): text + "\n"
            case .user(let name, let hash): "\(name):\(hash)\n"
            }
        }.joined()
    }

    /// 1 … 255 bytes, no colon, space or control character, not `#` first.
    package static func isValid(name: String) -> Bool {
        (1...Self.nameBytesLimit).contains(name.utf8.count)
            && name.utf8.first != UInt8(ascii: "#")
            && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: ":") }
    }

    /// 1 … 512 printable ASCII characters without spaces.
    package static func isValid(hash: String) -> Bool {
        (1...512).contains(hash.utf8.count) && hash.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }
}
