// Tidy.swift - walks over the repository and applies every rule.
//
// Takes     the root of a checkout.
// Gives     findings in the order of path and line; none: the house is tidy.
// Never     changes a file.

import Foundation

package enum Tidy {
    /// All findings of the checkout at `root`.
    ///
    /// - Throws: when a file cannot be read.
    package static func check(root: String) throws -> [Finding] {
        var findings = try self.topLevel(root: root)
        var imports: [(target: String, path: String, item: HouseRules.Import)] = []
        for path in try self.files(root: root, folder: "Sources") where path.hasSuffix(".swift") {
            let text = CodeText(path: path, text: try self.read(root, path))
            let target = String(path.split(separator: "/")[1])
            findings += TextRules.check(text)
            findings += HouseRules.check(text, target: target)
            imports += HouseRules.imports(of: text).map { (target, path, $0) }
        }
        findings += HouseRules.wrappers(imports)
        findings += try self.rooms(root: root)
        for path in try self.files(root: root, folder: "Tests") where path.hasSuffix(".swift") {
            let text = CodeText(path: path, text: try self.read(root, path))
            findings += TextRules.lengths(text, literalsCount: false)
            findings += TextRules.marks(path: path, lines: text.lines)
            findings += TextRules.deadFile(text)
            findings += TextRules.sleeps(text)
        }
        for folder in ["Docs", "Deploy", "Config"] {
            for path in try self.files(root: root, folder: folder) {
                let lines = try self.read(root, path)
                    .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
                findings += TextRules.marks(path: path, lines: lines)
            }
        }
        let exceptions = Exceptions(text: try self.read(root, Exceptions.path))
        return exceptions.apply(to: findings)
    }

    /// Documents that the program prints, with the arguments that print them.
    package static let generated: [(path: String, arguments: [String])] = [
        ("Config/posthouse.toml", ["docs", "example"]),
        ("Docs/Settings.md", ["docs", "settings"]),
    ]

    /// Whether a generated file is what its generator prints now.
    ///
    /// - Parameter print: the command that prints it, for the remedy.
    package static func fresh(path: String, written: String, generated: String, print: String)
        -> [Finding]
    {
        if written == generated { return [] }
        let old = written.split(separator: "\n", omittingEmptySubsequences: false)
        let new = generated.split(separator: "\n", omittingEmptySubsequences: false)
        let same = zip(old, new).prefix { $0 == $1 }.count
        return [
            Finding(
                path, same + 1, "generated", "not what is generated now: \(print) > \(path)")
        ]
    }

    /// Only what is named in `House.topLevel` stands at the top, and all of it.
    static func topLevel(root: String) throws -> [Finding] {
        let names = try FileManager.default.contentsOfDirectory(atPath: root)
            .filter { !House.isIgnoredAtTop($0) }
        let strangers = Set(names).subtracting(House.topLevel).sorted().map {
            Finding($0, 0, "top-level", "move it into a folder, or name it in House.topLevel")
        }
        let missing = House.topLevel.subtracting(names).sorted().map {
            Finding($0, 0, "top-level", "is missing: put it back, or take it out of House.topLevel")
        }
        return strangers + missing
    }

    /// Every target of the table has a folder.
    static func rooms(root: String) throws -> [Finding] {
        let names = try FileManager.default.contentsOfDirectory(atPath: root + "/Sources")
        let missing = Set(House.rooms.keys).subtracting(names).sorted().map {
            Finding("Sources/\($0)", 0, "house", "no such folder: take its line out of the table")
        }
        let strangers = Set(names).subtracting(House.rooms.keys).sorted().map {
            Finding("Sources/\($0)", 0, "house", "not in the table of Tests/TidyRules/House.swift")
        }
        return missing + strangers
    }

    private static func read(_ root: String, _ path: String) throws -> String {
        String(
            decoding: try Data(contentsOf: URL(fileURLWithPath: root + "/" + path)), as: UTF8.self)
    }

    /// Paths of the regular files below `folder`, relative to `root`, sorted.
    private static func files(root: String, folder: String) throws -> [String] {
        let manager = FileManager.default
        let base = root + "/" + folder
        guard manager.fileExists(atPath: base) else { return [] }
        return try manager.subpathsOfDirectory(atPath: base).sorted().map { folder + "/" + $0 }
            .filter { path in
                var isFolder: ObjCBool = false
                return manager.fileExists(atPath: root + "/" + path, isDirectory: &isFolder)
                    && !isFolder.boolValue && !path.contains("__pycache__")
            }
    }
}
