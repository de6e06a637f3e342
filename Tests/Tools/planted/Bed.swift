// Bed.swift - where mistakes are planted: which sources, which program looks for them, and how.

enum Bed {
    /// Mistakes of Raft, in a group that is simulated with faults, seed by seed.
    case simulator
    /// Mistakes of bodies' machines, in a small cluster of which all runs are made.
    case bodies
    /// Mistakes of bodies, leases, sessions and checkpoints, in whole nodes that are simulated.
    case nodes

    var name: String {
        switch self {
        case .simulator: "simulator"
        case .bodies: "bodies"
        case .nodes: "nodes"
        }
    }

    var product: String {
        switch self {
        case .simulator: "simulate"
        case .bodies: "explore"
        case .nodes: "simulate-node"
        }
    }

    var folders: [String] {
        switch self {
        case .simulator:
            ["Sources/Primitives", "Sources/Raft", "Tests/Simulator", "Tests/Tools/simulate"]
        case .bodies:
            [
                "Sources/Primitives", "Sources/Raft", "Sources/SMTP", "Sources/Spool",
                "Sources/MailQueue", "Tests/Explorer", "Tests/Tools/explore",
            ]
        case .nodes:
            [
                "Sources/Primitives", "Sources/Raft", "Sources/SMTP", "Sources/Spool",
                "Sources/MailQueue", "Sources/Cluster/Machine", "Tests/NodeSimulator",
                "Tests/Tools/simulate-node",
            ]
        }
    }

    /// The arguments of the program, one run after the other until one finds something.
    func runs(_ seeds: Int) -> [[String]] {
        switch self {
        case .simulator, .nodes: return [["--seeds", "0..\(seeds - 1)"]]
        case .bodies:
            let small = "--bodies --acceptors 1 --cuts 0 --leaders 0 --states-max 1500000"
            let scopes = [
                "--crashes 0 --wipes 1 --repairs 1 --repeats 1",
                "--crashes 1 --wipes 1 --repairs 1",
                "--crashes 0 --wipes 0 --rots 1 --repairs 1",
                "--crashes 0 --wipes 0 --expiries 1 --repairs 0",
            ]
            return scopes.map { (small + " " + $0).split(separator: " ").map(String.init) }
        }
    }

    /// What a run has found; nil: nothing.
    func finding(_ code: Int32, _ output: String) -> String? {
        let lines = output.split(separator: "\n")
        switch self {
        case .simulator:
            guard code == 1, let line = lines.first(where: { $0.hasPrefix("seed ") }) else {
                return nil
            }
            let words = line.split(separator: " ", maxSplits: 2)
            return "\((Int(words[1]) ?? 0) + 1) seeds: \(words.last ?? "")"
        case .nodes:
            guard code == 1, let line = lines.first(where: { $0.hasPrefix("seed ") }) else {
                return nil
            }
            let words = line.split(separator: " ", maxSplits: 2)
            let count = (Int(words[1].prefix { $0.isNumber }) ?? 0) + 1
            return "\(count) seeds: \(String(words.last ?? "").prefix(100))"
        case .bodies:
            if code > 1, code != 64 { return "the program traps" }
            guard code == 1, let line = lines.first(where: { $0.hasPrefix("VIOLATION ") }) else {
                return nil
            }
            let count = lines.first { $0.hasPrefix("states generated") }
            return "\(line.dropFirst("VIOLATION ".count)); \(count ?? "")"
        }
    }

    var package: String {
        let (dependencies, targets) =
            switch self {
            case .simulator: ("", Self.simulatorTargets)
            case .bodies: (Self.nio, Self.bodiesTargets)
            case .nodes: (Self.nio, Self.nodesTargets)
            }
        return """
            // swift-tools-version: 6.2
            import PackageDescription
            let strict: [SwiftSetting] = [
                .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
            ]
            let nio = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
            func library(
                _ name: String, _ dependencies: [Target.Dependency], path: String? = nil
            ) -> Target {
                .target(
                    name: name, dependencies: dependencies, path: path, swiftSettings: strict)
            }
            func tool(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
                .executableTarget(
                    name: name, dependencies: dependencies, path: "Tests/Tools/\\(name)",
                    swiftSettings: strict)
            }
            let package = Package(
                name: "planted",
                dependencies: [\(dependencies)],
                targets: [
                    library("Primitives", []), library("Raft", ["Primitives"]),
            \(targets)
                ])
            """
    }

    private static let nio =
        #".package(url: "https://github.com/apple/swift-nio", from: "2.101.2")"#

    private static let simulatorTargets = """
                library("Simulator", ["Primitives", "Raft"], path: "Tests/Simulator"),
                tool("simulate", ["Primitives", "Raft", "Simulator"]),
        """

    private static let bodiesTargets = """
                library("SMTP", ["Primitives", nio]),
                library("Spool", ["Primitives", nio]),
                library("MailQueue", ["Primitives", "SMTP", "Spool"]),
                library(
                    "Explorer", ["Primitives", "Raft", "SMTP", "Spool", "MailQueue"],
                    path: "Tests/Explorer"),
                tool("explore", ["Primitives", "Raft", "Explorer"]),
        """

    /// Of Cluster the machines alone, which import pure targets only.
    private static let nodesTargets = """
                library("SMTP", ["Primitives", nio]),
                library("Spool", ["Primitives", nio]),
                library("MailQueue", ["Primitives", "SMTP", "Spool"]),
                library(
                    "Cluster", ["Primitives", "Raft", "SMTP", "Spool", "MailQueue"],
                    path: "Sources/Cluster/Machine"),
                library(
                    "NodeSimulator",
                    ["Primitives", "SMTP", "Raft", "Spool", "MailQueue", "Cluster"],
                    path: "Tests/NodeSimulator"),
                tool("simulate-node", ["NodeSimulator"]),
        """
}
