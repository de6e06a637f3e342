// Script.swift - runs the blocks of one file and says which of them answered otherwise.

/// What became of a file.
struct ScriptResult {
    struct Failure: CustomStringConvertible {
        var block: DataFile.Block
        var wanted: [String]
        var got: [String]

        var description: String {
            var text = "\(self.block.file):\(self.block.line): \(self.block.command)\n"
            text += "expected:\n" + self.wanted.map { "  |\($0)\n" }.joined()
            text += "got:\n" + self.got.map { "  |\($0)\n" }.joined()
            let common = zip(self.wanted, self.got).prefix { $0 == $1 }.count
            return text + "first difference in line \(common + 1) of the output"
        }
    }

    var passed = 0
    var failures: [Failure] = []

    mutating func take(_ block: DataFile.Block, _ output: [String]) {
        if let wanted = block.mismatch(output) {
            self.failures.append(
                Failure(
                    block: block, wanted: wanted, got: DataFile.Block.withoutLogs(output)))
        } else {
            self.passed += 1
        }
    }

    /// What holds after every block, whatever the file expects.
    mutating func take(_ block: DataFile.Block, disagreement: String) {
        self.failures.append(
            Failure(block: block, wanted: ["disk and core agree"], got: [disagreement]))
    }
}

enum Script {
    /// Runs a file of any kind; its commands say which.
    static func run(_ file: DataFile) -> ScriptResult {
        let commands = Set(file.blocks.map(\.command))
        var result = ScriptResult()
        if !commands.isDisjoint(with: ["committed", "vote"]) {
            for block in file.blocks { result.take(block, QuorumScript.answer(block)) }
        } else if !commands.isDisjoint(with: ["simple", "enter-joint", "leave-joint"]) {
            var script = ChangeScript()
            for block in file.blocks { result.take(block, script.answer(block)) }
        } else {
            var environment = Environment()
            for block in file.blocks {
                result.take(block, environment.answer(block))
                if let disagreement = environment.nodes.lazy.compactMap(\.disagreement).first {
                    result.take(block, disagreement: disagreement)
                }
            }
        }
        return result
    }
}
