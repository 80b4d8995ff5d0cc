"""Octets of conversations from texts and files of every kind.

Hex as people have it (blanks, colons, `0x`, C arrays, escapes), dumps with offsets (tcpdump -x,
hexdump -C, xxd, od, Wireshark), traces with a direction in front (`TX:`, `RX:`, `Send`, `->`), our
own record files, raw octets, pcap and pcapng.

A record file is text: `> hex` from the client, `< hex` from the meter, `#` a remark; with a number
in front (`2> hex`) where several connections were open at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from blathy.client.chunk import CaptureError, Chunk
from blathy.client.packets import Packet, chunks_of, conversations, is_capture, link_of
from blathy.wire import acse, apdu
from blathy.wire.errors import RemoteProtocolError

SIZE_MAX: Final = 64 << 20
NO_HEX: Final = "this is not hex"
_CLIENT: Final = frozenset({
    "tx", "send", "sent", "sending", "request", "out", "->", "-->", "=>", ">", ">>", "→", "client",
})  # fmt: skip
_METER: Final = frozenset({
    "rx", "recv", "received", "receive", "receiving", "response", "in", "<-", "<--", "<=", "<",
    "<<", "←", "meter", "server",
})  # fmt: skip
_WORDS: Final = "|".join(sorted(filter(str.isalpha, _CLIENT | _METER), key=len, reverse=True))
_ARROWS: Final = "|".join(
    re.escape(mark)
    for mark in sorted(_CLIENT | _METER, key=len, reverse=True)
    if not mark.isascii() or not mark.isalpha()
)
_MARK: Final = re.compile(
    r"^(?P<before>[^A-Za-z<>→←]*(?:\b[A-Za-z]+\b[^A-Za-z<>→←]*){0,3}?)"
    rf"(?P<mark>(?<![\w-])(?:{_WORDS})(?![\w=-])|{_ARROWS})",
    re.IGNORECASE | re.ASCII,
)
_NOT_OCTETS: Final = re.compile(
    r"\d{2,4}[-./]\d\d[-./]\d{2,4}[T ]?|\d{1,2}:\d\d:\d\d(?:[.,:]\d+)?:?(?=\s|$)"
    r"|\(\d+(?:\s*(?:bytes?|octets?))?\)|\[\d+\]|\b\d+\s*(?:bytes?|octets?)\b|\blen(?:gth)?=\d+",
    re.IGNORECASE | re.ASCII,
)
_SEPARATORS: Final = re.compile(r"0x|\\x|[\s:,;.{}\[\]()\"'|_-]", re.IGNORECASE | re.ASCII)
_SHORT_OCTET: Final = re.compile(r"\b0x([0-9a-f])\b", re.IGNORECASE)
_PREFIX_MAX: Final = 120  # time, level, module: the direction stands within so many characters
_DUMP_LINE: Final = re.compile(r"^\s*(?:0x)?([0-9a-f]{4,8})(:?)\s+(\S.*)$", re.IGNORECASE)
_DUMP_OCTETS: Final = 16  # in a line
_TRY: Final = "check the file, or give hex digits (base64 through `base64 -d` first)"
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def load(source: str) -> list[Chunk]:
    """From a hex text, or from a file of any kind named by `source`."""
    path = Path(source)
    try:
        is_file = len(source) < 4096 and path.is_file()
        is_folder = bool(source) and not is_file and path.is_dir()
    except (OSError, ValueError):
        is_file = is_folder = False
    if is_folder:
        raise CaptureError(f"{source} is a folder", "name a file in it")
    if not is_file:
        try:
            return from_text(source)
        except CaptureError as error:
            if error.message != NO_HEX:
                raise
            shown = f"{source[:60]}…" if len(source) > 60 else source
            raise CaptureError(f"{shown!r} is neither a file nor hex", _TRY) from error
    try:
        if path.stat().st_size > SIZE_MAX:
            raise CaptureError(
                f"{path} is larger than {SIZE_MAX >> 20} MiB", "cut a part out of it"
            )
        return from_octets(path.read_bytes())
    except OSError as error:
        raise CaptureError(f"{path} can't be read: {error.strerror}", "check its rights") from error


def from_hex(text: str) -> bytes:
    """Octets of a hex text with blanks, colons, commas, 0x and line ends."""
    if "0x" in text or "0X" in text:
        text = _SHORT_OCTET.sub(r"0\1", text)
    digits = _SEPARATORS.sub("", text)
    if not digits.isascii():
        raise CaptureError(NO_HEX, "give two hex digits an octet")
    if len(digits) % 2 and re.fullmatch("[0-9a-fA-F]+", digits):
        raise CaptureError(
            f"{len(digits)} hex digits are no whole octets", "a digit is missing or one too many"
        )
    try:
        data = bytes.fromhex(digits)
    except ValueError as error:
        raise CaptureError(NO_HEX, "give two hex digits an octet") from error
    if not data:
        raise CaptureError("there are no octets", "give hex or the name of a file")
    return data


def from_octets(data: bytes) -> list[Chunk]:
    """The content of a file, whatever its kind."""
    if is_capture(data):
        return chunks_of(data)
    text = _text(data)
    if text is None:
        return [Chunk("", data)]
    try:
        return from_text(text)
    except CaptureError:
        if data.lstrip()[:1] == b"/":  # a readout of IEC 62056-21 or of a P1 port
            return [Chunk("", data)]
        raise


def _text(data: bytes) -> str | None:
    """As people's editors and terminals write texts; None for raw octets."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            return None
    if _BINARY.search(data):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def from_text(text: str) -> list[Chunk]:
    """A record, a trace with directions, a dump with offsets, or plain hex."""
    marked = list(from_record(text))
    if marked:
        return marked
    dumps = _dumps(text)
    if dumps:
        return _of_dumps(dumps)
    return _of_hex(text)


