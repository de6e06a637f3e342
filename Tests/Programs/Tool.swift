// Tool.swift - a program of this package, run to its end by a test.
//
// Takes     a name: the program lies beside the tests, where the package builds it.
// Gives     the lines that it has written.
// Never     a test that is left out: a program that is not there fails it.

import Foundation

package struct Tool: Sendable {
    private let name: String
    private let path: String

    /// - Throws: it is not built.
    package init(_ name: String) throws(ProgramFailure) {
        for argument in CommandLine.arguments {
            var path = URL(fileURLWithPath: argument)
            while path.pathComponents.count > 1 {
                path.deleteLastPathComponent()
                let tool = path.appendingPathComponent(name).path
                var isDirectory: ObjCBool = false
                if FileManager.default.fileExists(atPath: tool, isDirectory: &isDirectory),
                    !isDirectory.boolValue, FileManager.default.isExecutableFile(atPath: tool)
                {
                    self.name = name
                    self.path = tool
                    return
                }
            }
        }
        throw ProgramFailure("\(name) is not built beside the tests")
    }

    /// Runs it in a process of its own.
    ///
    /// - Throws: it cannot be started, or its status is not 0.
    package func lines(_ arguments: [String]) throws -> [String] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: self.path)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ProgramFailure("\(self.name) ended with \(process.terminationStatus)")
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
