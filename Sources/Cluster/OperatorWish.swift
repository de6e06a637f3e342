// OperatorWish.swift - one command of an operator on its way, and how long it is waited for.
//
// Takes     a command of the own session.
// Gives     its result; or, within about a second of its loss, that there is no quorum; or that its
//           time is over.
// Never     waits for a leader that may not come: operators ask again, no verb does harm twice.
// See       ClusterView, NodeChanges; Docs/Operations.md, "Without a quorum".

import MailQueue
import NIOCore
import Networking
import Primitives

extension ClusterView {
    /// Proposes for an operator; nobody is kept waiting longer than `patience`.
    ///
    /// - Throws: `.noQuorum` if there is none for about a second meanwhile, or at the end of
    ///   `patience`, else `.timedOut` then; either way the command may take effect yet.
    func propose(
        _ action: Command.Action, patience: Duration
    ) async throws(Failure) -> CommandResult {
        let node = self.node
        let result: Result<CommandResult, Failure> = await withCheckedContinuation { continuation in
            node.onLoop { node in
                guard node.machine.session != .none else {
                    return continuation.resume(returning: .failure(.starting))
                }
                let wish = OperatorWish(node, patience: patience, continuation)
                node.propose(action, .answer { wish.end(.success($0)) })
            }
        }
        return try result.get()
    }

    /// Why the queue did not do what an operator wants.
    func failure(of result: CommandResult) async -> Failure {
        guard result == .refused(.sessionClosed) else {
            return .conflict("the queue refuses it: \(result)")
        }
        // The node was cut off for as long as a session lives; or it ends.
        return await self.onLoop { node in
            switch node.phase {
            case .starting, .opening, .ready: .noQuorum
            case .stopping, .stopped: .stopping
            }
        }
    }
}

/// A command whose result somebody waits for. Confined to the node's loop.
private final class OperatorWish {
    /// How long an election may take before the wait is given up.
    private static let quorumPatience = Duration.seconds(1)
    private static let pollInterval = TimeAmount.milliseconds(50)

    private let node: Node
    private let endsAt: Instant
    /// Nil: it was answered.
    private var continuation:
        CheckedContinuation<Result<CommandResult, ClusterView.Failure>, Never>?
    private var watch: RepeatedTask?
    /// Nil: there is a quorum.
    private var lackingSince: Instant?

    init(
        _ node: Node, patience: Duration,
        _ continuation: CheckedContinuation<Result<CommandResult, ClusterView.Failure>, Never>
    ) {
        self.node = node
        self.endsAt = SystemClock.bootTime() + patience
        self.continuation = continuation
        let bound = NIOLoopBound(self, eventLoop: node.loop)
        self.watch = node.loop.scheduleRepeatedTask(
            initialDelay: Self.pollInterval, delay: Self.pollInterval
        ) { _ in bound.value.look() }
    }

    private func look() {
        let now = SystemClock.bootTime()
        self.lackingSince = self.node.hasQuorum ? nil : self.lackingSince ?? now
        if let since = self.lackingSince, now - since >= Self.quorumPatience {
            self.end(.failure(.noQuorum))
        } else if now >= self.endsAt {
            self.end(.failure(self.lackingSince == nil ? .timedOut : .noQuorum))
        }
    }

    /// The first of several answers counts.
    func end(_ result: Result<CommandResult, ClusterView.Failure>) {
        self.watch?.cancel()
        self.watch = nil
        self.continuation?.resume(returning: result)
        self.continuation = nil
    }
}
