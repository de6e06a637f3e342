import Foundation
import Glibc
import Synchronization

/// An HTTP server of one test: answers each request by `answer`, notes what was asked.
final class FakeNode: Sendable {
    struct Request: Equatable, Sendable {
        var line: String
        var headers: [String: String]
        var body: String
    }
    struct Answer: Sendable {
        var status: Int
        var body: String
    }

    private let socket: Int32
    let port: Int
    private let seen = Mutex<[Request]>([])

    var requests: [Request] { self.seen.withLock { $0 } }
    var url: String { "http://127.0.0.1:\(self.port)" }

    init(_ answer: @escaping @Sendable (Request) -> Answer) {
        self.socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let socket = self.socket
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                precondition(bind(socket, address, size) == 0 && listen(socket, 16) == 0)
                precondition(getsockname(socket, address, &size) == 0)
            }
        }
        self.port = Int(UInt16(bigEndian: address.sin_port))
        Thread {
            while true {
                let client = accept(socket, nil, nil)
                guard client >= 0 else { return }
                var limit = timeval(tv_sec: 10, tv_usec: 0)
                setsockopt(
                    client, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
                let request = FakeNode.read(client)
                self.seen.withLock { $0.append(request) }
                let reply = answer(request)
                let text =
                    "HTTP/1.1 \(reply.status) X\r\nContent-Length: \(reply.body.utf8.count)\r\n"
                    + "Connection: close\r\n\r\n" + reply.body
                _ = send(client, text, text.utf8.count, Int32(MSG_NOSIGNAL))
                shutdown(client, Int32(SHUT_WR))
                close(client)
            }
        }.start()
    }

    /// Without it the port stays taken, so that no other test's node ever answers in its place.
    func stop() {
        shutdown(self.socket, Int32(SHUT_RDWR))
        close(self.socket)
    }

    private static func read(_ client: Int32) -> Request {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        var request = Request(line: "", headers: [:], body: "")
        while true {
            let count = recv(client, &chunk, chunk.count, 0)
            guard count > 0 else { return request }
            bytes += chunk[0..<count]
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.range(of: "\r\n\r\n") else { continue }
            let lines = text[..<end.lowerBound].components(separatedBy: "\r\n")
            request.line = lines[0]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                request.headers[parts[0].lowercased()] =
                    String(parts[1]).trimmingCharacters(in: .whitespaces)
            }
            request.body = String(text[end.upperBound...])
            if request.body.utf8.count >= Int(request.headers["content-length"] ?? "0")! {
                return request
            }
        }
    }
}
