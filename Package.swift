// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is compiled with the same strictness: Swift 6 mode, explicit `any`, imports
/// internal unless said otherwise, members only from modules that the file itself imports.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let nio = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let metricsCore = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore = Target.Dependency.product(
    name: "HummingbirdCore", package: "hummingbird")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let signals = Target.Dependency.product(
    name: "UnixSignals", package: "swift-service-lifecycle")

func library(_ name: String, _ dependencies: [Target.Dependency], path: String? = nil) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []
) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

func tool(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, path: "Tests/Tools/\(name)", swiftSettings: strict)
}

let package = Package(
    name: "posthouse",
    products: [.executable(name: "posthouse", targets: ["posthouse"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
    ],
    targets: [
        // C libraries: a module map and inline shims, each imported by one Swift target only.
        .systemLibrary(
            name: "COpenSSL", pkgConfig: "libssl libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(
            name: "CUnbound", pkgConfig: "libunbound", providers: [.apt(["libunbound-dev"])]),

        // Pure machines and formats.
        library("Primitives", []),
        library("Settings", ["Primitives", toml]),
        library("SMTP", ["Primitives", nio]),
        library("Spool", ["Primitives", nio]),
        library("Raft", ["Primitives"]),
        library("MailQueue", ["Primitives", "SMTP", "Spool"]),

        // Disk, sockets, C libraries.
        library("Storage", ["Primitives", "Raft", "Spool", "CSQLite", "CLZ4"]),
        library("OpenSSL", ["Primitives", "COpenSSL"]),
        library("Networking", ["Primitives", "OpenSSL", "CUnbound", nio, nioPosix]),

        // The node.
        library(
            "Cluster",
            [
                "Primitives", "Settings", "SMTP", "Raft", "Spool", "MailQueue", "Storage",
                "Networking", "OpenSSL", nio, logging, metrics,
            ]),
        library(
            "Reception",
            [
                "Primitives", "Settings", "SMTP", "Networking", "OpenSSL", "Cluster", nio, logging,
                metrics,
            ]),
        library(
            "Delivery",
            [
                "Primitives", "Settings", "SMTP", "MailQueue", "Networking", "OpenSSL", "Cluster",
                nio, logging, metrics,
            ]),
        library(
            "Admin",
            [
                "Primitives", "Settings", "MailQueue", "Networking", "Cluster", hummingbird,
                hummingbirdCore,
                nio, logging, metrics, metricsCore,
            ]),
        library(
            "Console",
            ["Primitives", "Settings", "SMTP", "OpenSSL", arguments, nio, nioPosix, nioHTTP1]),
        library("Demo", ["Primitives", "Console", nio, nioPosix]),
        .executableTarget(
            name: "posthouse",
            dependencies: [
                "Primitives", "Settings", "Storage", "OpenSSL", "Networking", "Cluster",
                "Reception",
                "Delivery", "Admin", "Console", "Demo", arguments, signals, logging, metrics, nio,
                nioPosix,
            ],
            swiftSettings: strict),

        // What is not shipped.
        tests("PrimitivesTests", ["Primitives"]),
        tests("SettingsTests", ["Primitives", "Settings"]),
        tests("SMTPTests", ["Primitives", "SMTP", nio]),
        tests("SpoolTests", ["Primitives", "Spool", "Explorer"]),
        tests("RaftTests", ["Primitives", "Raft", "Explorer"]),
        tests("SimulatorTests", ["Primitives", "Raft", "Simulator", "Programs"]),
        tests("NodeSimulatorTests", ["NodeSimulator", "Programs"]),
        tests("MailQueueTests", ["Primitives", "SMTP", "Spool", "MailQueue"]),
        tests("StorageTests", ["Primitives", "Raft", "Spool", "Storage"]),
        tests("OpenSSLTests", ["Primitives", "OpenSSL"]),
        tests(
            "NetworkingTests",
            [
                "Primitives", "OpenSSL", "Networking", "Programs", nio, nioPosix, nioEmbedded,
            ]),
        tests(
            "ClusterTests",
            [
                "Primitives", "Settings", "SMTP", "Raft", "Spool", "MailQueue", "Storage",
                "OpenSSL", "Networking", "Cluster", "PeerFuzz", logging, nio, nioPosix,
            ]),
        tests(
            "ReceptionTests",
            [
                "Primitives", "Settings", "SMTP", "OpenSSL", "Networking", "Cluster", "Reception",
                nio, nioPosix, nioEmbedded,
            ]),
        tests(
            "DeliveryTests",
            [
                "Primitives", "Settings", "SMTP", "MailQueue", "OpenSSL", "Networking", "Cluster",
                "Delivery", nio, nioPosix, nioEmbedded,
            ]),
        tests("ConsoleTests", ["Primitives", "Settings", "Console", "Programs"]),
        tests("DemoTests", ["Primitives", "Settings", "Demo", nio, nioPosix]),
        tests(
            "AdminTests",
            [
                "Primitives", "Settings", "MailQueue", "Cluster", "Admin", logging, metricsCore,
                nio, nioPosix,
            ]),
        tests("ProcessTests", [], exclude: ["Thresholds"]),
        tests("TidyTests", ["TidyRules"]),
        library("Simulator", ["Primitives", "Raft"], path: "Tests/Simulator"),
        library(
            "NodeSimulator",
            ["Primitives", "SMTP", "Raft", "Spool", "MailQueue", "Cluster"],
            path: "Tests/NodeSimulator"),
        library(
            "PeerFuzz", ["Primitives", "Raft", "Spool", "Cluster", nio], path: "Tests/PeerFuzz"),
        library(
            "Explorer", ["Primitives", "Raft", "SMTP", "Spool", "MailQueue"],
            path: "Tests/Explorer"),
        library("Programs", [], path: "Tests/Programs"),
        library("TidyRules", [], path: "Tests/TidyRules"),
        tool("tidy", ["TidyRules"]),
        tool("queuebench", ["Primitives", "SMTP", "Spool", "MailQueue", "Storage"]),
        tool("raftbench", ["Primitives", "Raft"]),
        tool("simulate", ["Primitives", "Raft", "Simulator"]),
        tool("simulate-node", ["NodeSimulator"]),
        tool("planted", ["Primitives"]),
        tool("explore", ["Primitives", "Raft", "Explorer"]),
        tool("fuzz", ["Primitives", "Raft", "PeerFuzz"]),
    ]
)
