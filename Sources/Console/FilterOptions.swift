// FilterOptions.swift - which messages a queue command is about.

import ArgumentParser
import Primitives

enum DeliveryState: String, ExpressibleByArgument, CaseIterable {
    case queued, leased, deferred, held
}

struct FilterOptions: ParsableArguments {
    @Option(help: "The message with this queue id.")
    var id: String?

    @Option(help: "Messages from this address; \"<>\" for none.")
    var from: String?

    @Option(help: "Messages to this address.")
    var to: String?

    @Option(help: "Deliveries to this domain.")
    var domain: String?

    @Option(help: "Accepted longer ago than this, such as 2h.")
    var older: DurationArgument?

    @Option(help: "Accepted within this time, such as 5m.")
    var newer: DurationArgument?

    @Option(help: "queued, leased, deferred or held.")
    var state: DeliveryState?

    @Flag(help: "All messages.")
    var all = false

    /// The members of the filter that are given, with the API's names.
    var members: [JSON.Member] {
        var members: [JSON.Member] = []
        func add(_ name: String, _ value: JSON?) {
            if let value { members.append(JSON.Member(name: name, value: value)) }
        }
        add("id", self.id.map { .text($0) })
        add("from", self.from.map { .text($0 == "<>" ? "" : $0) })
        add("to", self.to.map { .text($0) })
        add("domain", self.domain.map { .text($0) })
        add("older_ms", (self.older?.duration.inMilliseconds).map { .integer($0) })
        add("newer_ms", (self.newer?.duration.inMilliseconds).map { .integer($0) })
        add("state", self.state.map { .text($0.rawValue) })
        if self.all { add("all", true) }
        return members
    }

    /// `&name=value` for each member.
    var query: String {
        self.members.map { member in
            let text =
                member.value.asText ?? member.value.asInteger.map { "\($0)" }
                ?? (member.value.asFlag == true ? "true" : "false")
            return "&\(member.name)=\(percentEncoded(text))"
        }.joined()
    }
}

/// A text as part of a URL (RFC 3986 §2.1): all but unreserved characters are encoded.
func percentEncoded(_ text: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    for byte in text.utf8 {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            bytes.append(byte)
        case _:
            bytes += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}
