// Preload.swift - C libraries of Tests/Tools, compiled here, that a program is started with.

import Foundation

/// Compiles one file; the path of the library, which stays as long as `folder`.
///
/// - Parameter source: below `Tests/Tools`.
func compiledLibrary(_ source: String, in folder: Folder) throws -> String {
    let tests = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let path = tests.appendingPathComponent("Tools/" + source).path
    guard let compiler = ["gcc", "clang"].first(where: hasProgram) else {
        throw Failure("there is no C compiler: install the package gcc")
    }
    let library = folder.path + "/preload.so"
    let ended = try run(compiler, ["-O2", "-shared", "-fPIC", "-o", library, path])
    guard ended.status == 0 else { throw Failure("\(compiler): \(ended.errorText)") }
    return library
}
