// StreamSender.swift - one body on its way to one peer that is to hold it, while it arrives here.
//
// Takes     the chunks as they stand in the own journal, whoever is how far; then the end.
// Gives     bodyOpen, bodyChunk, bodyEnd, in the pace of the link: a peer that is slow or was asked
//           late stands in nobody's way, and costs no memory but one chunk.
// Never     a chunk that the own journal has not synced: it is read from there.
// Races     1 a chunk is asked for that is not written yet; 2 it is written and synced; 3 the
//           answer to 1 comes. So the wish to be woken is said before the question, and being woken
//           while a question is open asks it again.
// See       BodyPlacement (to whom), NodeHolding (the other side).

import NIOCore
package import Primitives
import Spool
import Storage
import Synchronization

/// Confined to the node's loop.
final class StreamSender {
    private unowned let node: Node
    private let stream: BodyStream
    let holder: Holder
    /// On the link.
    let number: UInt64
    private var isOpened = false
    private var isOver = false
    /// Chunks that were handed to the link.
    private var sent: UInt32 = 0
    /// The next one, read and not sent.
    private var chunk: [UInt8]?
    private var isReading = false
    /// The next one is not in the journal yet.
    private var isWaiting = false
    private var isWoken = false

    init(_ node: Node, _ stream: BodyStream, to holder: Holder, number: UInt64) {
        self.node = node
        self.stream = stream
        self.holder = holder
        self.number = number
    }

    var key: PlacingKey { .stream(self.stream) }

    /// The link takes more, or more has come, or the end is known.
    func goOn() {
        while !self.isOver, !self.isReading, self.node.mesh?.isWritable(self.holder.node) == true {
            if !self.isOpened {
                self.isOpened = true
                self.send(.bodyOpen(stream: self.number))
            } else if let chunk {
                self.chunk = nil
                self.send(
                    .bodyChunk(
                        stream: self.number, number: UInt64(self.sent),
                        blocks: ByteBuffer(bytes: chunk)))
                self.sent += 1
                self.node.taken(self.key, self.holder, chunks: self.sent)
            } else if let ended = self.node.placings[self.key]?.ended,
                self.sent == ended.seal.blockCount
            {
                self.send(.bodyEnd(stream: self.number, tag: ended.tag, ended.seal))
                self.end()
            } else if self.isWaiting {
                return
            } else {
                self.read()
            }
        }
    }

    private func read() {
        self.isReading = true
        self.isWoken = false
        self.node.shared.streamsWait.store(true, ordering: .sequentiallyConsistent)
        let bound = NIOLoopBound(self, eventLoop: self.node.loop)
        let loop = self.node.loop
        self.node.storage.readChunk(self.stream, Int(self.sent)) { result in
            loop.execute { bound.value.read(result) }
        }
    }

    private func read(_ result: Result<[UInt8]?, BodyError>) {
        self.isReading = false
        guard !self.isOver else { return }
        switch result {
        case .success(let chunk?):
            self.chunk = chunk
            self.goOn()
        case .success(nil):
            self.isWaiting = !self.isWoken
            self.goOn()
        case .failure:
            self.abandon()
            self.node.refused(self.key, self.holder)
        }
    }

    /// The journal has been written.
    func wake() {
        self.isWoken = true
        self.isWaiting = false
        self.goOn()
    }

    /// The peer's copy is not wanted any more.
    func abandon() {
        if !self.isOver, self.isOpened { self.send(.bodyAbandoned(stream: self.number)) }
        self.end()
    }

    /// Nothing more is sent.
    func end() {
        guard !self.isOver else { return }
        self.isOver = true
        self.node.streamSenders.removeAll { $0 === self }
    }

    /// What a link does not take now is lost with it: it is down.
    private func send(_ message: PeerMessage) {
        _ = self.node.mesh?.send(message, to: self.holder.node)
    }
}

extension Node {
    /// A batch was written and synced. From the writer's thread.
    func journalSynced(in duration: Duration) {
        self.metrics.synced(in: duration)
        guard self.shared.streamsWait.exchange(false, ordering: .sequentiallyConsistent) else {
            return
        }
        self.loop.execute { for sender in self.streamSenders { sender.wake() } }
    }

    /// Bodies of peers are read from their links while the own journal keeps up.
    package func mayRead(from node: NodeName) -> Bool { self.storage.mayTakeBytes }

    /// The journal has caught up: links that were left unread are read.
    func resumeLinks() {
        guard self.storage.mayTakeBytes, let mesh else { return }
        for line in self.directory.lines { mesh.resumeReading(from: line.name) }
    }
}
