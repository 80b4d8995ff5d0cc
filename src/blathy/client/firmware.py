"""Firmware to a meter by image transfer (class 18): only blocks that are missing, then verified.

await transfer_image(meter, Path("new.bin").read_bytes(), "new", progress=print)

A transfer that broke off goes on where it stopped, after a lost connection as after a power cut of
the meter: call it again with the same image.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from blathy.client.items import parse_obis
from blathy.client.meter import Meter
from blathy.client.values import ObjectRefused
from blathy.cosem import axdr
from blathy.cosem.classes.enumerations import ImageTransferStatus as Status
from blathy.cosem.service import ActionResult, AttributeRef
from blathy.obis import Obis
from blathy.transport.errors import Garbled, Refused, TimedOut

IMAGE_TRANSFER: Final = 18
ROUNDS_MAX: Final = 3  # over the blocks that the meter says are missing
POLL_S: Final = 1.0
_STARTED: Final = frozenset((Status.INITIATED, Status.VERIFICATION_FAILED))
_UNDER_WAY: Final = (ActionResult.TEMPORARY_FAILURE, ActionResult.OTHER_REASON)

Progress = Callable[[int, int], None]
"""Blocks that the meter has, blocks in all."""


async def transfer_image(
    meter: Meter,
    image: bytes,
    identifier: bytes | str,
    *,
    obis: str = "0-0:44.0.0",
    resume: bool = True,
    activate: bool = True,
    progress: Progress | None = None,
    patience_s: float = 600.0,
) -> None:
    """Transfer, verify and, unless told otherwise, activate a firmware image.

    `resume` goes on with a transfer under way of as many blocks; should the meter then refuse the
    whole, it is sent once from the beginning. Verification and activation may take `patience_s`.
    """
    if not image:
        raise Refused("the image is empty", "give the file that the maker sent")
    name = identifier.encode() if isinstance(identifier, str) else identifier
    transfer = _Transfer(meter, parse_obis(obis), image, name, progress)
    resumed = await transfer.begin(resume=resume)
    await transfer.send_blocks()
    try:
        await transfer.finish("image_verify", Status.VERIFICATION_SUCCESSFUL, patience_s)
    except Refused:
        if not resumed:
            raise
        await transfer.begin(resume=False)  # what was there belonged to another image
        await transfer.send_blocks()
        await transfer.finish("image_verify", Status.VERIFICATION_SUCCESSFUL, patience_s)
    if activate:
        await transfer.finish("image_activate", Status.ACTIVATION_SUCCESSFUL, patience_s)


class _Transfer:
    """One image on its way to one meter."""

    def __init__(
        self, meter: Meter, obis: Obis, image: bytes, name: bytes, progress: Progress | None
    ) -> None:
        self._meter = meter
        self._obis = obis
        self._image = image
        self._name = name
        self._progress = progress
        self._block_bytes = len(image)

    def _ref(self, attribute: int) -> AttributeRef:
        return AttributeRef(IMAGE_TRANSFER, self._obis, attribute)

    async def _number(self, attribute: int) -> int:
        value = (await self._meter.get_data(self._ref(attribute))).value
        if not isinstance(value, int):
            raise Garbled(f"{self._meter.address.place}: {self._obis} tells no number", "try again")
        return value

    @property
    def _blocks(self) -> int:
        return -(-len(self._image) // self._block_bytes)

    async def begin(self, *, resume: bool) -> bool:
        """Initiate, or find the transfer that is under way; whether one was found."""
        if not await self._number(5):
            await self._meter.set(self._ref(5), axdr.boolean(True))
        self._block_bytes = await self._number(2)
        if self._block_bytes < 1:
            raise Refused(f"{self._obis} takes no blocks", "the meter may need a reset")
        status = await self._number(6)
        if resume and status in _STARTED and any(await self._present()):
            return True
        request = {"image_identifier": self._name, "image_size": len(self._image)}
        await self._meter.call(self._obis, "image_transfer_initiate", request)
        return False

    async def _present(self) -> list[bool]:
        """Which blocks the meter has; none where it counts other blocks than this image has."""
        bits = (await self._meter.get_data(self._ref(3))).value
        fits = isinstance(bits, str) and len(bits) == self._blocks
        return [fits and bits[number] == "1" for number in range(self._blocks)]

    async def send_blocks(self) -> None:
        """Send what is missing until the meter says that nothing is."""
        for _ in range(ROUNDS_MAX):
            present = await self._present()
            missing = [number for number, there in enumerate(present) if not there]
            done = self._blocks - len(missing)
            self._tell(done)
            for number in missing:
                await self._send_block(number)
                done += 1
                self._tell(done)
            if await self._number(4) >= self._blocks:
                return
        raise Garbled(
            f"{self._meter.address.place} loses blocks of the image", "call it again later"
        )

    async def _send_block(self, number: int) -> None:
        start = number * self._block_bytes
        block = axdr.structure(
            axdr.u32(number), axdr.octets(self._image[start : start + self._block_bytes])
        )
        await self._meter.action(self._obis, "image_block_transfer", block)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._blocks)

    async def finish(self, method: str, wanted: Status, patience_s: float) -> None:
        """Verify or activate; a meter may answer first and work on it afterwards."""
        try:
            await self._meter.action(self._obis, method)
        except ObjectRefused as error:
            if error.result not in _UNDER_WAY:
                raise
            failed = error
        else:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        while loop.time() < end:
            status = await self._number(6)
            if status >= wanted and status not in {
                Status.VERIFICATION_FAILED, Status.ACTIVATION_INITIATED, Status.ACTIVATION_FAILED,
            }:  # fmt: skip
                return
            if status in {Status.VERIFICATION_FAILED, Status.ACTIVATION_FAILED}:
                why = Status(status).name.lower().replace("_", " ")
                raise Refused(
                    f"{self._meter.address.place} refuses the image: {why}",
                    "check that it is signed, whole, and made for this model",
                ) from failed
            if status not in {Status.VERIFICATION_INITIATED, Status.ACTIVATION_INITIATED}:
                raise failed
            await asyncio.sleep(POLL_S)
        raise TimedOut(f"{self._meter.address.place} is still at {method}", "look again later")
