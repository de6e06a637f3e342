// SmallDisk.swift - a file system in memory that can be filled; needs root.

import Foundation

final class SmallDisk {
    let path: String

    init(megabytes: Int) throws {
        var template = Array("/tmp/posthouse-disk.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("mkdtemp: errno \(errno)") }
        self.path = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let made = try run(
            "mount", ["-t", "tmpfs", "-o", "size=\(megabytes)m", "posthouse-test", self.path])
        guard made.status == 0 else { throw Failure("mount: \(made.errorText)") }
    }

    /// Writes zeros until nothing is left.
    func fill() throws {
        let ended = try run("dd", ["if=/dev/zero", "of=\(self.path)/filler", "bs=64k"])
        guard ended.errorText.contains("No space left") else { throw Failure(ended.errorText) }
    }

    func empty() throws {
        try FileManager.default.removeItem(atPath: self.path + "/filler")
    }

    deinit {
        do {
            try run("umount", ["-l", self.path])
            try FileManager.default.removeItem(atPath: self.path)
        } catch {
            print("cannot remove \(self.path): \(error)")
        }
    }

    static let isPossible: Bool = {
        guard geteuid() == 0 else { return false }
        do {
            _ = try SmallDisk(megabytes: 1)
            return true
        } catch {
            return false
        }
    }()
}
