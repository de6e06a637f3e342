// StatusPage.swift - `cluster status` for people.
//
// Takes     the document of `GET /v1/cluster`.
// Gives     one page; without a quorum another one, with what to do next.

import Primitives

struct StatusPage {
    private let status: JSON

    init(_ status: JSON) {
        self.status = status
    }

    var text: String {
        if self.status["status"]?.asText == "no_quorum" { return self.withoutQuorum }
        return self.summary + "\n" + self.nodes + self.alarms + self.notes
    }

    private func whole(_ value: JSON?) -> String { Human.count(value?.asInteger ?? 0) }

    private var name: String {
        let name = self.status["name"]?.asText ?? ""
        return name.isEmpty ? "of one" : Human.safe(name)
    }

    private var health: String {
        (self.status["status"]?.asText ?? "unknown").uppercased()
            .split(separator: "_").joined(separator: " ")
    }

    private var summary: String {
        var text = "Cluster  \(self.name)   \(self.health)   "
        text += "can lose \(self.whole(self.status["can_lose"])) more\n"
        for reason in StatusLine.list(self.status["reasons"]) {
            text += "Why      \(reason.sentence)\nNext     \(reason.remedy)\n"
        }
        let leader = self.status["leader"]?.asText
        text += "Leader   \(leader.map { Human.safe($0) } ?? "none")   term "
        text += Human.safe(self.status["term"]?.asText ?? "-") + "\n"
        if let queue = self.status["queue"], !queue.isNull {
            let oldest = queue["oldest_seconds"]?.asInteger
            text += "Queue    \(self.whole(queue["messages"])) messages to "
            text += "\(self.whole(queue["recipients"])) recipients   "
            text += "\(Human.bytes(queue["stored_bytes"]?.asInteger ?? 0)) stored   oldest "
            text += (oldest.map { Human.span(milliseconds: $0 * 1000) } ?? "-") + "\n"
            text +=
                "         due \(self.whole(queue["due"]))   leased \(self.whole(queue["leased"]))"
            text +=
                "   deferred \(self.whole(queue["deferred"]))   held \(self.whole(queue["held"]))\n"
        } else {
            text += "Queue    not known yet: catching up\n"
        }
        let rates = self.status["rates"]
        func rate(_ name: String) -> String { Human.rate(rates?[name]?.asReal ?? 0) }
        text += "Traffic  accepted \(rate("accepted"))   delivered \(rate("delivered"))   "
        text += "deferred \(rate("deferred"))   bounced \(rate("bounced"))   (last 60 s)\n"
        text += "Possible duplicates: \(self.whole(self.status["possible_duplicates"]))\n"
        return text
    }

    /// "*" this node, "L" the leader.
    private func marked(_ node: JSON) -> String {
        let name = node["name"]?.asText ?? "-"
        let isThis = node["name"]?.asText == self.status["node"]?.asText
        let leads = node["leader"]?.asFlag == true
        return (isThis ? "*" : " ") + (leads ? "L " : "  ") + Human.safe(name)
    }

    private var list: [JSON] { self.status["nodes"]?.asList ?? [] }

    private func address(_ node: JSON) -> String {
        let address = node["address"]?.asText ?? ""
        return address.isEmpty ? "-" : Human.safe(address)
    }

    private var nodes: String {
        var table = Table([
            ("   NODE", .left), ("ADDRESS", .left), ("ROLE", .left), ("STATE", .left),
            ("LAG", .right), ("APPLIED", .right), ("LEASES", .right), ("CONNS IN/OUT", .right),
            ("DISK FREE", .right), ("SEEN", .right),
        ])
        for node in self.list {
            let free = node["disk_free_ratio"]?.asReal ?? 0
            let seen = node["seen_ms"]?.asInteger ?? 0
            let sessions = node["sessions"]
            table.rows.append([
                self.marked(node), self.address(node), Human.safe(node["role"]?.asText ?? "-"),
                Human.safe(node["state"]?.asText ?? "-"), self.whole(node["lag"]),
                self.whole(node["applied"]), self.whole(node["leases"]),
                "\(self.whole(sessions?["in"])) / \(self.whole(sessions?["out"]))",
                "\(Int64((free * 100).rounded()))%", Human.span(milliseconds: seen),
            ])
        }
        return table.text
    }

    private var alarms: String {
        let alarms = self.status["alarms"]?.asList ?? []
        let list = alarms.map { Human.safe($0.asText ?? "") }.joined(separator: ", ")
        return "  (* this node, L leader)   Alarms: \(list.isEmpty ? "none" : list)\n"
    }

    private var notes: String {
        StatusLine.list(self.status["notes"]).map {
            "  Note: \($0.sentence)\n  Next: \($0.remedy)\n"
        }.joined()
    }

    // MARK: Without a quorum.

    private var withoutQuorum: String {
        let local = self.status["local"]
        let voters = local?["voters"]?.asInteger ?? 0
        let node = self.status["node"]?.asText ?? ""
        var text = "Cluster  \(self.name)   NO QUORUM   "
        if voters > 0 {
            text += "\(voters / 2 + 1) of \(voters) voters needed, "
            text += "\(self.whole(local?["voters_reachable"])) reachable"
        } else {
            text += "not founded yet"
        }
        text += "   (local view of \(node.isEmpty ? "the asked node" : Human.safe(node))"
        if let since = local?["leaderless_ms"]?.asInteger {
            text += ", no leader for \(Human.span(milliseconds: since))"
        }
        text += ")\n\n"
        var table = Table([
            ("   NODE", .left), ("ADDRESS", .left), ("ROLE", .left), ("STATE", .left),
            ("LAST SEEN", .left), ("LAST ERROR", .left),
        ])
        for node in self.list {
            let error = node["last_error"]?.asText ?? ""
            table.rows.append([
                self.marked(node), self.address(node), Human.safe(node["role"]?.asText ?? "-"),
                Human.safe(node["state"]?.asText ?? "-"),
                Human.span(milliseconds: node["seen_ms"]?.asInteger ?? 0),
                error.isEmpty ? "-" : Human.safe(error, limit: 80),
            ])
        }
        text += table.text
        if let waits = local?["waits_for"]?.asText {
            text += "This node \(Human.safe(waits)).\n"
        }
        guard voters > 0 else { return text + self.next }
        text += "New mail is answered 451 4.3.2. Accepted mail is safe on this disk: applied "
        text += "\(self.whole(local?["applied"])), committed \(self.whole(local?["committed"])).\n"
        return text + self.next
    }

    private var next: String {
        if self.status["local"]?["voters"]?.asInteger ?? 0 == 0 {
            return "Next: start all nodes of cluster.seeds, with equal lists\n"
        }
        let missing = self.list.filter {
            $0["state"]?.asText == "unreachable" && $0["role"]?.asText == "voter"
        }.map { Human.safe($0["name"]?.asText ?? "-") }
        guard !missing.isEmpty else {
            return "Next: wait for the election; if it does not end, look at the nodes' logs\n"
        }
        return "Next: start \(missing.joined(separator: " or "))\n"
            + "Next: if their disks can be had, start them elsewhere with the same node.name\n"
            + "Next: if they are gone for good, the cluster cannot go on by itself: "
            + "keep this data directory\n"
    }
}
