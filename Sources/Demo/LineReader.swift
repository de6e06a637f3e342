// LineReader.swift - lines of a byte stream.
//
// Limits    lineBytesMax; a longer line ends the connection.

import NIOCore

struct LineReader {
    static let lineBytesMax = 1 << 20
    private var buffer = ByteBuffer()
    /// How far the buffer has been searched.
    private var searched = 0

    mutating func append(_ part: inout ByteBuffer) {
        self.buffer.discardReadBytes()
        self.buffer.writeBuffer(&part)
    }

    var isTooLong: Bool { self.searched > Self.lineBytesMax }

    /// The next line without its end; nil: not there yet.
    mutating func next() -> ByteBuffer? {
        let rest = self.buffer.readableBytesView.dropFirst(self.searched)
        guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else {
            self.searched = self.buffer.readableBytes
            return nil
        }
        let count = end - self.buffer.readerIndex
        self.searched = 0
        guard var line = self.buffer.readSlice(length: count) else { return nil }
        self.buffer.moveReaderIndex(forwardBy: 1)
        if line.readableBytesView.last == UInt8(ascii: "\r") {
            line.moveWriterIndex(to: line.writerIndex - 1)
        }
        return line
    }
}
