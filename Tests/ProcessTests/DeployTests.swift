// DeployTests.swift - what is shipped beside the program is right.

import Foundation
import Testing

extension ProcessTests {
    @Suite("Deployment", .timeLimit(.minutes(5))) struct DeployTests {
        private static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .path

        /// The unit with a program that exists on this machine.
        private func unit(_ folder: Folder) throws -> String {
            let text = try String(
                contentsOfFile: Self.root + "/Deploy/systemd/posthouse.service", encoding: .utf8)
            return try folder.write(
                "posthouse.service",
                text.replacing("/usr/bin/posthouse", with: "/bin/true")
                    .replacing("User=posthouse", with: "User=daemon")
                    .replacing("Group=posthouse", with: "Group=daemon"))
        }

        @Test func `systemd finds nothing wrong with the unit`() throws {
            try need("systemd-analyze", package: "systemd")
            let folder = try Folder()
            let ended = try run("systemd-analyze", ["verify", "--man=no", try self.unit(folder)])
            let complaints = ended.errorText.split(separator: "\n")
                .filter { $0.contains("posthouse.service") }
            #expect(complaints.isEmpty, "\(ended.errorText)")
        }

        @Test func `the unit's exposure stays below 2.0`() throws {
            try need("systemd-analyze", package: "systemd")
            let folder = try Folder()
            let ended = try run(
                "systemd-analyze",
                ["security", "--offline=true", "--threshold=20", try self.unit(folder)])
            #expect(ended.status == 0, "\(ended.outputText.suffix(2000))\(ended.errorText)")
        }

        @Test(arguments: ["Deploy/setup", "Deploy/quickstart", "Tests/run", ".ci/run"])
        func `scripts are executable and bash can read them`(_ path: String) throws {
            #expect(access(Self.root + "/" + path, X_OK) == 0)
            #expect(try run("bash", ["-n", Self.root + "/" + path]).status == 0)
        }
    }
}
