"""The two errors that may leave a protocol core."""

from __future__ import annotations


class ProtocolError(Exception):
    """Common root of the two; a core raises one of its children, never this."""


class LocalProtocolError(ProtocolError):
    """We tried something that the protocol does not allow in this state: our bug or misuse."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol. `answer` holds the bytes to send back, empty for silence."""

    def __init__(self, reason: str, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.answer = answer
