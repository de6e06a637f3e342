// CatalogueMail.swift - the sections of the catalogue that speak of mail: relay and delivery.

import Primitives

extension Catalogue {
    static let relay = Section<Settings.Relay>(
        name: "relay", isArray: false, text: "Who may send what through this relay.",
        keys: relayRules(Settings.Relay()) + relayLimits(Settings.Relay()))

    private static func relayRules(_ initial: Settings.Relay) -> [Key<Settings.Relay>] {
        [
            Key(
                "allow", .list(of: .range, limit: listLimit, name: "list of address ranges"),
                \.allow, of: initial, effect: .reload,
                "Clients that may relay to anywhere without AUTH."),
            Key(
                "domains",
                .list(
                    of: .domainPattern(allowAll: false), limit: listLimit, name: "list of domains"),
                \.domains, of: initial, effect: .reload,
                "Domains whose mail is accepted from anyone: we are their MX. "
                    + "\"*.example.org\" stands for all subdomains."),
            Key(
                "users", .path, \.users, of: initial, effect: .reload,
                "File of users for AUTH (posthouse user add); empty: no AUTH."),
        ]
    }

    private static func relayLimits(_ initial: Settings.Relay) -> [Key<Settings.Relay>] {
        [
            Key(
                "max_message", .size(1000...2_000_000_000), \.maxMessageBytes, of: initial,
                effect: .reload, "The largest message; a larger one is refused with 552."),
            Key(
                "max_recipients", .integer(100...5000), \.maxRecipients, of: initial,
                effect: .reload,
                "Recipients of one message; more are refused with 452 (RFC 5321 §4.5.3.1.8)."),
            Key(
                "max_messages_per_user_per_hour", .integer(1...10_000_000),
                \.maxMessagesPerUserPerHour, of: initial, effect: .reload,
                "Messages of one authenticated user in an hour; more are refused with 450."),
            Key(
                "max_sessions", .integer(1...1_000_000), \.maxSessions, of: initial,
                effect: .reload, "Sessions at once; more are refused with 421."),
            Key(
                "max_sessions_per_address", .integer(1...1_000_000), \.maxSessionsPerAddress,
                of: initial, effect: .reload, "Sessions at once from one address."),
            Key(
                "max_messages_per_session", .integer(1...1_000_000_000), \.maxMessagesPerSession,
                of: initial, effect: .reload, "Messages in one session, then 421."),
            Key(
                "idle_timeout", .duration(.seconds(1)...(.seconds(3600))), \.idleTimeout,
                of: initial, effect: .reload,
                "The longest silence of a client; RFC 5321 §4.5.3.2.7 asks for 5m at least."),
            Key(
                "session_timeout", .duration(.seconds(1)...(.seconds(7 * 86_400))),
                \.sessionTimeout, of: initial, effect: .reload,
                "The longest session; a transaction that has begun is finished."),
            Key(
                "max_errors", .integer(1...10_000), \.maxErrors, of: initial, effect: .reload,
                "Commands refused before the session is ended with 421."),
            Key(
                "early_talker_delay", .duration(.zero ... .seconds(30)), \.earlyTalkerDelay,
                of: initial, effect: .reload,
                "How long a new client must stay silent before the banner; 0s: no wait, but what "
                    + "comes in front of the banner still counts."),
            Key(
                "max_received", .integer(10...1000), \.maxReceived, of: initial, effect: .reload,
                "Received fields in a message before it counts as looping (RFC 5321 §6.3)."),
            Key(
                "max_queued_messages", .integer(1...100_000_000), \.maxQueuedMessages,
                of: initial, effect: .reload,
                "Messages in the queue; from then on new ones are refused with 452, until 90 % "
                    + "are left."),
            Key(
                "max_queued_bytes", .size(1_000_000...1_000_000_000_000_000), \.maxQueuedBytes,
                of: initial, effect: .reload,
                "Bytes of all messages in the queue, compressed, one copy; as above."),
        ]
    }

    static let delivery = Section<Settings.Delivery>(
        name: "delivery", isArray: false, text: "How mail is sent on.",
        keys: deliveryWays(Settings.Delivery()) + deliveryLimits(Settings.Delivery()))

    private static func deliveryWays(_ initial: Settings.Delivery) -> [Key<Settings.Delivery>] {
        [
            Key(
                "enabled", .flag, \.enabled, of: initial,
                "false: this node accepts and stores, it does not deliver."),
            Key(
                "helo", .host, \.helo, of: initial, effect: .reload,
                "The name said in EHLO; empty: node.hostname. It should match the reverse name "
                    + "of the address."),
            Key(
                "source", .list(of: .address, limit: 64, name: "list of addresses"), \.source,
                of: initial, effect: .reload,
                "Local addresses to send from; empty: the system chooses."),
            Key(
                "ipv6", .flag, \.ipv6, of: initial, effect: .reload,
                "Whether hosts are reached by IPv6 too."),
            Key(
                "postmaster", .mailbox, \.postmaster, of: initial,
                example: "\"postmaster@example.com\"", effect: .reload,
                "Who gets reports that cannot be returned; empty: postmaster at node.hostname."),
            Key(
                "port", .integer(1...65_535), \.port, of: initial, effect: .reload,
                "The port of MX hosts; anything but 25 is for tests."),
        ]
    }

    private static func deliveryLimits(_ initial: Settings.Delivery) -> [Key<Settings.Delivery>] {
        let days = { (count: Int) in Duration.seconds(count * 86_400) }
        return [
            Key(
                "retry",
                .list(
                    of: .duration(.milliseconds(100)...days(7)), limit: 100,
                    name: "list of durations, 100ms … 7d"),
                \.retry, of: initial, effect: .reload,
                "Waits between the attempts; the last repeats, each ± 10 %."),
            Key(
                "expire", .duration(.seconds(1)...days(60)), \.expire, of: initial, effect: .reload,
                "After this time a message that is not delivered goes back to its sender."),
            Key(
                "delay_notice", .duration(.zero...days(60)), \.delayNotice, of: initial,
                effect: .reload,
                "After this time the sender is told of the delay, once; 0s: never."),
            Key(
                "connections_per_destination", .integer(1...10_000),
                \.connectionsPerDestination, of: initial, effect: .reload,
                "Connections to one destination at once, over all nodes."),
            Key(
                "connections", .integer(1...100_000), \.connections, of: initial, effect: .reload,
                "Connections of this node to all destinations together."),
            Key(
                "recipients_per_transaction", .integer(1...1000), \.recipientsPerTransaction,
                of: initial, effect: .reload,
                "Recipients in one transaction; RFC 5321 §4.5.3.1.8 lets hosts refuse beyond 100."),
            Key(
                "report_message", .size(0...4_000_000), \.reportMessageBytes, of: initial,
                effect: .reload,
                "A report returns only the header of a message larger than this."),
        ]
    }
}
