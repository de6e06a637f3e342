// ProcessMetrics.swift - what Prometheus expects of every process, read from /proc at each scrape.

import Glibc
import Primitives

enum ProcessMetrics {
    /// The lines; what cannot be read is left out.
    static var text: String {
        var output = "# TYPE posthouse_build_info gauge\n"
        output += "posthouse_build_info{version=\"\(Version.text)\"} 1\n"
        if let fields = Self.statFields(), fields.count > 21 {
            let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
            if let user = Double(fields[11]), let system = Double(fields[12]) {
                output += "# TYPE process_cpu_seconds_total counter\n"
                output += "process_cpu_seconds_total \((user + system) / ticks)\n"
            }
            if let pages = Int(fields[21]) {
                output += "# TYPE process_resident_memory_bytes gauge\n"
                output += "process_resident_memory_bytes \(pages * Int(getpagesize()))\n"
            }
            if let threads = Int(fields[17]) {
                output += "# TYPE process_threads gauge\n"
                output += "process_threads \(threads)\n"
            }
        }
        if let count = Self.openFiles() {
            output += "# TYPE process_open_fds gauge\n"
            output += "process_open_fds \(count)\n"
        }
        return output
    }

    /// The fields of /proc/self/stat behind the name in parentheses; the first is the state.
    private static func statFields() -> [Substring]? {
        guard let file = fopen("/proc/self/stat", "re") else { return nil }
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = fread(&buffer, 1, buffer.count, file)
        let text = String(decoding: buffer[0..<count], as: UTF8.self)
        guard let close = text.lastIndex(of: ")") else { return nil }
        return text[text.index(after: close)...].split { $0 == " " || $0 == "\n" }
    }

    private static func openFiles() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0
        while let entry = readdir(directory) {
            if entry.pointee.d_name.0 != 46 { count += 1 }
        }
        return count - 1
    }
}
