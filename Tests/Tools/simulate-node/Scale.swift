// Scale.swift - what a message costs in larger clusters: the same load on each node, no faults.
//
// Gives     a line for each size. "A message" of a node is one that a client gave to it; each node
//           has as many. Bodies are not compressed here, and TLS is not counted.
// See       Docs/Performance.md.

import Foundation
import NodeSimulator

enum Scale {
    private static let heads = [
        "nodes", "messages/s", "bodies", "other", "frames", "received", "leader, to each", "frames",
        "entries",
    ]

    static func run(_ arguments: Arguments) -> Int32 {
        print("per message of the node, on a node that does not lead; per message of all, leader:")
        print(self.heads.map(self.cell).joined())
        for nodes in arguments.scales {
            var options = NodeRunOptions(scale: nodes)
            options.seconds = arguments.run.seconds
            let result = NodeSimulation.run(seed: 1, options: options)
            if let violation = result.violation {
                print("\(nodes) nodes: \(violation)")
                return 1
            }
            print(self.line(result.traffic, nodes, options.seconds))
        }
        return 0
    }

    private static func line(_ traffic: NodeTraffic, _ nodes: Int, _ seconds: Int) -> String {
        let all = Double(traffic.accepted)
        let own = all / Double(nodes)
        let others = traffic.lines.indices.filter { $0 != traffic.leader }
        func mean(_ value: (NodeTraffic.Line) -> Int) -> Double {
            Double(others.reduce(0) { $0 + value(traffic.lines[$1]) }) / Double(others.count)
        }
        let leader = traffic.lines[traffic.leader]
        let values: [(Double, String)] = [
            (Double(nodes), "%.0f"), (all / Double(seconds), "%.0f"),
            (mean(\.bodyBytes) / own, "%.0f"), (mean(\.otherBytes) / own, "%.0f"),
            (mean(\.frames) / own, "%.2f"), (mean(\.received) / own, "%.2f"),
            (Double(leader.otherBytes) / all / Double(nodes - 1), "%.0f"),
            (Double(leader.frames) / all / Double(nodes - 1), "%.2f"),
            (Double(leader.applied) / all, "%.2f"),
        ]
        return values.map { self.cell(String(format: $0.1, $0.0)) }.joined()
    }

    private static func cell(_ text: String) -> String {
        String(repeating: " ", count: max(1, 16 - text.count)) + text
    }
}
