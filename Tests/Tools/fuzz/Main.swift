// Main.swift - members under fire: peers' messages of every shape, until something breaks.
//
// Usage     fuzz [--runs N] [--seed S] [--episode E]; build it for release. A run is one message.
//           With `--episode` only that one is played, and told event by event.
//           fuzz --peer-frames [--runs N] [--seed S]: bytes against the decoders of the links
//           between nodes. A run is one frame.
// Gives     counts, and 0; 1 with seed and episode when a fact of the member's went back. A trap of
//           the core ends the process; its seed and episode are written first.

import Glibc
import PeerFuzz
import Primitives
import Raft

/// Read by the handler of the signal that a trap raises.
// unsafe: one thread writes it; the handler runs on that thread.
nonisolated(unsafe) private var playing: (seed: UInt64, episode: UInt64) = (0, 0)

@main
enum Main {
    static func main() {
        var runs: UInt64 = 1_000_000
        var seed: UInt64 = 1
        var episode: UInt64?
        var arguments = CommandLine.arguments.dropFirst()
        var playsFrames = false
        while let name = arguments.popFirst() {
            if name == "--peer-frames" {
                playsFrames = true
                continue
            }
            guard let text = arguments.popFirst(), let value = UInt64(text) else {
                Self.fail("\(name): a number is missing", status: 2)
            }
            switch name {
            case "--runs": runs = value
            case "--seed": seed = value
            case "--episode": episode = value
            case _:
                Self.fail(
                    "\(name): not known; --runs N, --seed S, --episode E, --peer-frames", status: 2)
            }
        }
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS] {
            signal(number) { number in
                print("trap: --seed \(playing.seed) --episode \(playing.episode)")
                fflush(nil)
                signal(number, SIG_DFL)
                raise(number)
            }
        }
        if playsFrames {
            Self.playFrames(runs: runs, seed: seed)
            return
        }
        do {
            var campaign = try Campaign(seed: seed)
            Self.play(&campaign, runs: runs, seed: seed, only: episode)
        } catch {
            Self.fail("no stage to begin from: \(error)", status: 1)
        }
    }

    private static func playFrames(runs: UInt64, seed: UInt64) {
        playing = (seed, 0)
        let begin = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
        var fuzz = PeerFuzz(seed: seed)
        while fuzz.frames < runs {
            if let fault = fuzz.blow() {
                Self.fail("fault: \(fault)\n--peer-frames --seed \(seed)", status: 1)
            }
        }
        let rate = Double(fuzz.frames) / (Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - begin)
        print("frames    \(fuzz.frames), \(Int(rate)) a second of CPU")
        print("messages  \(fuzz.messages)")
        print("refused   \(fuzz.refused)")
    }

    private static func play(
        _ campaign: inout Campaign, runs: UInt64, seed: UInt64, only: UInt64?
    ) {
        let begin = Self.seconds(CLOCK_MONOTONIC)
        let beginCPU = Self.seconds(CLOCK_PROCESS_CPUTIME_ID)
        var episode = only ?? 0
        repeat {
            playing = (seed, episode)
            let blows = min(UInt64(Campaign.blowsMax), max(1, runs - campaign.tally.runs))
            let fault = campaign.play(
                episode: episode, blows: only == nil ? Int(blows) : Campaign.blowsMax,
                trace: only != nil)
            if let fault {
                Self.fail("fault: \(fault)\n--seed \(seed) --episode \(episode)", status: 1)
            }
            episode += 1
        } while only == nil && campaign.tally.runs < runs
        Self.report(
            campaign.tally, episodes: episode, seconds: Self.seconds(CLOCK_MONOTONIC) - begin,
            secondsCPU: Self.seconds(CLOCK_PROCESS_CPUTIME_ID) - beginCPU)
    }

    private static func report(
        _ tally: Tally, episodes: UInt64, seconds: Double, secondsCPU: Double
    ) {
        print("runs      \(tally.runs) in \(episodes) episodes")
        print("restarts  \(tally.restarts), \(tally.wordsLost) with a journal that denies itself")
        // Of the processor's time: other work on the machine does not count.
        let rate = Int(Double(tally.runs) / secondsCPU)
        print(
            "time      \(Int(seconds * 1000)) ms, CPU \(Int(secondsCPU * 1000)) ms, \(rate) runs/s")
        let share = tally.byteRuns == 0 ? 0 : tally.decoded * 1000 / tally.byteRuns
        print("decoded   \(tally.decoded) of \(tally.byteRuns) byte strings (\(share) permille)")
        print("taken     \(tally.taken)")
        print("most      \(tally.actionsMost) actions a turn, \(tally.entriesMost) entries")
        for (name, count) in zip(Tally.roleNames, tally.roles) {
            print("role      \(name) \(count)")
        }
        for (name, count) in zip(Tally.stateNames, tally.states) {
            print("state     \(name) \(count)")
        }
        for (name, count) in zip(Tally.flowNames, tally.flows) {
            print("flow      \(name) \(count)")
        }
        let refusals = tally.refusals.map { error, count in (Self.label(error), count) }
        for (label, count) in refusals.sorted(by: { $0.0 < $1.0 }) {
            print("refused   \(label) \(count)")
        }
    }

    private static func label(_ error: StepError) -> String {
        switch error {
        case .unknownPeer, .proposalDropped: error.label.text
        case .malformed(let what), .contradiction(let what): "\(error.label): \(what)"
        }
    }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func fail(_ text: String, status: Int32) -> Never {
        print(text)
        exit(status)
    }
}
