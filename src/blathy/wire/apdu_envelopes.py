"""What carries other APDUs: general block transfer, ciphering, signing, gateway (IEC 62056-5-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.wire.apdu_tags import Decoder, Tag
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, octet_string


@dataclass(frozen=True, slots=True)
class GeneralBlockTransfer:
    """`window`: how many blocks the sender of this APDU can take. `acknowledged`: without gap."""

    last: bool
    streaming: bool
    window: int
    block: int
    acknowledged: int
    data: bytes

    def encode(self) -> bytes:
        control = self.last << 7 | self.streaming << 6 | self.window
        return b"".join((
            bytes((0xE0, control)), self.block.to_bytes(2, "big"),
            self.acknowledged.to_bytes(2, "big"), octet_string(self.data),
        ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServiceCiphered:
    """glo-… and ded-…: `content` is security control, invocation counter, ciphertext and tag."""

    tag: int
    content: bytes

    def encode(self) -> bytes:
        return bytes((self.tag,)) + octet_string(self.content)


@dataclass(frozen=True, slots=True)
class GeneralCiphered:
    """general-glo-ciphering and general-ded-ciphering; the title may be empty where it is known."""

    dedicated: bool
    system_title: bytes
    content: bytes

    def encode(self) -> bytes:
        tag = b"\xdc" if self.dedicated else b"\xdb"
        return b"".join((tag, octet_string(self.system_title), octet_string(self.content)))


@dataclass(frozen=True, slots=True)
class GeneralHeader:
    """The five fields in front of general-ciphering and general-signing."""

    transaction_id: bytes
    originator: bytes
    recipient: bytes
    time: bytes = b""
    other_information: bytes = b""

    def encode(self) -> bytes:
        """The fields with their length octets: part of the authenticated data and the signature."""
        return b"".join(map(octet_string, (
            self.transaction_id, self.originator, self.recipient, self.time, self.other_information,
        )))  # fmt: skip


@dataclass(frozen=True, slots=True)
class IdentifiedKey:
    """0: global unicast encryption key, 1: global broadcast encryption key."""

    key_id: int

    def encode(self) -> bytes:
        return bytes((1, 0, self.key_id))


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key transported under the master key (kek-id 0), RFC 3394."""

    kek_id: int
    wrapped: bytes

    def encode(self) -> bytes:
        return bytes((1, 1, self.kek_id)) + octet_string(self.wrapped)


@dataclass(frozen=True, slots=True)
class AgreedKey:
    """Key agreement: scheme octets and, for one-pass, ephemeral public key and signature."""

    scheme: bytes
    key_data: bytes

    def encode(self) -> bytes:
        return b"\x01\x02" + octet_string(self.scheme) + octet_string(self.key_data)


KeyInfo = IdentifiedKey | WrappedKey | AgreedKey


@dataclass(frozen=True, slots=True)
class GeneralCiphering:
    header: GeneralHeader
    key_info: KeyInfo | None
    content: bytes

    def encode(self) -> bytes:
        key = b"\x00" if self.key_info is None else self.key_info.encode()
        return b"".join((b"\xdd", self.header.encode(), key, octet_string(self.content)))


@dataclass(frozen=True, slots=True)
class GeneralSigning:
    header: GeneralHeader
    content: bytes
    signature: bytes

    def encode(self) -> bytes:
        content, signature = octet_string(self.content), octet_string(self.signature)
        return b"".join((b"\xdf", self.header.encode(), content, signature))


@dataclass(frozen=True, slots=True)
class Gateway:
    """The prefix that a gateway strips off: network, physical address, and the APDU behind."""

    response: bool
    network: int
    address: bytes
    apdu: bytes

    def encode(self) -> bytes:
        head = bytes((0xE7 if self.response else 0xE6, self.network))
        return head + octet_string(self.address) + self.apdu


def decode_block_transfer(r: Reader) -> GeneralBlockTransfer:
    control = r.u8()
    block = GeneralBlockTransfer(
        control & 0x80 != 0, control & 0x40 != 0, control & 0x3F, r.u16(), r.u16(), r.octets()
    )
    r.done()
    return block


def decode_service_ciphered(r: Reader) -> ServiceCiphered:
    envelope = ServiceCiphered(r.data[0], r.octets())
    r.done()
    return envelope


def _general_ciphered(r: Reader) -> GeneralCiphered:
    envelope = GeneralCiphered(r.data[0] == Tag.GENERAL_DED, r.octets(), r.octets())
    r.done()
    return envelope


def _header(r: Reader) -> GeneralHeader:
    return GeneralHeader(r.octets(), r.octets(), r.octets(), r.octets(), r.octets())


def _key_info(r: Reader) -> KeyInfo | None:
    if not r.flag():
        return None
    choice = r.u8()
    if choice == 0:
        return IdentifiedKey(r.u8())
    if choice == 1:
        return WrappedKey(r.u8(), r.octets())
    if choice == 2:
        return AgreedKey(r.octets(), r.octets())
    raise RemoteProtocolError(f"a key-info of unknown kind {choice}")


def _general_ciphering(r: Reader) -> GeneralCiphering:
    envelope = GeneralCiphering(_header(r), _key_info(r), r.octets())
    r.done()
    return envelope


def _general_signing(r: Reader) -> GeneralSigning:
    envelope = GeneralSigning(_header(r), r.octets(), r.octets())
    r.done()
    return envelope


def _gateway(r: Reader) -> Gateway:
    return Gateway(r.data[0] == Tag.GATEWAY_RESPONSE, r.u8(), r.octets(), r.rest())


DECODERS: Final[dict[int, Decoder]] = {
    Tag.GENERAL_GLO: _general_ciphered,
    Tag.GENERAL_DED: _general_ciphered,
    Tag.GENERAL_CIPHERING: _general_ciphering,
    Tag.GENERAL_SIGNING: _general_signing,
    Tag.GENERAL_BLOCK_TRANSFER: decode_block_transfer,
    Tag.GATEWAY_REQUEST: _gateway,
    Tag.GATEWAY_RESPONSE: _gateway,
}
