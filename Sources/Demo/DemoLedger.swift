// DemoLedger.swift - what was promised, and what arrived.
//
// Takes     each 250 of a node with its queue id; each arrival at the sink.
// Gives     the four numbers of the last line.
// Limits    messagesMax messages, then the load stops; 4 bytes for each.
// See       Docs/Invariants.md 1, 5.

struct DemoLedger: Sendable {
    /// Three weeks at 100 messages per second.
    static let messagesMax = 200_000_000

    /// Of one message of the load.
    private struct Row: Sendable {
        var isAccepted = false
        /// Which of the client's attempts have arrived; the last bit stands for all later ones.
        var attempts: UInt8 = 0
        var arrivals: UInt16 = 0
    }

    private var rows: [Row] = []
    /// Accepted and not arrived: number and queue id.
    private(set) var missing: [Int: String] = [:]
    private(set) var accepted = 0
    /// Accepted and arrived.
    private(set) var delivered = 0
    /// Arrivals beyond a message's first.
    private(set) var duplicates = 0
    /// Those of the duplicates that the client caused: it had no answer and sent again.
    private(set) var sentAgain = 0

    /// The number of a new message; nil: the ledger is full.
    mutating func draw() -> Int? {
        guard self.rows.count < Self.messagesMax else { return nil }
        self.rows.append(Row())
        return self.rows.count - 1
    }

    mutating func accept(_ number: Int, id: String) {
        guard self.rows.indices.contains(number), !self.rows[number].isAccepted else { return }
        self.rows[number].isAccepted = true
        self.accepted += 1
        if self.rows[number].arrivals > 0 {
            self.delivered += 1
        } else {
            self.missing[number] = id
        }
    }

    /// - Parameter attempt: of the client, from 0.
    mutating func arrive(_ number: Int, attempt: Int) {
        // Not a message of this load.
        guard self.rows.indices.contains(number), attempt >= 0 else { return }
        let bit = UInt8(1) << UInt8(min(attempt, 7))
        if self.rows[number].arrivals > 0 {
            self.duplicates += 1
            if self.rows[number].attempts & bit == 0 { self.sentAgain += 1 }
        } else if self.rows[number].isAccepted {
            self.delivered += 1
            self.missing[number] = nil
        }
        self.rows[number].attempts |= bit
        if self.rows[number].arrivals < .max { self.rows[number].arrivals += 1 }
    }

    /// What has not arrived and is in none of these queue entries.
    ///
    /// - Parameter queued: ids of messages that a node still has.
    func lost(queued: Set<String>) -> Int {
        self.missing.count { !queued.contains($0.value) }
    }

    /// The last line of the demo; scripts read it.
    func line(lost: Int) -> String {
        "accepted \(self.accepted), delivered \(self.delivered), lost \(lost), "
            + "duplicates \(self.duplicates)"
    }
}

/// What a message of the load says of itself, in a header field.
struct DemoMark: Equatable, Sendable {
    static let field = "X-Posthouse-Demo"

    /// Drawn for each demo: what a directory still has from an earlier one is not of this load.
    var run: UInt64
    var number: Int
    var attempt: Int

    var text: String { "\(self.run) \(self.number) \(self.attempt)" }

    init(run: UInt64, number: Int, attempt: Int) {
        self.run = run
        self.number = number
        self.attempt = attempt
    }

    /// Of the field's value.
    init?(_ text: some StringProtocol) {
        let words = text.split(separator: " ")
        guard words.count == 3, let run = UInt64(words[0]), let number = Int(words[1]),
            let attempt = Int(words[2])
        else { return nil }
        self.init(run: run, number: number, attempt: attempt)
    }
}
