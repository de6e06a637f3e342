// RecipientVerifier.swift - the seam through which reception asks whether a recipient exists.
//
// Reception knows nothing of delivery: whoever puts the node together joins the two.
// Standard  RFC 5321 §3.6.2, §7.8: a refusal now is better than a bounce to a forged sender.

package import NIOCore
package import SMTP

/// What the next host thinks of a recipient.
package enum RecipientAnswer: Equatable, Sendable {
    case valid
    /// It was refused for good; the client gets this reply.
    case invalid(Reply)
    /// Nobody could be asked, or it was refused for now: the recipient is accepted.
    case unknown
}

/// Asks the host that a recipient's route names; remembers answers.
package protocol RecipientVerifier: Sendable {
    /// - Parameter answer: called once, on `loop`; before this returns if it is remembered.
    func verify(
        _ address: String, on loop: any EventLoop,
        answer: @escaping @Sendable (RecipientAnswer) -> Void)
}
