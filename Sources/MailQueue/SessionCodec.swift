// SessionCodec.swift - sessions and the results they are owed, for the meta blob.

import Primitives

extension CommandResult {
    func encode(into writer: inout ByteWriter) {
        switch self {
        case .done: writer.u8(1)
        case .enqueued(let recipients):
            writer.u8(2)
            writer.varint(UInt64(recipients))
        case .sessionOpened(let session):
            writer.u8(3)
            writer.varint(session.raw)
        case .cancelled: writer.u8(4)
        case .late(let recipients):
            writer.u8(5)
            writer.varint(UInt64(recipients))
        case .changed(let deliveries, let inFlight):
            writer.u8(6)
            writer.varint(UInt64(deliveries))
            writer.varint(UInt64(inFlight))
        case .refused(let refusal):
            writer.u8(7)
            writer.u8(refusal.rawValue)
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        let max = Int(UInt32.max)
        switch try reader.u8() {
        case 1: self = .done
        case 2: self = .enqueued(recipients: UInt32(try reader.count(atMost: max)))
        case 3: self = .sessionOpened(SessionID(raw: try reader.varint()))
        case 4: self = .cancelled
        case 5: self = .late(recipients: UInt32(try reader.count(atMost: max)))
        case 6:
            let deliveries = UInt32(try reader.count(atMost: max))
            self = .changed(
                deliveries: deliveries, inFlight: UInt32(try reader.count(atMost: max)))
        case 7:
            guard let refusal = Refusal(rawValue: try reader.u8()) else {
                throw .unknown("refusal")
            }
            self = .refused(refusal)
        case _: throw .unknown("result")
        }
    }
}

extension ResultWindow {
    func encode(into writer: inout ByteWriter) {
        writer.varint(self.base)
        writer.varint(self.entries.count)
        for entry in self.entries {
            switch entry {
            case .unknown: writer.u8(0)
            case .acknowledged: writer.u8(8)
            case .known(let result): result.encode(into: &writer)
            }
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        let base = try reader.varint()
        var entries: [Entry] = []
        for _ in 0..<(try reader.count(atMost: Int(Self.widthMax))) {
            var ahead = reader
            switch try ahead.u8() {
            case 0:
                entries.append(.unknown)
                reader = ahead
            case 8:
                entries.append(.acknowledged)
                reader = ahead
            case _: entries.append(.known(try CommandResult(from: &reader)))
            }
        }
        self.init(base: base, entries: entries)
    }
}

extension Session {
    /// Leases are counted again from the rows.
    func encode(into writer: inout ByteWriter) {
        writer.varint(self.id.raw)
        writer.varint(UInt64(self.node))
        writer.u64(self.disk.raw)
        writer.u64(self.nonce)
        writer.varint(UInt64(self.credit))
        writer.bool(self.delivers)
        self.timing.encode(into: &writer)
        writer.bool(self.isOpen)
        writer.varint(self.freeAt)
        self.results.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        self.init(
            id: SessionID(raw: try reader.varint()),
            node: UInt16(try reader.count(atMost: Int(UInt16.max))),
            disk: Incarnation(raw: try reader.u64()), nonce: try reader.u64(),
            credit: UInt32(try reader.count(atMost: Int(UInt32.max))), delivers: try reader.bool(),
            timing: try SessionTiming(from: &reader))
        self.isOpen = try reader.bool()
        self.freeAt = try reader.varint()
        self.results = try ResultWindow(from: &reader)
    }
}
