# SPDX-License-Identifier: MIT
"""Why there is no token: one exception, with what the provider said, what it means and what helps."""

from bridgehead.diagnosis.facts import How


class TokenFault(Exception):
    """No token could be had. The message is fit for logs and never holds a secret.

    Attributes:
        how: REPLY: the provider refused; SILENT: it gave no answer of use; POLICY: a fault of our own.
        answer: what the provider said, one line, "" for nothing.
        remedy: what to do.
        retry_after: seconds that the provider wants to be left alone, 0 where it did not say.
        gone: the refresh token is no longer good.
    """

    def __init__(
        self, reason: str, how: How, *, answer: str = "", remedy: str = "", retry_after: float = 0.0, gone: bool = False
    ) -> None:  # fmt: skip
        super().__init__(reason)
        self.how, self.answer, self.remedy = how, answer, remedy
        self.retry_after, self.gone = retry_after, gone

    def again(self) -> "TokenFault":
        """The same to raise once more: an exception that is raised again and again would keep every traceback."""
        return TokenFault(
            str(self), self.how, answer=self.answer, remedy=self.remedy, retry_after=self.retry_after, gone=self.gone
        )


class StillWaiting(Exception):
    """The person has not entered the code yet (RFC 8628 §3.5). `slower`: ask less often."""

    def __init__(self, *, slower: bool) -> None:
        super().__init__("nobody has entered the code yet")
        self.slower = slower
