"""Reading and writing the octets of xDLMS and ACSE: lengths, integers, optional fields.

A-XDR (IEC 61334-6) and BER share their length octets: one octet below 0x80, otherwise 0x80 + n
followed by n octets.
"""

from __future__ import annotations

from typing import Final

from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.wire.errors import RemoteProtocolError

LENGTH_OCTETS_MAX: Final = 4  # a length of more than 4 GiB is nonsense on any meter link


class Reader:
    """A cursor over one APDU; running past the end is the peer's error, never an IndexError."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position
        self.end = len(data)

    def u8(self) -> int:
        at = self.position
        if at >= self.end:
            raise truncated(at)
        self.position = at + 1
        return self.data[at]

    def i8(self) -> int:
        raw = self.u8()
        return raw - 256 if raw > 127 else raw

    def flag(self) -> bool:
        return self.u8() != 0

    def u16(self) -> int:
        at = self.position
        if at + 2 > self.end:
            raise truncated(at)
        self.position = at + 2
        data = self.data
        return data[at] << 8 | data[at + 1]

    def u32(self) -> int:
        at = self.position
        if at + 4 > self.end:
            raise truncated(at)
        self.position = at + 4
        return int.from_bytes(self.data[at : at + 4], "big")

    def take(self, count: int) -> bytes:
        at = self.position
        if at + count > self.end:
            raise truncated(at)
        self.position = at + count
        return self.data[at : at + count]

    def rest(self) -> bytes:
        at = self.position
        self.position = self.end
        return self.data[at:]

    def length(self) -> int:
        """A length or count; one that the rest of the APDU cannot hold is refused at once."""
        first = self.u8()
        if first > 0x7F:
            octets = first & 0x7F
            if not 0 < octets <= LENGTH_OCTETS_MAX:
                raise RemoteProtocolError(f"a length of {octets} octets is not used in xDLMS")
            first = int.from_bytes(self.take(octets), "big")
        if first > self.end - self.position:
            raise truncated(self.position)
        return first

    def octets(self) -> bytes:
        """An octet string with its length in front."""
        data, at = self.data, self.position
        # One octet of length, as before nearly all of the fifty strings of a session: a third less
        # time than in the general way below.
        if at < self.end and data[at] < 0x80:
            end = at + 1 + data[at]
            if end <= self.end:
                self.position = end
                return data[at + 1 : end]
        return self.take(self.length())

    def data_value(self) -> bytes:
        """One Data as its A-XDR octets, tag included."""
        at = self.position
        try:
            end = axdr.skip(self.data, at)
        except ValueError as error:
            raise RemoteProtocolError(f"no well-formed Data at octet {at}: {error}") from error
        if end > self.end:
            raise truncated(at)
        self.position = end
        return self.data[at:end]

    def last_data(self) -> bytes:
        """The one Data that fills the rest of the APDU."""
        value = self.data_value()
        self.done()
        return value

    def attribute(self) -> AttributeRef:
        """cosem-attribute-descriptor with the optional access selection of GET and SET."""
        class_id, obis, index = self.descriptor()
        if self.u8() == 0:
            return AttributeRef(class_id, obis, index)
        selector = self.u8()
        return AttributeRef(class_id, obis, index, selector, self.data_value())

    def method(self) -> MethodRef:
        return MethodRef(*self.descriptor())

    def descriptor(self) -> tuple[int, Obis, int]:
        at = self.position
        if at + 9 > self.end:
            raise truncated(at)
        self.position = at + 9
        data = self.data
        index = data[at + 8]
        return (
            data[at] << 8 | data[at + 1],
            Obis.of(data[at + 2 : at + 8]),
            index - 256 if index > 127 else index,
        )

    def done(self) -> None:
        if self.position != self.end:
            surplus = self.end - self.position
            raise SurplusError(surplus)


class SurplusError(RemoteProtocolError):
    """An APDU is complete, and `count` octets follow."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} octets follow after the end of the APDU")
        self.count = count


def truncated(position: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"the APDU ends before its field at octet {position} is complete")


def length_octets(count: int) -> bytes:
    """A-XDR and BER length octets of `count`."""
    if count < 0x80:
        return bytes((count,))
    if count < 0x100:
        return bytes((0x81, count))
    if count < 0x1_0000:
        return b"\x82" + count.to_bytes(2, "big")
    return b"\x84" + count.to_bytes(4, "big")


def octet_string(value: bytes) -> bytes:
    """Length octets and the octets themselves."""
    size = len(value)
    return bytes((size,)) + value if size < 0x80 else length_octets(size) + value


def attribute_descriptor(ref: AttributeRef) -> bytes:
    """class, logical name, attribute and optional access selection as GET and SET carry them."""
    head = ref.class_id.to_bytes(2, "big") + ref.obis
    index = ref.attribute & 0xFF
    if ref.selector is None:
        return head + bytes((index, 0))
    return head + bytes((index, 1, ref.selector)) + ref.parameters


def method_descriptor(ref: MethodRef) -> bytes:
    return ref.class_id.to_bytes(2, "big") + ref.obis + bytes((ref.method & 0xFF,))
