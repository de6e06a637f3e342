// ClusterTimesTests.swift - the times of sessions changed on a cluster at work, as Operations.md
// tells: new files, reloads, then one restart after the other.

import Foundation
import Testing

extension ProcessTests {
    @Suite("The times of sessions", .timeLimit(.minutes(5))) struct ClusterTimesTests {
        @Test func `with a longer session_time a node may stand still for longer`() throws {
            let dots = Shared(0)
            let mayAnswer = Shared<Bool?>(nil)
            let sink = try Sink(script: { stage, _ in
                guard stage == .dot else { return nil }
                dots.with { $0 += 1 }
                _ = mayAnswer.wait(seconds: 120) { $0 }
                return nil
            })
            let fleet = try Fleet(RelaySettings(sinkPort: sink.port))
            try fleet.waitUntilHealthy()

            // By the usual times another node delivers what this one has begun.
            var holder = try Self.begin(fleet, dots, "usual")
            let began = now()
            holder.pause()
            let isTakenOver = dots.reaches(2, seconds: 60)
            let seconds = now() - began
            holder.resume()
            #expect(isTakenOver)
            mayAnswer.with { $0 = true }
            _ = try sink.wait(for: 2)
            try fleet.waitUntilHealthy()
            #expect(fleet.possibleDuplicates == 1)

            try Self.lengthen(fleet)
            mayAnswer.with { $0 = nil }
            holder = try Self.begin(fleet, dots, "longer")
            holder.pause()
            let isAlone = !dots.reaches(4, seconds: seconds + 1)
            holder.resume()
            #expect(isAlone, "nobody else may deliver it")
            mayAnswer.with { $0 = true }
            let last = try sink.wait(for: 3).last
            #expect(last?.marker == "longer")
            try fleet.waitUntilHealthy()
            let isEmpty = try eventually(within: 20) {
                try fleet.nodes.allSatisfy {
                    try $0.get("/v1/queue").body.contains("longer") == false
                }
            }
            #expect(isEmpty)
            #expect(sink.accepted.count == 3)
            #expect(fleet.possibleDuplicates == 1)
            #expect(try fleet.stop() == [0, 0, 0])
        }

        /// - Returns: the node behind whose final dot the sink keeps silent; it does not lead.
        private static func begin(_ fleet: Fleet, _ dots: Shared<Int>, _ marker: String) throws
            -> Relay
        {
            let before = dots.current
            let reply = try MailClient(port: fleet.nodes[0].port).send(MailClient.message(marker))
            guard reply.code == 250 else { throw Failure("\(reply)") }
            guard dots.reaches(before + 1, seconds: 30) else {
                throw Failure("no attempt: \(fleet.story)")
            }
            let queue = try fleet.nodes[0].get("/v1/queue").body
            guard
                let place = Fleet.names.firstIndex(where: { queue.contains("\"node\":\"\($0)\"") })
            else { throw Failure("nobody has it: \(queue)") }
            if try fleet.leader() == place {
                let ended = try fleet.nodes[0].command(
                    "cluster", "transfer-leader", Fleet.names[(place + 1) % 3])
                guard ended.status == 0 else { throw Failure(ended.errorText) }
                guard try fleet.leader() != place else { throw Failure("still leads") }
            }
            return fleet.nodes[place]
        }

        private static func lengthen(_ fleet: Fleet) throws {
            for node in fleet.nodes {
                node.settings.extra += "session_time = \"40s\"\n"
                try node.writeSettings()
                node.process?.signal(SIGHUP)
                guard node.waitForLog("settings reloaded") else { throw Failure(node.log) }
            }
            for node in fleet.nodes {
                let status = try node.stop(seconds: 30).status
                guard status == 0 else { throw Failure("ends with \(status)") }
                try node.start()
                try fleet.waitUntilHealthy()
            }
            try fleet.waitUntilReady()
        }
    }
}

extension Shared<Int> {
    fileprivate func reaches(_ count: Int, seconds: Double) -> Bool {
        self.wait(seconds: seconds) { $0 >= count ? true : nil } ?? false
    }
}
