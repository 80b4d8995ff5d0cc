"""Reading along a sign-on by IEC 62056-21: at which speed the two ends of a line speak next.

Whoever stands between a reader and a meter has to change the rate when they do: after the option
select (`ACK V Z Y`) to that of Z, after the confirmation of mode E to 8N1, and back to 300 Bd 7E1
when the readout, the programming mode or the HDLC link has ended.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from blathy.clock import Instant
from blathy.wire.hdlc_frames import FrameDecoder, FrameType
from blathy.wire.iec62056_21 import BAUD_MODE_C, BREAK, ETX, INITIAL_BAUD, Identification, Mode

Speed = tuple[int, bool]
"""Rate in Bd, and whether 7E1 (else 8N1)."""
AT_REST: Final[Speed] = (INITIAL_BAUD, True)
_IDENTIFICATION: Final = re.compile(rb"(/[^\r\n]{4,})\r\n")
_OPTION: Final = re.compile(rb"\x06(.)([0-6])(.)\r\n")
_KEPT: Final = 256  # octets: longer than any line of a sign-on
_NEVER: Final = Instant(0)  # frames are only looked for, never given up


class _Phase(Enum):
    SIGN_ON = "sign-on"
    CONFIRMING = "mode E is to be confirmed"
    READOUT = "one block, then the end"
    PROGRAMMING = "until the break"
    HDLC = "until DISC is answered"


class SignOnFollower:
    """Give it the octets of both sides in their order; `speed` is that of the next ones."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """The line is at rest: also to be called when both sides were silent for long."""
        self.speed = AT_REST
        self._phase = _Phase.SIGN_ON
        self._identification: Identification | None = None
        self._heard = {False: b"", True: b""}
        self._frames = {False: FrameDecoder(), True: FrameDecoder()}
        self._leaving = False

    def plain(self, data: bytes) -> bytes:
        """The characters of octets that came: while there are seven bits, without the parity."""
        return bytes(octet & 0x7F for octet in data) if self.speed[1] else data

    def take(self, data: bytes, *, from_meter: bool) -> bool:
        """Whether the speed changes once these octets have passed."""
        before = self.speed
        if self._phase is _Phase.HDLC:
            self._follow_link(data, from_meter=from_meter)
            return self.speed != before
        self._heard[from_meter] = heard = (self._heard[from_meter] + data)[-_KEPT:]
        if self._phase is _Phase.SIGN_ON:
            self._follow_sign_on(heard, from_meter=from_meter)
        elif self._phase is _Phase.CONFIRMING:
            if from_meter and (_OPTION.search(heard) or b"\x7e" in heard):
                self._go(_Phase.HDLC, (self.speed[0], False))
        elif BREAK in heard or (from_meter and self._phase is _Phase.READOUT and _is_over(heard)):
            self.begin()
        return self.speed != before

    def _go(self, phase: _Phase, speed: Speed) -> None:
        self._phase, self.speed = phase, speed
        self._heard = {False: b"", True: b""}

    def _follow_sign_on(self, heard: bytes, *, from_meter: bool) -> None:
        if from_meter:
            found = _IDENTIFICATION.search(heard)
            known = found and Identification.parse(found[1].decode("ascii", "replace"))
            self._identification = known or self._identification
            if known and known.mode is Mode.B:
                self._go(_Phase.READOUT, (known.baud, True))
            return
        option = _OPTION.search(heard)
        if option is None or self._identification is None:
            return
        speed = (BAUD_MODE_C[option[2].decode()], True)
        if option[1] == option[3] == b"2" and self._identification.hdlc:
            self._go(_Phase.CONFIRMING, speed)
        else:
            self._go(_Phase.READOUT if option[3] == b"0" else _Phase.PROGRAMMING, speed)

    def _follow_link(self, data: bytes, *, from_meter: bool) -> None:
        for frame in self._frames[from_meter].receive(data, _NEVER):
            if not from_meter:
                self._leaving = frame.kind is FrameType.DISC
            elif self._leaving and frame.kind in {FrameType.UA, FrameType.DM}:
                self.begin()
                return


def _is_over(heard: bytes) -> bool:
    """Whether a readout has come with its block check character."""
    end = heard.rfind(ETX)
    return 0 <= end == len(heard) - 2
