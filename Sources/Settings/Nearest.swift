// Nearest.swift - which valid name somebody may have meant.

/// Edit distance with swaps of neighbours (optimal string alignment).
func editDistance(_ a: String, _ b: String) -> Int {
    let a = Array(a.utf8), b = Array(b.utf8)
    var before: [Int] = []
    var above = Array(0...b.count)
    for i in 0..<a.count {
        var row = [i + 1] + Array(repeating: 0, count: b.count)
        for j in 0..<b.count {
            row[j + 1] = min(above[j] + (a[i] == b[j] ? 0 : 1), above[j + 1] + 1, row[j] + 1)
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                row[j + 1] = min(row[j + 1], before[j - 1] + 1)
            }
        }
        before = above
        above = row
    }
    return above[b.count]
}

/// The candidate that differs least from `name`, if it is close enough to be a slip of the hand:
/// two edits, or a third of the longer name, but never more than half of it. The first of equals.
func nearest(_ name: String, among candidates: [String]) -> String? {
    let name = name.utf8.count > 64 ? String(name.prefix(64)) : name.lowercased()
    var best: (name: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(name, candidate)
        let longer = max(name.utf8.count, candidate.utf8.count)
        let limit = min(max(2, longer / 3), longer / 2)
        if distance <= limit && distance < (best?.distance ?? .max) {
            best = (candidate, distance)
        }
    }
    return best?.name
}
