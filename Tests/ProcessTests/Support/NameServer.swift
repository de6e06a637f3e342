// NameServer.swift - a small DNS server on UDP for tests of MX (RFC 1035).

import Foundation

final class NameServer: Sendable {
    enum Record: Sendable {
        case a(String)
        case mx(Int, String)
        case cname(String)
        /// The server cannot say.
        case fails
    }

    let port: Int
    private let descriptor: Int32
    private let records: Shared<[String: [Record]]>
    /// Each question's name and type, in order.
    let questions = Shared<[(name: String, type: Int)]>([])

    /// - Parameter records: by name, in lower case, without a final dot.
    init(_ records: [String: [Record]]) throws {
        self.records = Shared(records)
        self.descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        self.port = try bound(self.descriptor, "127.0.0.1", 0)
        let (descriptor, records, questions) = (self.descriptor, self.records, self.questions)
        Thread.detachNewThread {
            Self.serve(descriptor) { query in
                Self.answer(query, records.current) { name, type in
                    questions.with { $0.append((name, type)) }
                }
            }
        }
    }

    deinit {
        // Wakes the thread; the descriptor goes with it.
        shutdown(self.descriptor, Int32(SHUT_RDWR))
    }

    func set(_ name: String, _ records: [Record]) { self.records.with { $0[name] = records } }

    private static func serve(_ descriptor: Int32, _ answer: ([UInt8]) -> [UInt8]?) {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            var peer = sockaddr_in()
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = withUnsafeMutablePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    recvfrom(descriptor, &buffer, buffer.count, 0, $0, &size)
                }
            }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { break }
            guard let reply = answer(Array(buffer[..<count])) else { continue }
            withUnsafePointer(to: &peer) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    _ = sendto(descriptor, reply, reply.count, 0, $0, size)
                }
            }
        }
        Glibc.close(descriptor)
    }

    private static func answer(
        _ query: [UInt8], _ records: [String: [Record]], note: (String, Int) -> Void
    ) -> [UInt8]? {
        guard query.count > 16 else { return nil }
        var labels: [String] = []
        var i = 12
        while i < query.count, query[i] != 0 {
            let end = i + 1 + Int(query[i])
            guard end < query.count else { return nil }
            labels.append(String(decoding: query[(i + 1)..<end], as: UTF8.self))
            i = end
        }
        guard i + 5 <= query.count else { return nil }
        let name = labels.joined(separator: ".").lowercased()
        let type = Int(query[i + 1]) << 8 | Int(query[i + 2])
        note(name, type)
        let question = query[12..<(i + 5)]
        let (code, answers) = self.answers(name, type, records)
        var reply = Array(query[0..<2])
        reply += [0x85 | (query[2] & 1), 0x80 | UInt8(code)]
        reply += [0, 1, UInt8(answers.count >> 8), UInt8(answers.count & 0xFF), 0, 0, 0, 0]
        return reply + question + answers.flatMap { $0 }
    }

    private static func answers(
        _ name: String, _ type: Int, _ records: [String: [Record]]
    ) -> (code: Int, answers: [[UInt8]]) {
        guard let found = records[name] else { return (3, []) }
        var answers: [[UInt8]] = []
        for record in found {
            switch (record, type) {
            case (.fails, _): return (2, [])
            case (.a(let address), 1):
                let bytes = address.split(separator: ".").compactMap { UInt8($0) }
                answers.append(self.resource(name, 1, bytes))
            case (.mx(let preference, let host), 15):
                let data = [UInt8(preference >> 8), UInt8(preference & 0xFF)] + self.wire(host)
                answers.append(self.resource(name, 15, data))
            case (.cname(let target), _):
                answers.append(self.resource(name, 5, self.wire(target)))
                // One step only: what points further is for the asker to follow.
                let next = (records[target] ?? []).filter { next in
                    if case .cname = next { return false } else { return true }
                }
                if type != 5 { answers += self.answers(target, type, [target: next]).answers }
            case _: continue
            }
        }
        return (0, answers)
    }

    private static func resource(_ name: String, _ type: UInt8, _ data: [UInt8]) -> [UInt8] {
        self.wire(name) + [0, type, 0, 1, 0, 0, 0, 60]
            + [UInt8(data.count >> 8), UInt8(data.count & 0xFF)] + data
    }

    /// A name as labels; "." or "" is the root.
    private static func wire(_ name: String) -> [UInt8] {
        name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }
}
