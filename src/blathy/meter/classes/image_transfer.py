"""Image transfer (class 18): initiate, blocks in any order, verify, activate.

Every block is durable before it is acknowledged, so a transfer goes on after a power cut where it
stopped. Activation changes the program's version only: the legally relevant part has its own
identification and is no part of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.objects import (
    BOOL,
    OS,
    U32,
    Attribute,
    CosemObject,
    Method,
    refused,
    require,
    setting,
    structure_shape,
)
from blathy.models.firmware import IMAGE_BYTES_MAX, ImageError, read_image
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

BLOCK_BYTES: Final = 512
_TRUE: Final = axdr.encode(axdr.boolean(True))
_META: Final = b"image:meta"
_BLOCK: Final = b"image:block:"


class ImageStatus(IntEnum):
    """image_transfer_status (class 18, attribute 6)."""

    NOT_INITIATED = 0
    INITIATED = 1
    VERIFICATION_INITIATED = 2
    VERIFICATION_SUCCESSFUL = 3
    VERIFICATION_FAILED = 4
    ACTIVATION_INITIATED = 5
    ACTIVATION_SUCCESSFUL = 6
    ACTIVATION_FAILED = 7


class ImageStore:
    """The image that is being received: its name, its blocks, how far it is."""

    __slots__ = ("_meter", "_received", "block_bytes", "identifier", "size", "status")

    def __init__(self, meter: Meter, block_bytes: int) -> None:
        self._meter = meter
        self.block_bytes = block_bytes
        self.status = ImageStatus.NOT_INITIATED
        self.identifier = b""
        self.size = 0
        self._received = 0  # a bit for every block that is here
        self._restore()

    def _restore(self) -> None:
        settings = self._meter.settings
        if (raw := settings.get(_META)) is None:
            return
        status, size, identifier = axdr.decode(raw).value
        self.status = ImageStatus(status.value)
        self.size = int(size.value)
        self.identifier = bytes(identifier.value)
        prefix = len(_BLOCK)
        blocks = (key[prefix:] for key in settings if key.startswith(_BLOCK))
        self._received = sum(1 << int.from_bytes(number, "big") for number in blocks)

    def _save(self) -> None:
        meta = axdr.structure(
            axdr.enum(self.status), axdr.u32(self.size), axdr.octets(self.identifier)
        )
        self._meter.save_setting(_META, axdr.encode(meta))

    @property
    def blocks(self) -> int:
        return -(-self.size // self.block_bytes)

    @property
    def first_missing(self) -> int:
        """The first block that is not here; the number of blocks when all are."""
        missing = ~self._received
        return min((missing & -missing).bit_length() - 1, self.blocks)

    def bitmap(self) -> str:
        return "".join("1" if self._received >> n & 1 else "0" for n in range(self.blocks))

    def initiate(self, identifier: bytes, size: int) -> None:
        """Begin anew; blocks of an earlier transfer are dropped."""
        if not 0 < size <= IMAGE_BYTES_MAX or len(identifier) > 64:
            raise refused("the size or the name of the image is out of range")
        self._meter.drop_settings(_BLOCK)
        self._received = 0
        self.identifier, self.size = identifier, size
        self.status = ImageStatus.INITIATED
        self._save()

    def put(self, number: int, block: bytes) -> None:
        """Store one block; raise AccessError where it does not belong to the image."""
        if self.status not in {ImageStatus.INITIATED, ImageStatus.VERIFICATION_FAILED}:
            raise refused("no image transfer is under way")
        last = number == self.blocks - 1
        wanted = self.size - number * self.block_bytes if last else self.block_bytes
        if not 0 <= number < self.blocks or len(block) != wanted:
            raise refused("this block is not part of the image")
        self._meter.save_setting(_BLOCK + number.to_bytes(4, "big"), block)
        self._received |= 1 << number
        if self.status is not ImageStatus.INITIATED:
            self.status = ImageStatus.INITIATED
            self._save()

    def image(self) -> bytes:
        settings = self._meter.settings
        return b"".join(settings[_BLOCK + n.to_bytes(4, "big")] for n in range(self.blocks))

    def verify(self) -> None:
        """Check completeness, signature and model; AccessError where the image is refused."""
        if self.status is ImageStatus.NOT_INITIATED:
            raise refused("no image was transferred")
        if self.first_missing != self.blocks:
            raise AccessError(ActionResult.TEMPORARY_FAILURE, "blocks are missing")
        try:
            image = read_image(self.image(), self._meter.identity.maker_key())
            if image.model != self._meter.model.key:
                raise ImageError("the image is for another model")
        except ImageError as error:
            self.status = ImageStatus.VERIFICATION_FAILED
            self._save()
            self._meter.record("firmware_refused")
            raise refused(str(error)) from error
        self.status = ImageStatus.VERIFICATION_SUCCESSFUL
        self._save()
        self._meter.record("firmware_ready")

    def activate(self) -> None:
        """Run the verified image from now on (verifying it first where that was not done)."""
        if self.status is not ImageStatus.VERIFICATION_SUCCESSFUL:
            self.verify()
        image = read_image(self.image(), self._meter.identity.maker_key())
        self._meter.save_setting(b"text:firmware", image.version.encode())
        self.status = ImageStatus.ACTIVATION_SUCCESSFUL
        self._save()
        self._meter.record("firmware_activated")


def image_object(facility: Facility) -> CosemObject:
    """Class 18."""
    obis = facility.obis

    def block_size(meter: Meter) -> bytes:
        return axdr.encode_u32(meter.image.block_bytes)

    def transferred(meter: Meter) -> bytes:
        return axdr.encode(axdr.bits(meter.image.bitmap()))

    def missing(meter: Meter) -> bytes:
        return axdr.encode_u32(meter.image.first_missing)

    def status(meter: Meter) -> bytes:
        return axdr.encode_enum(meter.image.status)

    def to_activate(meter: Meter) -> bytes:
        image = meter.image
        if image.status not in {
            ImageStatus.VERIFICATION_SUCCESSFUL, ImageStatus.ACTIVATION_SUCCESSFUL,
        }:  # fmt: skip
            return axdr.encode(axdr.array())
        signature = image.image()[-64:] if image.first_missing == image.blocks else b""
        entry = axdr.structure(
            axdr.u32(image.size), axdr.octets(image.identifier), axdr.octets(signature)
        )
        return axdr.encode(axdr.array(entry))

    attributes = (
        Attribute(block_size),
        Attribute(transferred),
        Attribute(missing),
        setting(obis, 5, axdr.boolean(True), BOOL),
        Attribute(status),
        Attribute(to_activate),
    )
    return CosemObject(
        18,
        0,
        obis,
        facility.group,
        facility.title,
        attributes,
        (
            _enabled(obis, _initiate),
            _enabled(obis, _block),
            _enabled(obis, lambda meter, _data: meter.image.verify()),
            _enabled(obis, lambda meter, _data: meter.image.activate()),
        ),
    )


def _enabled(obis: Obis, act: Callable[[Meter, Data], None]) -> Method:
    """The method works only while image_transfer_enabled is true."""
    key = bytes(obis) + b"\x05"

    def run(meter: Meter, data: Data, _who: Requester) -> bytes:
        if meter.settings.get(key, _TRUE) != _TRUE:
            raise refused("image transfer is not enabled")
        act(meter, data)
        return b""

    return run


def _initiate(meter: Meter, data: Data) -> None:
    require(data, structure_shape(OS, U32), "an image has a name and a size")
    meter.image.initiate(bytes(data.value[0].value), int(data.value[1].value))


def _block(meter: Meter, data: Data) -> None:
    require(data, structure_shape(U32, OS), "a block has a number and its octets")
    meter.image.put(int(data.value[0].value), bytes(data.value[1].value))
