// Wire.swift - what OpenSSL takes for a socket: borrowed bytes on one side, a buffer on the other.
//
// Reading takes from bytes that the caller lends for one call, so ciphertext is copied once, by
// OpenSSL itself. Writing appends to one buffer, which the caller empties after each call.
// OpenSSL's own memory BIO would keep a copy of the input and clear its whole buffer on each reset.

import COpenSSL
import Primitives

/// The far side of one connection; lives behind a pointer that the BIO carries.
struct Wire {
    /// Lent ciphertext that OpenSSL has not taken yet.
    var input = UnsafeRawBufferPointer(start: nil, count: 0)
    private var output: UnsafeMutableRawPointer?
    private(set) var outputBytes = 0
    private var outputCapacity = 0
    /// A larger buffer is given back once it is empty: an idle connection keeps no 16 KiB.
    private static let keptBytes = 2048

    mutating func append(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress, bytes.count > 0 else { return }
        self.reserve(bytes.count)
        self.output?.advanced(by: self.outputBytes).copyMemory(from: start, byteCount: bytes.count)
        self.outputBytes += bytes.count
    }

    /// Makes room for `count` more bytes.
    mutating func reserve(_ count: Int) {
        let needed = self.outputBytes + count
        guard needed > self.outputCapacity else { return }
        let capacity = max(needed, self.outputCapacity * 2, Self.keptBytes)
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        if let output = self.output {
            larger.copyMemory(from: output, byteCount: self.outputBytes)
            output.deallocate()
        }
        self.output = larger
        self.outputCapacity = capacity
    }

    /// What was written, to be copied by the caller before `clear`.
    var written: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.output, count: self.outputBytes)
    }

    mutating func clear() {
        self.outputBytes = 0
        if self.outputCapacity > Self.keptBytes { self.free() }
    }

    mutating func free() {
        self.output?.deallocate()
        self.output = nil
        self.outputBytes = 0
        self.outputCapacity = 0
    }

    /// A BIO over the wire at `wire`, which must outlive it.
    static func makeBIO(_ wire: UnsafeMutablePointer<Wire>) -> OpaquePointer? {
        guard let bio = BIO_new(Self.method) else { return nil }
        BIO_set_data(bio, wire)
        BIO_set_init(bio, 1)
        return bio
    }

    /// Made once. `nonisolated(unsafe)`: never changed after its creation.
    nonisolated(unsafe) private static let method: OpaquePointer? = {
        let kind = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK
        guard let method = BIO_meth_new(kind, "wire") else { return nil }
        BIO_meth_set_read(method) { bio, target, count in
            guard let bio, let target, count > 0, let data = BIO_get_data(bio) else { return 0 }
            let wire = data.assumingMemoryBound(to: Wire.self)
            posthouse_bio_clear_retry(bio)
            let taken = min(Int(count), wire.pointee.input.count)
            guard taken > 0, let start = wire.pointee.input.baseAddress else {
                posthouse_bio_set_retry_read(bio)
                return -1
            }
            UnsafeMutableRawPointer(target).copyMemory(from: start, byteCount: taken)
            wire.pointee.input = UnsafeRawBufferPointer(rebasing: wire.pointee.input[taken...])
            return Int32(taken)
        }
        BIO_meth_set_write(method) { bio, source, count in
            guard let bio, let source, count > 0, let data = BIO_get_data(bio) else { return 0 }
            let wire = data.assumingMemoryBound(to: Wire.self)
            posthouse_bio_clear_retry(bio)
            wire.pointee.append(UnsafeRawBufferPointer(start: source, count: Int(count)))
            return count
        }
        // Flushing succeeds, every other question is answered "no".
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return method
    }()
}
