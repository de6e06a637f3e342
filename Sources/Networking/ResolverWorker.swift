// ResolverWorker.swift - questions in flight: asked once, answered once, by a deadline.
//
// Takes     questions from the inbox, results from libunbound.
// Gives     answers to event loops.
// Never     touched by another thread than its own.

import CUnbound
import Glibc
import Primitives

/// One question and all who wait for its answer.
private final class Flight {
    let question: Question
    let deadline: Instant
    var askers: [Asker]
    /// Parts that libunbound works on.
    var open: [OpenPart] = []
    var results: [DNSResult] = []
    var isOver = false

    init(_ question: Question, _ asker: Asker, deadline: Instant) {
        self.question = question
        self.askers = [asker]
        self.deadline = deadline
    }
}

/// What libunbound gives back with a result; retained by hand while libunbound has it.
private final class OpenPart {
    unowned let worker: ResolverWorker
    let flight: Flight
    let type: DNSType
    var id: Int32 = 0

    init(_ worker: ResolverWorker, _ flight: Flight, _ type: DNSType) {
        self.worker = worker
        self.flight = flight
        self.type = type
    }
}

final class ResolverWorker {
    private let context: UnboundContext
    private let inbox: ResolverInbox
    private let timeout: Duration
    private var flights: [Question: Flight] = [:]
    /// Not given to libunbound yet.
    private var waiting = RingBuffer<Flight>()
    /// In the order of their deadlines, as all have the same time; flights that are over stay in
    /// it.
    private var deadlines = RingBuffer<Flight>()
    /// Parts that libunbound works on.
    private var inFlight = 0

    init(_ context: UnboundContext, _ inbox: ResolverInbox, timeout: Duration) {
        self.context = context
        self.inbox = inbox
        self.timeout = timeout
    }

    /// Until the inbox says stop.
    func run() {
        while true {
            var sources = [
                pollfd(fd: ub_fd(self.context.pointer), events: Int16(POLLIN), revents: 0),
                pollfd(fd: self.inbox.wake, events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&sources, 2, self.pause())
            invariant(ready >= 0 || errno == EINTR, "poll on two descriptors of ours")
            if sources[0].revents != 0 { self.takeResults() }
            let (questions, stopping) = self.inbox.take()
            for (question, asker) in questions { self.accept(question, asker) }
            self.expire()
            self.launch()
            if stopping {
                self.stop()
                return
            }
        }
    }

    /// Milliseconds until the next deadline, rounded up; -1: none.
    private func pause() -> Int32 {
        while let first = self.deadlines.first, first.isOver { _ = self.deadlines.popFirst() }
        guard let first = self.deadlines.first else { return -1 }
        let left = (first.deadline - SystemClock.bootTime()).inMilliseconds
        return Int32(clamping: max(0, left) + 1)
    }

    private func takeResults() {
        let result = ub_process(self.context.pointer)
        // Only if its pipe broke, that is if its thread is gone: answers would never come.
        invariant(result == UB_NOERROR.rawValue, "libunbound hands over its results")
    }

    private func accept(_ question: Question, _ asker: Asker) {
        guard DNSName.canBeAsked(question.name) else {
            asker.take(
                question.kind == .mx
                    ? .mx(.noDomain, lifetime: nil) : .addresses(.noDomain, lifetime: nil))
            return
        }
        if let flight = self.flights[question] {
            flight.askers.append(asker)
            return
        }
        let deadline = SystemClock.bootTime() + self.timeout
        let flight = Flight(question, asker, deadline: deadline)
        self.flights[question] = flight
        self.deadlines.append(flight)
        self.waiting.append(flight)
    }

    /// Gives libunbound what waits, up to the limit.
    private func launch() {
        while self.inFlight < Resolver.Limits.inFlight, let flight = self.waiting.popFirst() {
            if flight.isOver { continue }
            let types: [DNSType] =
                switch flight.question.kind {
                case .mx: [.mx]
                case .v4: [.a]
                case .addresses: [.aaaa, .a]
                }
            for type in types {
                let part = OpenPart(self, flight, type)
                self.inFlight += 1
                flight.open.append(part)
                let box = Unmanaged.passRetained(part)
                let result = ub_resolve_async(
                    self.context.pointer, flight.question.name, type.rawValue, 1, box.toOpaque(),
                    { box, error, result in
                        guard let box else { return }
                        let part = Unmanaged<OpenPart>.fromOpaque(box).takeRetainedValue()
                        part.worker.finish(part, DNSResult(part.type, error, result))
                        if let result { ub_resolve_free(result) }
                    }, &part.id)
                if result != UB_NOERROR.rawValue {
                    box.release()
                    self.finish(part, DNSResult(type, result, nil))
                }
            }
        }
    }

    private func finish(_ part: OpenPart, _ result: DNSResult) {
        let flight = part.flight
        self.inFlight -= 1
        flight.open.removeAll { $0 === part }
        if flight.isOver { return }
        flight.results.append(result)
        let expected = flight.question.kind == .addresses ? 2 : 1
        guard flight.results.count == expected else { return }
        self.end(
            flight,
            flight.question.kind == .mx
                ? DNSResult.mx(flight.results[0]) : DNSResult.addresses(flight.results))
    }

    private func end(_ flight: Flight, _ answer: Answer) {
        flight.isOver = true
        self.flights[flight.question] = nil
        for asker in flight.askers { asker.take(answer) }
        flight.askers = []
    }

    private func expire() {
        let now = SystemClock.bootTime()
        while let first = self.deadlines.first, first.isOver || first.deadline <= now {
            _ = self.deadlines.popFirst()
            if first.isOver { continue }
            self.cancel(first)
            let reason = "no answer of the DNS servers in \(self.timeout.inMilliseconds / 1000) s"
            self.end(first, .failed(DNSFailure(.timeout, reason), first.question.kind))
        }
    }

    /// No callback comes for a cancelled question: what it would have released is released here.
    private func cancel(_ flight: Flight) {
        for part in flight.open {
            ub_cancel(self.context.pointer, part.id)
            Unmanaged.passUnretained(part).release()
            self.inFlight -= 1
        }
        flight.open = []
    }

    private func stop() {
        let failure = DNSFailure(.overloaded, "the resolver is stopped")
        while let flight = self.deadlines.popFirst() {
            if flight.isOver { continue }
            self.cancel(flight)
            self.end(flight, .failed(failure, flight.question.kind))
        }
    }
}
