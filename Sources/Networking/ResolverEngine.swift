// ResolverEngine.swift - the thread that asks libunbound, and how questions get there.
//
// libunbound's calls block (its context has a lock, its pipe to its own thread may be full), and
// callbacks run inside `ub_process`. So one thread of ours makes all of them.

import Glibc
import NIOCore
import Primitives
import Synchronization

/// What is asked; equal questions in flight are asked once.
struct Question: Hashable, Sendable {
    enum Kind: Hashable, Sendable {
        case mx, v4
        /// AAAA and A at the same time.
        case addresses
    }
    var name: String
    var kind: Kind
}

/// An answer and how long it may be used again; nil: not at all.
enum Answer: Sendable {
    case mx(MXAnswer, lifetime: Duration?)
    case addresses(AddressAnswer, lifetime: Duration?)

    /// The same failure for any kind of question.
    static func failed(_ failure: DNSFailure, _ kind: Question.Kind) -> Answer {
        switch kind {
        case .mx: .mx(.failed(failure), lifetime: nil)
        case .v4, .addresses: .addresses(.failed(failure), lifetime: nil)
        }
    }
}

/// One to whom an answer is owed.
struct Asker: Sendable {
    let loop: any EventLoop  // existential: loops of any group, once per question
    let body: @Sendable (Answer) -> Void

    func take(_ answer: Answer) {
        let body = self.body
        self.loop.execute { body(answer) }
    }
}

/// Questions on their way to the thread.
final class ResolverInbox: Sendable {
    private struct State {
        var questions: [(Question, Asker)] = []
        var waiting = 0
        var stopping = false
    }

    private let state = Mutex(State())
    /// Readable as soon as there is something to take.
    let wake: Int32
    private let signalEnd: Int32

    init() throws(ResolverError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw .system("a pipe", errno) }
        for end in ends {
            let set = fcntl(end, F_SETFL, O_NONBLOCK) == 0 && fcntl(end, F_SETFD, FD_CLOEXEC) == 0
            invariant(set, "flags of a pipe of ours")
        }
        self.wake = ends[0]
        self.signalEnd = ends[1]
    }

    deinit {
        close(self.wake)
        close(self.signalEnd)
    }

    /// False: too many wait, or the thread is stopping.
    func put(_ question: Question, _ asker: Asker) -> Bool {
        let (taken, first) = self.state.withLock { state in
            guard !state.stopping, state.questions.count < Resolver.Limits.waiting else {
                return (false, false)
            }
            state.questions.append((question, asker))
            return (true, state.questions.count == 1)
        }
        if first { self.signal() }
        return taken
    }

    /// False: it was stopping before.
    func stop() -> Bool {
        let first = self.state.withLock { state in
            defer { state.stopping = true }
            return !state.stopping
        }
        if first { self.signal() }
        return first
    }

    /// All questions so far, and whether to stop.
    func take() -> (questions: [(Question, Asker)], stopping: Bool) {
        // Non-blocking; that there was nothing to read is no fault. Emptied before the questions
        // are taken: one that comes between the two signals again.
        var signals: UInt64 = 0
        _ = read(self.wake, &signals, 8)
        return self.state.withLock { state in
            var questions: [(Question, Asker)] = []
            swap(&questions, &state.questions)
            return (questions, state.stopping)
        }
    }

    private func signal() {
        var one: UInt8 = 1
        let written = write(self.signalEnd, &one, 1)
        // EAGAIN: the pipe is full, so the thread is awake anyway.
        invariant(written == 1 || errno == EAGAIN, "a pipe takes a signal")
    }
}

/// The thread and its inbox.
final class ResolverEngine: Sendable {
    private let inbox: ResolverInbox
    private let thread: pthread_t

    init(_ configuration: Resolver.Configuration) throws(ResolverError) {
        let context = try UnboundContext(configuration)
        let inbox = try ResolverInbox()
        let start = ThreadStart(context: context, inbox: inbox, timeout: configuration.timeout)
        let box = Unmanaged.passRetained(start)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
                ResolverWorker(start.context, start.inbox, timeout: start.timeout).run()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw .system("a thread", result)
        }
        self.inbox = inbox
        self.thread = thread
    }

    func ask(
        _ question: Question, on loop: any EventLoop, _ body: @escaping @Sendable (Answer) -> Void
    ) {
        let asker = Asker(loop: loop, body: body)
        if !self.inbox.put(question, asker) {
            let failure = DNSFailure(.overloaded, "too many DNS questions wait")
            asker.take(.failed(failure, question.kind))
        }
    }

    func shutdown() {
        if self.inbox.stop() { pthread_join(self.thread, nil) }
    }

    deinit {
        // Not shut down: the thread ends by itself, and nobody waits for it.
        if self.inbox.stop() { pthread_detach(self.thread) }
    }
}

/// What the thread begins with. `@unchecked Sendable`: handed over once, before the thread runs.
private final class ThreadStart: @unchecked Sendable {
    let context: UnboundContext
    let inbox: ResolverInbox
    let timeout: Duration
    init(context: UnboundContext, inbox: ResolverInbox, timeout: Duration) {
        self.context = context
        self.inbox = inbox
        self.timeout = timeout
    }
}

extension ResolverError {
    static func system(_ what: StaticString, _ code: Int32) -> ResolverError {
        let reason = strerror(code).map { String(cString: $0) } ?? "error \(code)"
        return ResolverError(
            label: "resolver_system", detail: "the resolver cannot get \(what): \(reason)",
            remedy: "Raise the limits of open files and processes of this service")
    }
}
