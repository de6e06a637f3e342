// Table.swift - columns for people: aligned, plain text, safe to show.

/// Rows under headings.
struct Table {
    enum Side { case left, right }
    var columns: [(title: String, side: Side)]
    var rows: [[String]] = []

    init(_ columns: [(title: String, side: Side)]) {
        self.columns = columns
    }

    /// Two spaces between columns, none at the ends of lines.
    var text: String {
        let widths = self.columns.indices.map { column in
            self.rows.reduce(self.columns[column].title.count) { max($0, $1[column].count) }
        }
        return ([self.columns.map(\.title)] + self.rows).map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let pad = String(repeating: " ", count: widths[column] - cell.count)
                if column > 0 { line += "  " }
                line += self.columns[column].side == .left ? cell + pad : pad + cell
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}

/// Numbers and texts as people read them.
enum Human {
    /// "1,234,567".
    static func count(_ value: Int64) -> String {
        let digits = String(value.magnitude)
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0 && (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return value < 0 ? "-" + text : text
    }

    /// "48 KB": three digits at most, by thousands.
    static func bytes(_ value: Int64) -> String {
        var rest = Double(value)
        for unit in ["B", "KB", "MB", "GB", "TB"] {
            if rest < 999.5 || unit == "TB" { return Self.number(rest, unit == "B") + " " + unit }
            rest /= 1000
        }
        return "\(value) B"
    }

    private static func number(_ value: Double, _ isWhole: Bool) -> String {
        if isWhole || value >= 9.95 { return String(Int64(value.rounded())) }
        let tenths = Int64((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// "3h 2m": two units at most; "now" for nothing.
    static func span(milliseconds: Int64) -> String {
        let seconds = milliseconds / 1000
        if seconds <= 0 { return "now" }
        let units: [(String, Int64)] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        for (index, (unit, length)) in units.enumerated() where seconds >= length {
            let rest = seconds % length
            guard index + 1 < units.count, seconds / length < 10 else {
                return "\(seconds / length)\(unit)"
            }
            let next = units[index + 1]
            let more = rest / next.1
            return more == 0
                ? "\(seconds / length)\(unit)" : "\(seconds / length)\(unit) \(more)\(next.0)"
        }
        return "now"
    }

    /// One digit behind the point under 10.
    static func rate(_ value: Double) -> String {
        value >= 10 || value == 0 ? "\(Int64(value.rounded()))/s" : Self.number(value, false) + "/s"
    }

    /// Text of others without control characters, so that no terminal obeys it, cut at `limit`.
    static func safe(_ text: String, limit: Int = .max) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            let isControl = scalar.value < 32 || (127..<160).contains(scalar.value)
            result.unicodeScalars.append(isControl ? "?" : scalar)
        }
        return result.count > limit ? result.prefix(limit - 1) + "…" : result
    }
}
