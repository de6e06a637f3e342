// DeliveryService.swift - Delivery as the node sees it: takes leases, stops when told.
//
// Takes     leased work from the desk, on the node's loop; settings, when they change.
// Gives     work to the loops: a destination belongs to one of them, chosen by its name.
// Threads   any; each DeliveryLoop is confined to its own.

package import Cluster
package import Logging
import MailQueue
package import NIOCore
import Networking
import Primitives
import SMTP
import Synchronization

/// One per node; attach it to the LeaseDesk.
package final class DeliveryService: LeaseTaker {
    private let loops: [DeliveryLoop]
    private let desk: any DeliveryDesk  // existential: see DeliveryLoop
    private let log: Logger
    private let routing: Mutex<Routing>
    private let isStopping = Mutex(false)

    /// - Parameters:
    ///   - loops: at least one; on a node with one loop everything is called directly.
    ///   - seed: of the dice that mix hosts of equal preference.
    ///   - tick: how often deadlines are looked at.
    package init(
        desk: any DeliveryDesk, routing: Routing, names: NameService, trust: ClientTrust,
        loops: [any EventLoop], seed: UInt64, log: Logger, tick: Duration = .seconds(1)
    ) {
        invariant(!loops.isEmpty, "delivery needs an event loop")
        let meters = DeliveryMeters()
        var dice = Generator(seed: seed)
        self.desk = desk
        self.log = log
        self.routing = Mutex(routing)
        self.loops = loops.map { loop in
            DeliveryLoop(
                on: loop, of: loops.count, desk: desk, routing: routing, names: names,
                trust: trust, seed: dice.next(), log: log, meters: meters)
        }
        for loop in self.loops { loop.loop.execute { loop.start(tick: tick) } }
    }

    /// Each loop gets its share as a whole, in one turn: work of one batch is there together, so
    /// that what can share a connection does.
    package func take(_ work: [LeasedWork]) {
        guard let first = work.first else { return }
        guard work.count > 1 && self.loops.count > 1 else {
            self.hand(work, to: self.loop(for: first))
            return
        }
        for loop in self.loops {
            let share = work.filter { self.loop(for: $0) === loop }
            if !share.isEmpty { self.hand(share, to: loop) }
        }
    }

    package func sharesChanged() {
        for loop in self.loops { loop.loop.execute { loop.sharesChanged() } }
    }

    package func cutConnections(sparesVerdicts: Bool) {
        for loop in self.loops {
            loop.loop.execute { loop.cutConnections(sparesVerdicts: sparesVerdicts) }
        }
    }

    private func hand(_ work: [LeasedWork], to loop: DeliveryLoop) {
        if loop.loop.inEventLoop {
            self.take(work, on: loop)
        } else {
            loop.loop.execute { self.take(work, on: loop) }
        }
    }

    private func loop(for work: LeasedWork) -> DeliveryLoop {
        switch work {
        case .delivery(let delivery): self.loop(for: delivery.destination)
        case .report: self.loops[0]
        }
    }

    private func take(_ work: [LeasedWork], on loop: DeliveryLoop) {
        for item in work {
            switch item {
            case .delivery(let delivery): loop.take(delivery)
            case .report(let report):
                if self.isStopping.withLock({ $0 }) {
                    self.desk.releaseReports([report.id])
                    continue
                }
                Reporter(
                    desk: self.desk, loop: loop.loop, routing: self.routing.withLock { $0 },
                    log: self.log
                ).take(report)
            }
        }
    }

    /// New settings: connections that are opened from now on obey them, idle ones are closed.
    package func reload(_ routing: Routing) {
        self.routing.withLock { $0 = routing }
        for loop in self.loops { loop.loop.execute { loop.use(routing) } }
    }

    /// Asks the hosts of `address` whether they take mail for it; see RecipientProber.
    func probe(_ address: String, _ answer: @escaping @Sendable (ProbeAnswer) -> Void) {
        let domain = String(Recipient(address: address).domain).lowercased()
        let name = self.routing.withLock { $0.table.destination(for: domain) }
        let loop = self.loop(for: name)
        loop.loop.execute {
            loop.probe(Probe(address: address, answer: answer), destination: name, domain: domain)
        }
    }

    /// No new transactions; those that run may finish within `grace`, everything else is released.
    ///
    /// - Returns: done when every connection is closed.
    package func stop(within grace: Duration) -> EventLoopFuture<Void> {
        let deadline = NIODeadline.now() + .nanoseconds(grace.inNanoseconds)
        let first = self.loops[0].loop
        self.isStopping.withLock { $0 = true }
        return .andAllSucceed(
            self.loops.map { loop in
                let promise = loop.loop.makePromise(of: Void.self)
                loop.loop.execute { loop.stop(by: deadline, promise) }
                return promise.futureResult
            }, on: first)
    }

    private func loop(for destination: String) -> DeliveryLoop {
        guard self.loops.count > 1 else { return self.loops[0] }
        var hash = StableHash()
        hash.add(destination)
        return self.loops[Int(hash.value % UInt64(self.loops.count))]
    }
}
