import Cluster
import NIOCore
import NIOEmbedded
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Reception

@Suite("Memory of all messages on their way in")
struct ContentMemoryTests {
    private static let mail = "MAIL FROM:<a@x>\r\nRCPT TO:<b@ours.example>\r\n"

    @Test func `up to the limit is noted, one byte more is not`() {
        let memory = ContentMemory(bytes: 100, admittedBytes: 50)
        #expect(memory.change(from: 0, to: 49))
        #expect(memory.hasRoom)
        #expect(memory.change(from: 49, to: 50))
        #expect(!memory.hasRoom)
        #expect(memory.change(from: 0, to: 50))
        #expect(memory.heldBytes == 100)
        #expect(!memory.change(from: 50, to: 51))
        #expect(memory.heldBytes == 100)
        #expect(memory.change(from: 50, to: 0))
        #expect(memory.heldBytes == 50)
    }

    @Test func `many small messages fill it: the next is refused at MAIL, then taken again`() throws
    {
        let memory = ContentMemory(bytes: 100, admittedBytes: 50)
        let first = try Desk(memory: memory).hello()
        try first.send(Self.mail + "DATA\r\n" + String(repeating: "x", count: 49))
        let second = try Desk(memory: memory).hello()
        try second.send(Self.mail + "DATA\r\ny")
        #expect(memory.heldBytes == 50)
        let third = try Desk(memory: memory).hello()
        let refused = "452 4.3.1 Insufficient storage, try again later"
        #expect(try third.send("MAIL FROM:<a@x>\r\n") == refused)
        #expect(try second.send("\r\n.\r\n") == "250 2.0.0 Ok id=1-1")
        #expect(memory.heldBytes == 49)
        #expect(try third.send("MAIL FROM:<a@x>\r\n") == "250 2.1.0 Ok")
        try second.send(Self.mail + "DATA\r\ny")
        #expect(try third.send("RCPT TO:<b@ours.example>\r\nDATA\r\n").hasSuffix(refused))
        #expect(try third.send("NOOP\r\n") == "250 2.0.0 Ok")
    }

    @Test func `at the limit a message is taken, one byte beyond it is refused and forgotten`()
        throws
    {
        for (count, reply) in [(98, "250 2.0.0 Ok id=1-1"), (99, "452 4.3.1 Insufficient")] {
            let memory = ContentMemory(bytes: 100, admittedBytes: 100)
            let desk = try Desk(memory: memory).hello()
            try desk.send(Self.mail + "DATA\r\n" + String(repeating: "x", count: count))
            #expect(memory.heldBytes == count)
            // CRLF is content, the dot is not.
            #expect(try desk.send("\r\n.\r\n").hasPrefix(reply))
            #expect(memory.heldBytes == 0)
            // The session goes on.
            #expect(try desk.send(Self.mail + "DATA\r\nx\r\n.\r\n").contains("250 2.0.0 Ok id="))
        }
    }

    @Test func `what comes behind the refusal is read over, however much`() throws {
        let memory = ContentMemory(bytes: 100, admittedBytes: 100)
        let desk = try Desk(memory: memory).hello()
        try desk.send(Self.mail + "DATA\r\n" + String(repeating: "x", count: 101))
        #expect(memory.heldBytes == 0)
        #expect(desk.door.state.withLock { $0.abandoned } == 1)
        for _ in 0..<10 {
            #expect(try desk.send(String(repeating: "y", count: 1000)) == "")
            #expect(memory.heldBytes == 0)
        }
        #expect(try desk.send("\r\n.\r\n").hasPrefix("452 4.3.1"))
        #expect(desk.door.messages == [])
    }

    @Test func `what is kept for speed only is given up first`() throws {
        let memory = ContentMemory(bytes: 100, admittedBytes: 50)
        let desk = try Desk(memory: memory).hello()
        desk.door.state.withLock { $0.canShed = true }
        try desk.send(Self.mail + "DATA\r\n" + String(repeating: "x", count: 40))
        #expect(memory.heldBytes == 40)
        let other = try Desk(memory: memory).hello()
        try other.send(Self.mail + "DATA\r\n" + String(repeating: "x", count: 20))
        #expect(memory.heldBytes == 60)
        try desk.send("x")
        #expect(memory.heldBytes == 20)
        #expect(try desk.send("\r\n.\r\n") == "250 2.0.0 Ok id=1-1")
    }

    @Test func `until the verdict a message is held, also when its client has gone`() throws {
        let memory = ContentMemory(bytes: 100, admittedBytes: 50)
        let desk = try Desk(memory: memory).hello()
        desk.door.state.withLock { $0.isHolding = true }
        try desk.send(Self.mail + "DATA\r\nabc\r\n.\r\n")
        #expect(memory.heldBytes == 5)
        _ = try desk.channel.finish(acceptAlreadyClosed: true)
        #expect(memory.heldBytes == 5)
        desk.door.last.withLock { $0?.value.decide?() }
        #expect(memory.heldBytes == 0)
        let gone = try Desk(memory: memory).hello()
        try gone.send(Self.mail + "DATA\r\nabc")
        #expect(memory.heldBytes == 3)
        _ = try gone.channel.finish(acceptAlreadyClosed: true)
        #expect(memory.heldBytes == 0)
    }
}
