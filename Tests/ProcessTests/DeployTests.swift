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

        /// The nodes of the compose file, prepared as for a container, with paths of this machine.
        @Test func `settings that are made for containers have no faults`() throws {
            let folder = try Folder()
            let path = folder.path + "/cluster"
            let prepare = Self.root + "/Deploy/compose/prepare"
            let variables = ["POSTHOUSE": try Relay.binary()]
            let made = try run(prepare, [path], environment: variables)
            #expect(made.status == 0, "\(made.errorText)")
            for name in Fleet.names {
                let text = try String(
                    contentsOfFile: "\(path)/\(name)/posthouse.toml", encoding: .utf8)
                let file = try folder.write(
                    "\(name).toml",
                    text.replacing("/etc/posthouse", with: "\(path)/\(name)")
                        .replacing("/var/lib/posthouse", with: "\(path)/\(name)/data"))
                let checked = try run(try Relay.binary(), ["check", "config", "--config", file])
                #expect(checked.status == 0, "\(checked.outputText)\(checked.errorText)")
            }
            #expect(try run(prepare, [path], environment: variables).status == 65)
        }

        /// Docker itself is not asked: the file is read as YAML, and compared with what it mounts.
        @Test func `the compose file has the nodes and addresses of the HAProxy sample`() throws {
            let script = """
                import sys, yaml
                with open(sys.argv[1]) as f:
                    services = yaml.safe_load(f)["services"]
                for name in sorted(services):
                    service = services[name]
                    print(name, service["networks"]["mail"]["ipv4_address"],
                          service.get("stop_grace_period", "-"), len(service["volumes"]))
                """
            let seen = try run(
                "/usr/bin/python3", ["-c", script, Self.root + "/Deploy/compose/compose.yaml"])
            #expect(
                seen.outputText
                    == "a 10.0.0.1 2m 2\nb 10.0.0.2 2m 2\nc 10.0.0.3 2m 2\nhaproxy 10.0.0.250 - 2\n",
                "\(seen.errorText)")
        }

        @Test(arguments: [
            "Deploy/setup", "Deploy/quickstart", "Deploy/compose/prepare", "Tests/run", ".ci/run",
        ])
        func `scripts are executable and bash can read them`(_ path: String) throws {
            #expect(access(Self.root + "/" + path, X_OK) == 0)
            #expect(try run("bash", ["-n", Self.root + "/" + path]).status == 0)
        }
    }
}
