// main.swift - prints what breaks a rule of the house; exit 1 if anything does.
//
//     tidy [ROOT] [--binary POSTHOUSE]
//
// With --binary it also asks the program for the documents that it generates.

import Foundation
import TidyRules

/// What `POSTHOUSE arguments…` writes to standard output.
private func output(of binary: String, _ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: binary)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: bytes, as: UTF8.self)
}

private func findings() throws -> [Finding] {
    var root = FileManager.default.currentDirectoryPath
    var binary: String?
    var arguments = CommandLine.arguments.dropFirst()
    while let argument = arguments.popFirst() {
        if argument == "--binary" { binary = arguments.popFirst() } else { root = argument }
    }
    var findings = try Tidy.check(root: root)
    guard let binary else { return findings }
    for document in Tidy.generated {
        let written = try String(contentsOfFile: root + "/" + document.path, encoding: .utf8)
        findings += Tidy.fresh(
            path: document.path, written: written,
            generated: try output(of: binary, document.arguments),
            print: "posthouse " + document.arguments.joined(separator: " "))
    }
    return findings
}

do {
    let findings = try findings()
    for finding in findings { print(finding) }
    if !findings.isEmpty {
        print("tidy: \(findings.count) to mend")
        exit(1)
    }
    print("tidy: nothing to do")
} catch {
    FileHandle.standardError.write(Data("tidy: \(error)\n".utf8))
    exit(74)
}
