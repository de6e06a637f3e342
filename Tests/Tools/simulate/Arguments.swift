// Arguments.swift - what the command line asks for.

import Simulator

struct Arguments {
    enum Mode {
        case seed(UInt64)
        case sweep(ClosedRange<UInt64>)
        case child(ClosedRange<UInt64>, stride: UInt64)
        case hash(ClosedRange<UInt64>)
    }

    var mode = Mode.seed(0)
    var run = RunOptions()
    var jobs = 1
    var traces = false
    var keepsGoing = false

    static let usage = """
        simulate --seed S [--trace] [--seconds N] [--nodes N] [--calm]
        simulate --seeds A..B [--jobs N] [--seconds N] [--nodes N] [--keep-going]
        simulate --hash A..B [--seconds N] [--nodes N]
        """

    init?(_ words: [String]) {
        var stride: UInt64 = 1
        var hasMode = false
        var i = 0
        while i < words.count {
            let word = words[i]
            let value = i + 1 < words.count ? words[i + 1] : ""
            i += 2
            switch word {
            case "--trace", "--keep-going", "--calm":
                i -= 1
                if word == "--trace" { self.traces = true }
                if word == "--keep-going" { self.keepsGoing = true }
                if word == "--calm" { self.run.isCalm = true }
            case "--seed":
                guard let seed = UInt64(value) else { return nil }
                self.mode = .seed(seed)
                hasMode = true
            case "--seeds", "--child", "--hash":
                guard let seeds = Self.range(value) else { return nil }
                self.mode =
                    word == "--seeds"
                    ? .sweep(seeds) : word == "--hash" ? .hash(seeds) : .child(seeds, stride: 1)
                hasMode = true
            case "--jobs", "--seconds", "--nodes", "--stride":
                guard let number = Int(value), number > 0 else { return nil }
                if word == "--jobs" { self.jobs = number }
                if word == "--seconds" { self.run.seconds = number }
                if word == "--nodes" { self.run.nodes = number }
                if word == "--stride" { stride = UInt64(number) }
            case _: return nil
            }
        }
        guard hasMode, self.run.nodes <= 7 else { return nil }
        if case .child(let seeds, _) = self.mode { self.mode = .child(seeds, stride: stride) }
    }

    private static func range(_ text: String) -> ClosedRange<UInt64>? {
        let bytes = Array(text.utf8)
        let dot = UInt8(ascii: ".")
        guard let at = bytes.firstIndex(of: dot), at + 1 < bytes.count, bytes[at + 1] == dot,
            let low = UInt64(String(decoding: bytes[..<at], as: UTF8.self)),
            let high = UInt64(String(decoding: bytes[(at + 2)...], as: UTF8.self)), low <= high
        else { return nil }
        return low...high
    }

    /// The options that a replay needs, as they are typed.
    var words: [String] {
        var words: [String] = []
        if self.run.seconds != RunOptions().seconds {
            words += ["--seconds", "\(self.run.seconds)"]
        }
        if self.run.nodes != 0 { words += ["--nodes", "\(self.run.nodes)"] }
        if self.run.isCalm { words += ["--calm"] }
        return words
    }

    var text: String { self.words.map { " " + $0 }.joined() }
}
