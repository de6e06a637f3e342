// HostFinder.swift - asks the DNS what a HostPlan wants to know.
//
// Takes     a target; answers of the resolver.
// Gives     one HostPlanResult, on the loop that asked.
// Never     two questions at a time for the same exchanger; at most `HostPlan.Limit.exchangers`.

package import NIOCore
package import Networking
import Primitives
import SMTP

/// The resolver, as functions; answers come on the loop that is given, once, possibly at once.
package struct NameService: Sendable {
    package var mx:
        @Sendable (String, any EventLoop, @escaping @Sendable (MXAnswer) -> Void) -> Void
    package var addresses:
        @Sendable (String, _ ipv6: Bool, any EventLoop, @escaping @Sendable (AddressAnswer) -> Void)
            -> Void

    package init(
        mx:
            @escaping @Sendable (
                String, any EventLoop, @escaping @Sendable (MXAnswer) -> Void
            ) -> Void,
        addresses:
            @escaping @Sendable (
                String, _ ipv6: Bool, any EventLoop, @escaping @Sendable (AddressAnswer) -> Void
            ) -> Void
    ) {
        self.mx = mx
        self.addresses = addresses
    }

    package init(_ resolver: Resolver) {
        self.mx = { resolver.mx($0, on: $1, $2) }
        self.addresses = { resolver.addresses($0, ipv6: $1, on: $2, $3) }
    }
}

/// One search. `@unchecked Sendable`: confined to `loop`, where all answers arrive.
final class HostFinder: @unchecked Sendable {
    private let names: NameService
    private let loop: any EventLoop  // existential: any group's loop, once per search
    private let ourselves: Ourselves
    private let ipv6: Bool
    private var dice: Generator
    private var answers: [AddressAnswer?] = []
    private var open = 0
    private var plan: HostPlan?
    private let done: (HostPlanResult) -> Void

    /// Starts the search; `done` is called once, at once if nothing has to be asked.
    @discardableResult
    init(
        _ target: Target, routing: Routing, names: NameService, seed: UInt64,
        on loop: any EventLoop, _ done: @escaping (HostPlanResult) -> Void
    ) {
        self.names = names
        self.loop = loop
        self.ourselves = routing.ourselves
        self.ipv6 = routing.ipv6
        self.dice = Generator(seed: seed)
        self.done = done
        switch target {
        case .address(let address, let port):
            done(Self.direct(address, port, routing))
        case .host(let host, let port):
            self.lookUp(HostPlan(host: host, port: port))
        case .domain(let domain, let port):
            names.mx(domain, loop) { answer in
                let plan = HostPlan(
                    domain: domain, port: port, answer: answer, ourselves: self.ourselves,
                    dice: &self.dice)
                self.lookUp(plan)
            }
        }
    }

    private static func direct(
        _ address: IPAddress, _ port: Int, _ routing: Routing
    ) -> HostPlanResult {
        if routing.ourselves.isEndpoint(address, port: port) {
            return .failed(
                Reply(554, EnhancedCode(5, 4, 6), "mail for \(address) comes back to this system"))
        }
        return .hosts([PlannedHost(name: "[\(address)]", address: address, port: port)])
    }

    private func lookUp(_ plan: HostPlan) {
        self.plan = plan
        if let verdict = plan.verdict {
            self.done(verdict)
            return
        }
        self.answers = Array(repeating: nil, count: plan.exchangers.count)
        self.open = plan.exchangers.count
        for (index, exchanger) in plan.exchangers.enumerated() {
            self.names.addresses(exchanger.host, self.ipv6, self.loop) { answer in
                self.answers[index] = answer
                self.open -= 1
                if self.open == 0 { self.finish() }
            }
        }
    }

    private func finish() {
        guard let plan = self.plan else { unreachable("answers without a plan") }
        self.done(
            plan.result(
                self.answers.map { $0 ?? .noRecords }, ourselves: self.ourselves, ipv6: self.ipv6,
                dice: &self.dice))
    }
}
