import NIOCore
import NIOPosix
import Primitives
import Synchronization

/// A name server of the test's own, UDP and TCP on one port of loopback.
final class DNSServer: Sendable {
    enum Record: Sendable {
        case mx(UInt16, String)
        case a(String)
        case aaaa(String)
        case cname(String)
        case raw(UInt16, [UInt8])
    }
    enum Reply: Sendable {
        /// NOERROR with these records; none: the name exists and has nothing of this type.
        case records([Record], ttl: UInt32 = 300)
        case code(UInt8)
        case silence
    }
    static let mx: UInt16 = 15
    static let a: UInt16 = 1
    static let aaaa: UInt16 = 28

    struct Asked: Hashable, Sendable {
        var name: String
        var type: UInt16
    }
    private struct State {
        var zone: [Asked: Reply] = [:]
        var counts: [Asked: Int] = [:]
        var tcpQuestions = 0
    }
    private let state: Mutex<State>
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let channels: Mutex<[any Channel]>
    let port: Int

    /// `zone`: by name and type; a name that is in it for another type has no data, else NXDOMAIN.
    init(_ zone: [(String, UInt16, Reply)]) async throws {
        var table: [Asked: Reply] = [:]
        for (name, type, reply) in zone { table[Asked(name: name, type: type)] = reply }
        self.state = Mutex(State(zone: table))
        self.channels = Mutex([])
        let loop = self.group.next()
        var bound: (any Channel, any Channel, Int)?
        let holder = Holder()
        for _ in 0..<20 where bound == nil {
            let udp = try await DatagramBootstrap(group: loop)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(UDPHandler(holder))
                    }
                }.bind(host: "127.0.0.1", port: 0).get()
            let port = udp.localAddress!.port!
            do {
                let tcp = try await ServerBootstrap(group: loop)
                    .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
                    .childChannelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(TCPHandler(holder))
                        }
                    }.bind(host: "127.0.0.1", port: port).get()
                bound = (udp, tcp, port)
            } catch {
                try await udp.close()
            }
        }
        let (udp, tcp, port) = bound!
        self.port = port
        self.channels.withLock { $0 = [udp, tcp] }
        holder.server.withLock { $0 = self }
    }

    final class Holder: Sendable {
        let server = Mutex<DNSServer?>(nil)
        func answer(_ question: ByteBuffer, limit: Int) -> ByteBuffer? {
            self.server.withLock { $0 }?.answer(question, limit: limit)
        }
    }

    func stop() async throws {
        for channel in self.channels.withLock({ $0 }) { try await channel.close() }
        try await self.group.shutdownGracefully()
    }

    func count(_ name: String, _ type: UInt16) -> Int {
        self.state.withLock { $0.counts[Asked(name: name, type: type)] ?? 0 }
    }
    var tcpQuestions: Int { self.state.withLock { $0.tcpQuestions } }

    private func answer(_ question: ByteBuffer, limit: Int) -> ByteBuffer? {
        var rest = question
        guard let id = rest.readInteger(as: UInt16.self), rest.readSlice(length: 10) != nil else {
            return nil
        }
        let start = rest.readerIndex
        var labels: [String] = []
        while let length = rest.readInteger(as: UInt8.self), length > 0 {
            labels.append(rest.readString(length: Int(length)) ?? "")
        }
        let type = rest.readInteger(as: UInt16.self) ?? 0
        _ = rest.readInteger(as: UInt16.self)
        let asked = question.getSlice(at: start, length: rest.readerIndex - start)!
        let name = labels.joined(separator: ".").lowercased()
        let reply: Reply = self.state.withLock { state in
            let key = Asked(name: name, type: type)
            state.counts[key, default: 0] += 1
            if limit > 1232 { state.tcpQuestions += 1 }
            if let reply = state.zone[key] { return reply }
            return state.zone.keys.contains { $0.name == name } ? .records([]) : .code(3)
        }
        var code: UInt8 = 0
        var records: [Record] = []
        var ttl: UInt32 = 300
        switch reply {
        case .silence: return nil
        case .code(let value): code = value
        case .records(let list, let time):
            records = list
            ttl = time
        }
        let whole = Self.message(id, 0x8180 | UInt16(code), asked, name, records, ttl)
        if whole.readableBytes <= limit { return whole }
        return Self.message(id, 0x8380, asked, name, [], ttl)
    }

    private static func message(
        _ id: UInt16, _ flags: UInt16, _ question: ByteBuffer, _ name: String,
        _ records: [Record], _ ttl: UInt32
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(id)
        buffer.writeInteger(flags)
        buffer.writeMultipleIntegers(UInt16(1), UInt16(records.count), UInt16(0), UInt16(0))
        buffer.writeImmutableBuffer(question)
        var owner = name
        for record in records {
            Self.write(owner, &buffer)
            var data = ByteBuffer()
            let type: UInt16
            switch record {
            case .mx(let preference, let host):
                type = Self.mx
                data.writeInteger(preference)
                Self.write(host, &data)
            case .a(let text):
                type = Self.a
                for part in text.split(separator: ".") { data.writeInteger(UInt8(part)!) }
            case .aaaa(let text):
                type = Self.aaaa
                data.writeBytes(IPAddress(text)!.bytes)
            case .cname(let target):
                type = 5
                Self.write(target, &data)
            case .raw(let number, let bytes):
                type = number
                data.writeBytes(bytes)
            }
            buffer.writeMultipleIntegers(type, UInt16(1), ttl)
            buffer.writeInteger(UInt16(data.readableBytes))
            buffer.writeBuffer(&data)
            // What follows a CNAME belongs to its target.
            if case .cname(let target) = record { owner = target }
        }
        return buffer
    }

    private static func write(_ name: String, _ buffer: inout ByteBuffer) {
        for label in name.split(separator: ".") {
            buffer.writeInteger(UInt8(label.utf8.count))
            buffer.writeString(String(label))
        }
        buffer.writeInteger(UInt8(0))
    }
}

private final class UDPHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>
    private let holder: DNSServer.Holder
    init(_ holder: DNSServer.Holder) { self.holder = holder }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = Self.unwrapInboundIn(data)
        guard let answer = self.holder.answer(envelope.data, limit: 1232) else { return }
        let reply = AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: answer)
        context.writeAndFlush(Self.wrapOutboundOut(reply), promise: nil)
    }
}

private final class TCPHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let holder: DNSServer.Holder
    private var received = ByteBuffer()
    init(_ holder: DNSServer.Holder) { self.holder = holder }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.received.writeImmutableBuffer(Self.unwrapInboundIn(data))
        while let question = self.received.readLengthPrefixedSlice(as: UInt16.self) {
            guard let answer = self.holder.answer(question, limit: 65_535) else { continue }
            var framed = ByteBuffer()
            framed.writeInteger(UInt16(answer.readableBytes))
            framed.writeImmutableBuffer(answer)
            context.writeAndFlush(Self.wrapOutboundOut(framed), promise: nil)
        }
    }
}
