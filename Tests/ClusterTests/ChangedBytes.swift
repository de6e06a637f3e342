// ChangedBytes.swift - a disk that does not give back what was written.

import Foundation

/// Changes `bytes` where they first stand in each segment of these folders, if these are there.
///
/// - Returns: in how many files they stood.
func changeBytes(_ bytes: [UInt8], in folders: [String]) throws -> Int {
    var count = 0
    for folder in folders where FileManager.default.fileExists(atPath: folder) {
        for name in try FileManager.default.contentsOfDirectory(atPath: folder)
        where name.hasSuffix(".seg") {
            let url = URL(fileURLWithPath: folder + "/" + name)
            guard let range = try Data(contentsOf: url).range(of: Data(bytes)) else { continue }
            let handle = try FileHandle(forUpdating: url)
            try handle.seek(toOffset: UInt64(range.lowerBound))
            try handle.write(contentsOf: Data(bytes.map { $0 ^ 0xFF }))
            try handle.close()
            count += 1
        }
    }
    return count
}