def from_record(text: str) -> Iterator[Chunk]:
    """The octets of a record file or of a trace whose lines name a direction."""
    sender, conversation = "", ""
    gathered: list[str] = []
    for line in text.splitlines():
        mark = _marked(line)
        if mark is None:
            if gathered and not line.lstrip().startswith("#") and _is_hex(line):
                gathered.append(line)
            continue
        if gathered:
            yield Chunk(sender, from_hex(" ".join(gathered)), conversation=conversation)
        sender, conversation, octets = mark
        gathered = [octets]
    if gathered:
        yield Chunk(sender, from_hex(" ".join(gathered)), conversation=conversation)


def _marked(line: str) -> tuple[str, str, str] | None:
    """Sender, connection and hex of a line that begins with a direction."""
    if line.lstrip().startswith("#"):
        return None
    found = _MARK.match(line[:_PREFIX_MAX])
    if found is None:
        return None
    octets = _NOT_OCTETS.sub(" ", line[found.end() :].split("#")[0]).strip(" :\t")
    if not octets or not _is_hex(octets):
        return None
    sender = "client" if found["mark"].lower() in _CLIENT else "meter"
    number = found["before"].strip()
    ours = found["mark"] in {"<", ">"} and number.isdecimal() and number.isascii()
    return sender, number if ours else "", octets


def _is_hex(text: str) -> bool:
    try:
        return bool(from_hex(text))
    except CaptureError:
        return False


def to_record(chunks: list[Chunk]) -> str:
    """The text of a record file."""
    return "".join(
        f"{chunk.conversation}{'<' if chunk.sender == 'meter' else '>'} {chunk.data.hex(' ')}\n"
        for chunk in chunks
    )


# --- texts without directions -------------------------------------------------------------------


def _dumps(text: str) -> list[bytes]:
    """The blocks of a dump with offsets; empty where the text is none."""
    lines = [match for line in text.splitlines() if (match := _DUMP_LINE.match(line))]
    for radix in (16, 8):
        found: list[bytearray] = []
        for match in lines:
            try:
                offset = int(match[1], radix)
            except ValueError:
                break
            octets = _dumped(match)
            if offset == 0 and octets:
                found.append(bytearray())
            if not found or offset != len(found[-1]) or (not octets and offset == 0):
                break
            found[-1] += octets
        else:
            if found and len(lines) > len(found):
                return [bytes(block) for block in found]
            # One line alone may just as well be hex, but none that is begins with zeros.
            if found and len(lines) == len(text.strip().splitlines()):
                return [bytes(block) for block in found]
    return []


def _dumped(match: re.Match[str]) -> bytes:
    """The octets of one line, without the text beside them."""
    text = match[3].split("|")[0]
    text = re.split(r"\s{2,}" if match[2] else r"\s{3,}|\t", text)[0]
    octets = b""
    swapped = len(match[1]) == 7  # hexdump and od write words as a little-endian machine has them
    for word in text.split():
        if not re.fullmatch(r"[0-9a-fA-F]{2}|[0-9a-fA-F]{4}", word):
            break
        part = bytes.fromhex(word)
        octets += part[::-1] if swapped else part
        if len(octets) >= _DUMP_OCTETS:
            break
    return octets[:_DUMP_OCTETS]


def _of_dumps(blocks: list[bytes]) -> list[Chunk]:
    """Packets where the dump shows headers of IP or Ethernet, else the octets themselves."""
    links = [link_of(block) for block in blocks]
    if not any(links):
        return [Chunk("", block) for block in blocks]
    pairs = zip(links, blocks, strict=True)
    return conversations(Packet(link, block) for link, block in pairs if link is not None)


def _of_hex(text: str) -> list[Chunk]:
    """One run of octets; or an APDU a line, where only each line by itself is one."""
    lines = [line.split("#")[0] for line in text.splitlines()]
    lines = [line for line in lines if line.strip()]
    whole = from_hex(" ".join(lines))
    if len(lines) > 1 and not _is_apdu(whole):
        try:
            parts = [from_hex(line) for line in lines]
        except CaptureError:
            return [Chunk("", whole)]
        if all(map(_is_apdu, parts)):
            return [Chunk("", part) for part in parts]
    return [Chunk("", whole)]


def _is_apdu(octets: bytes) -> bool:
    decode = acse.decode if 0x60 <= octets[0] <= 0x63 else apdu.decode
    try:
        decode(octets)
    except RemoteProtocolError:
        return False
    return True


__all__ = [
    "CaptureError",
    "Chunk",
    "from_hex",
    "from_octets",
    "from_record",
    "from_text",
    "load",
    "to_record",
]
