import NIOCore
import NIOPosix
import OpenSSL
import Primitives
import SMTP
import Settings
import Synchronization
import Testing

@testable import Reception

@Suite("Authenticator", .timeLimit(.minutes(1)))
struct AuthenticatorTests {
    private let ledger = Ledger()
    private let loop = MultiThreadedEventLoopGroup.singleton.next()
    private let home = IPAddress(v4: 0xC000_0207)
    private let now = Instant(nanoseconds: 1_000_000_000_000)

    private func users(_ hash: String) -> UserFile {
        var file = UserFile()
        file.set("joe", hash: hash)
        return file
    }

    private func check(
        _ authenticator: Authenticator, _ user: String, _ password: String, _ users: UserFile,
        from address: IPAddress? = nil
    ) async -> AuthDecision {
        let now = self.now
        return await withCheckedContinuation { continuation in
            authenticator.check(
                user: Array(user.utf8), password: Array(password.utf8), from: address ?? self.home,
                users: users, on: self.loop, clock: { now }
            ) { continuation.resume(returning: $0) }
        }
    }

    @Test func `the right password of a known user, and nothing else`() async throws {
        let authenticator = Authenticator(ledger: self.ledger)
        let users = self.users(try #require(PasswordHash.make(Array("pw".utf8))))
        #expect(await self.check(authenticator, "joe", "pw", users) == .user("joe"))
        #expect(await self.check(authenticator, "joe", "pW", users) == .failed)
        #expect(await self.check(authenticator, "jim", "pw", users) == .failed)
        #expect(await self.check(authenticator, "joe", "", users) == .failed)
    }

    @Test func `a success is remembered for this hash only`() async throws {
        let authenticator = Authenticator(ledger: self.ledger)
        let users = self.users(try #require(PasswordHash.make(Array("pw".utf8))))
        #expect(await self.check(authenticator, "joe", "pw", users) == .user("joe"))
        #expect(await self.check(authenticator, "joe", "pw", users) == .user("joe"))
        // The password was changed: what is remembered does not open the door.
        let changed = self.users(try #require(PasswordHash.make(Array("new".utf8))))
        #expect(await self.check(authenticator, "joe", "pw", changed) == .failed)
        #expect(await self.check(authenticator, "joe", "pw", UserFile()) == .failed)
    }

    @Test func `after the last failure that is allowed not even the right password helps`()
        async throws
    {
        let authenticator = Authenticator(ledger: self.ledger)
        let users = self.users(try #require(PasswordHash.make(Array("pw".utf8))))
        for _ in 1..<Ledger.Limit.authFailuresPerAddress {
            self.ledger.noteFailure(user: "x", from: self.home, at: self.now)
        }
        #expect(await self.check(authenticator, "joe", "no", users) == .failed)
        #expect(await self.check(authenticator, "joe", "pw", users) == .tooMany)
        let elsewhere = IPAddress(v4: 1)
        #expect(
            await self.check(authenticator, "joe", "pw", users, from: elsewhere) == .user("joe"))
        for i in 0..<Ledger.Limit.authFailuresPerUser {
            self.ledger.noteFailure(user: "joe", from: IPAddress(v4: UInt32(100 + i)), at: self.now)
        }
        #expect(
            await self.check(authenticator, "joe", "pw", users, from: elsewhere) == .unavailable)
    }
}
