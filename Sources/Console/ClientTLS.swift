// ClientTLS.swift - https for the admin client: OpenSSL under a NIO pipeline.
//
// Takes     ciphertext from the socket, plaintext from the HTTP handlers.
// Gives     the same the other way round; errors of the handshake as errors of the pipeline.

import NIOCore
import OpenSSL

final class ClientTLS: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What one read decrypts at most before it is handed on.
    private static let pieceBytes = 16 << 10

    private let connection: TLSConnection
    /// Written before the handshake was over.
    private var early: [ByteBuffer] = []
    private var isEstablished = false

    init(_ connection: TLSConnection) {
        self.connection = connection
    }

    /// - Parameter authority: a PEM file; nil: what the system trusts.
    static func context(authority: String?) throws(CommandFailure) -> TLSClientContext {
        do {
            return try TLSClientContext(trust: authority.map { .authority($0) } ?? .system)
        } catch {
            throw CommandFailure(.configuration, "\(error.detail); \(error.remedy)")
        }
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { self.shakeHands(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.shakeHands(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let ciphertext = self.unwrapInboundIn(data)
        ciphertext.withUnsafeReadableBytes { bytes in
            self.connection.withInput(bytes) {
                if !self.isEstablished { self.shakeHands(context) }
                if self.isEstablished { self.decrypt(context) }
            }
        }
        self.send(context)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let plaintext = self.unwrapOutboundIn(data)
        promise?.succeed()
        if self.isEstablished {
            self.encrypt(plaintext, context)
        } else {
            self.early.append(plaintext)
        }
    }

    func flush(context: ChannelHandlerContext) { self.send(context) }

    private func shakeHands(_ context: ChannelHandlerContext) {
        switch self.connection.handshake() {
        case .finished:
            self.isEstablished = true
            let early = self.early
            self.early = []
            for buffer in early { self.encrypt(buffer, context) }
        case .failed(let error):
            context.fireErrorCaught(error)
        case .wantsInput: break
        }
        self.send(context)
    }

    private func encrypt(_ plaintext: ByteBuffer, _ context: ChannelHandlerContext) {
        let error = plaintext.withUnsafeReadableBytes { self.connection.write($0) }
        if let error { context.fireErrorCaught(error) }
    }

    private func decrypt(_ context: ChannelHandlerContext) {
        while true {
            var plaintext = context.channel.allocator.buffer(capacity: Self.pieceBytes)
            var result = TLSConnection.Read.wantsInput
            plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.pieceBytes) { room in
                result = self.connection.read(into: room)
                if case .bytes(let count) = result { return count }
                return 0
            }
            switch result {
            case .bytes: context.fireChannelRead(self.wrapInboundOut(plaintext))
            case .wantsInput: return
            case .peerClosed:
                context.close(promise: nil)
                return
            case .failed(let error):
                context.fireErrorCaught(error)
                return
            }
        }
    }

    private func send(_ context: ChannelHandlerContext) {
        guard self.connection.outputBytes > 0 else { return }
        let buffer = self.connection.takeOutput { context.channel.allocator.buffer(bytes: $0) }
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }
}
