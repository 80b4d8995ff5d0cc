"""General block transfer (IEC 62056-5-3): any APDU cut into blocks, with windows and lost blocks.

Theory of operation. Each direction counts its own blocks from 1; every block says with BNA up to
which block of the other direction arrived without gap, and with W how many blocks its sender can
take. The sender of data sends as many as the peer's window allows, all but the last of them marked
"streaming" (do not answer yet). The receiver answers with an empty block that acknowledges; after a
gap it acknowledges the last block before the gap, and the sender goes on from there. A block
without window is unconfirmed: nothing is acknowledged, which is how pushes are sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.clock import Instant
from blathy.wire.apdu import GeneralBlockTransfer, decode_block_transfer
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader

WINDOW_MAX: Final = 0x3F
BLOCK_OVERHEAD: Final = 9  # E0, control, BN, BNA, and a length of three octets
ANSWER_TIMEOUT_NS: Final = 5_000_000_000
REPEATS_MAX: Final = 3
BLOCK_NUMBER_MAX: Final = 0xFFFF


@dataclass(slots=True)
class BlockStep:
    """What one received block leads to: blocks to send, and the whole APDU once it is there."""

    send: list[bytes]
    apdu: bytes | None = None
    aborted: bool = False
    confirmed: bool = True


class BlockExchange:
    """One side of one exchange; the same code for client and server.

    `window`: how many blocks we take at once. `octets_max`: the longest APDU that we assemble.
    `initiator`: the client repeats a window that nobody answers; a server waits to be asked again.
    """

    __slots__ = (
        "_acknowledged", "_assembled", "_base", "_complete", "_deadline", "_first", "_next",
        "_octets", "_outgoing", "_own_number", "_peer_window", "_queue", "_received", "_repeats",
        "_size", "_streamed", "initiator", "octets_max", "window",
    )  # fmt: skip

    def __init__(
        self, window: int = 8, octets_max: int = 1 << 20, *, initiator: bool = True
    ) -> None:
        self.window = window
        self.octets_max = octets_max
        self.initiator = initiator
        self._deadline: Instant | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the exchange."""
        self._outgoing = b""
        self._size = 0
        self._base = 0  # block number of the first outgoing block
        self._next = 0  # block number to send next
        self._acknowledged = 0  # the peer has everything up to here
        self._own_number = 0  # last block number that we used
        self._peer_window = 1
        self._received = 0
        self._assembled: list[bytes] = []
        self._octets = 0
        self._queue: dict[int, GeneralBlockTransfer] = {}
        self._streamed = 0
        self._complete = False
        self._first = b""  # the block that began what we received, to know it when it comes again
        self._repeats = 0
        self._deadline = None

    @property
    def active(self) -> bool:
        """True while blocks are missing or unacknowledged."""
        return bool(self._outgoing) or (self._received > 0 and not self._complete)

    # Sending

    def start(
        self, apdu: bytes, apdu_max: int, now: Instant, *, confirmed: bool = True
    ) -> list[bytes]:
        """Cut `apdu` into blocks that fit `apdu_max` and return those that may go at once."""
        self._size = max(apdu_max - BLOCK_OVERHEAD, 1)
        blocks = -(-len(apdu) // self._size)
        if self._own_number + blocks > BLOCK_NUMBER_MAX:
            raise RemoteProtocolError("the peer's APDU size is too small for this APDU")
        self._outgoing = apdu
        self._base = self._next = self._own_number + 1
        self._acknowledged = self._own_number
        if not confirmed:
            sent = [self._block(self._base + i, streaming=False, window=0) for i in range(blocks)]
            self.reset()
            return sent
        return self._stream(now)

    def _last_number(self) -> int:
        return self._base - 1 + -(-len(self._outgoing) // self._size)

    def _block(self, number: int, *, streaming: bool, window: int) -> bytes:
        at = (number - self._base) * self._size
        data = self._outgoing[at : at + self._size]
        last = at + self._size >= len(self._outgoing)
        block = GeneralBlockTransfer(
            last, streaming and not last, window, number, self._received, data
        )
        return block.encode()

    def _stream(self, now: Instant) -> list[bytes]:
        first, last = self._acknowledged + 1, self._last_number()
        until = min(first + max(self._peer_window, 1) - 1, last)
        sent = [
            self._block(number, streaming=number < until, window=self.window)
            for number in range(first, until + 1)
        ]
        self._next = until + 1
        self._own_number = max(self._own_number, until)
        patience = 1 if self.initiator else REPEATS_MAX + 2  # the server waits to be asked again
        self._deadline = Instant(now + patience * ANSWER_TIMEOUT_NS)
        return sent

    # Receiving

    def receive(self, apdu: bytes, now: Instant) -> BlockStep:
        """Take one general-block-transfer APDU."""
        block = decode_block_transfer(Reader(apdu, 1))
        if block.block == 0:
            self.reset()
            return BlockStep([], aborted=True)
        if block.block == 1 and block.acknowledged == 0 and block.data:
            if self._restarts(apdu):
                self.reset()
            self._first = apdu
        unconfirmed = block.window == 0 and (not block.streaming or block.acknowledged == 0)
        self._take_acknowledgement(block)
        if block.data or block.last:
            self._take_data(block, unconfirmed=unconfirmed)
        self._repeats = 0
        if self._complete and self._assembled:
            payload = b"".join(self._assembled)
            self._assembled, self._octets = [], 0
            self._deadline = None
            return BlockStep([], payload, confirmed=not unconfirmed)
        return BlockStep(self._answer(block, now, unconfirmed=unconfirmed))

    def _restarts(self, apdu: bytes) -> bool:
        """A first block starts anew unless it answers what we are sending, or comes again."""
        if self._outgoing and self._received == 0:
            return False
        return apdu != self._first or not (self._outgoing or self._assembled)

    def _take_acknowledgement(self, block: GeneralBlockTransfer) -> None:
        self._peer_window = block.window  # a request says it for its answer
        if not self._outgoing:
            return
        if self._acknowledged < block.acknowledged < self._next:
            self._acknowledged = block.acknowledged
        if self._acknowledged >= self._last_number():
            self._outgoing = b""
            self._deadline = None

    def _take_data(self, block: GeneralBlockTransfer, *, unconfirmed: bool) -> None:
        number = block.block
        if not block.data:
            # An empty block only acknowledges; its number counts so that later ones have no gap.
            if number > self._received and not self._queue:
                self._received = number
            return
        self._streamed += 1
        if number <= self._received or number in self._queue:
            return
        if number > self._received + max(self.window, 1):
            return  # beyond what we offered to take; it will be sent again
        if number > self._received + 1:
            if not unconfirmed:
                self._queue[number] = block
            return
        self._append(block)
        while (queued := self._queue.pop(self._received + 1, None)) is not None:
            self._append(queued)

    def _append(self, block: GeneralBlockTransfer) -> None:
        self._received = block.block
        self._octets += len(block.data)
        if self._octets > self.octets_max:
            self.reset()
            raise RemoteProtocolError(
                f"an APDU of more than {self.octets_max} octets in general block transfer"
            )
        self._assembled.append(block.data)
        self._complete = block.last

    def _answer(
        self, block: GeneralBlockTransfer, now: Instant, *, unconfirmed: bool
    ) -> list[bytes]:
        if self._outgoing:
            return [] if block.streaming else self._stream(now)
        if unconfirmed or not block.data:
            return []
        if block.streaming and self._streamed < self.window:
            self._deadline = Instant(now + ANSWER_TIMEOUT_NS)
            return []
        return self._acknowledge(now)

    def _acknowledge(self, now: Instant) -> list[bytes]:
        self._streamed = 0
        self._own_number += 1
        acknowledgement = GeneralBlockTransfer(
            True, False, self.window, self._own_number, self._received, b""
        )
        self._deadline = Instant(now + ANSWER_TIMEOUT_NS)
        return [acknowledgement.encode()]

    # Time

    def deadline(self) -> Instant | None:
        """When `tick` has to be called if nothing arrives."""
        return self._deadline

    def tick(self, now: Instant) -> BlockStep:
        """Repeat what the peer may have lost; give up after REPEATS_MAX times."""
        if self._deadline is None or now < self._deadline:
            return BlockStep([])
        self._repeats += 1
        if self._outgoing and not self.initiator:
            # The last block of an answer is not acknowledged: the peer has it, or asks again.
            self.reset()
            return BlockStep([])
        if self._repeats > REPEATS_MAX:
            self.reset()
            return BlockStep([], aborted=True)
        if self._outgoing:
            return BlockStep(self._stream(now))
        return BlockStep(self._acknowledge(now))
