// Wire.swift - what the links to one node run through: it can be cut, for one peer or for all.
//
// Method    a cut link passes nothing on and is not closed, as when a cable is pulled; mended, what
//           waits goes on, unless an end has given it up. Who dials is found by the process that
//           owns the other end's socket.

import Foundation

/// In front of one node's peer port.
final class Wire: @unchecked Sendable {  // `cut` and `listener` guard themselves
    private struct Cut: Sendable {
        var isWhole = false
        var pids: Set<pid_t> = []
    }

    private let cut = Shared(Cut())
    private let listener = Shared<Listener?>(nil)

    /// - Parameters:
    ///   - port: where peers dial.
    ///   - target: where the node listens.
    init(from port: Int, to target: Int) throws {
        let cut = self.cut
        let listener = try Listener(port: port) { near in
            let owner = near.peerPort.flatMap { Self.owner(ofPort: $0) }
            let isCut: @Sendable (Cut) -> Bool = { cut in
                cut.isWhole || owner.map { cut.pids.contains($0) } ?? false
            }
            guard let far = try? Connection(port: target) else { return near.close() }
            near.seconds = 3600
            far.seconds = 3600
            Thread.detachNewThread { Self.pump(far, near, cut, isCut) }
            Self.pump(near, far, cut, isCut)
        }
        self.listener.with { $0 = listener }
    }

    func stop() {
        self.mend()
        self.listener.current?.stop()
    }

    /// Nothing passes between the node and its peers.
    func cutAll() { self.cut.with { $0.isWhole = true } }

    /// Nothing passes between the node and the process `pid`, where that one dials.
    func cutOff(_ pid: pid_t) { self.cut.with { _ = $0.pids.insert(pid) } }

    func mend() { self.cut.with { $0 = Cut() } }

    private static func pump(
        _ from: Connection, _ to: Connection, _ cut: Shared<Cut>, _ isCut: @Sendable (Cut) -> Bool
    ) {
        while let bytes = try? from.receive() {
            _ = cut.wait(seconds: 3600) { isCut($0) ? nil : true }
            guard (try? to.send(bytes)) != nil else { break }
        }
        // The end of a stream does not pass a cut either.
        _ = cut.wait(seconds: 3600) { isCut($0) ? nil : true }
        from.interrupt()
        to.interrupt()
    }

    /// The process whose socket has this local port on 127.0.0.1.
    private static func owner(ofPort port: Int) -> pid_t? {
        let table = FileManager.default.contents(atPath: "/proc/net/tcp").map {
            String(decoding: $0, as: UTF8.self)
        }
        let local = "0100007F:" + String(format: "%04X", port)
        let row = table?.split(separator: "\n").map { $0.split(separator: " ") }
            .first { $0.count > 9 && $0[1] == local }
        guard let inode = row?[9] else { return nil }
        let files = FileManager.default
        for name in (try? files.contentsOfDirectory(atPath: "/proc")) ?? [] {
            guard let pid = pid_t(name),
                let open = try? files.contentsOfDirectory(atPath: "/proc/\(pid)/fd")
            else { continue }
            let isOwner = open.contains { file in
                (try? files.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\(file)"))
                    == "socket:[\(inode)]"
            }
            if isOwner { return pid }
        }
        return nil
    }
}

extension Fleet {
    /// No other node hears this one, and it hears none; clients reach it.
    func isolate(_ place: Int) throws {
        guard let pid = self.nodes[place].process?.pid else { throw Failure("it does not run") }
        // The node with the lesser name dials.
        self.wires[place].cutAll()
        for other in self.wires[(place + 1)...] { other.cutOff(pid) }
    }

    func mend() { for wire in self.wires { wire.mend() } }
}
