"""Read, Write, UnconfirmedWrite, InformationReport: the services by short name (IEC 62056-5-3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.wire.apdu_logical_names import data_list, read_data_list
from blathy.wire.apdu_tags import Decoder, Tag
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, length_octets, octet_string


@dataclass(frozen=True, slots=True)
class VariableName:
    name: int

    def encode(self) -> bytes:
        return b"\x02" + self.name.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ParameterizedAccess:
    name: int
    selector: int
    parameters: bytes

    def encode(self) -> bytes:
        return b"\x04" + self.name.to_bytes(2, "big") + bytes((self.selector,)) + self.parameters


@dataclass(frozen=True, slots=True)
class BlockNumberAccess:
    """Read: asks for the block after this one."""

    block: int

    def encode(self) -> bytes:
        return b"\x05" + self.block.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class ReadDataBlockAccess:
    """Read: a part of a request that is too long for one APDU."""

    last: bool
    block: int
    raw: bytes

    def encode(self) -> bytes:
        return bytes((6, self.last)) + self.block.to_bytes(2, "big") + octet_string(self.raw)


@dataclass(frozen=True, slots=True)
class WriteDataBlockAccess:
    """Write: the data of the request are a part of a request that is too long for one APDU."""

    last: bool
    block: int

    def encode(self) -> bytes:
        return bytes((7, self.last)) + self.block.to_bytes(2, "big")


VariableAccess = (
    VariableName
    | ParameterizedAccess
    | BlockNumberAccess
    | ReadDataBlockAccess
    | WriteDataBlockAccess
)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    variables: tuple[VariableAccess, ...]

    def encode(self) -> bytes:
        return b"\x05" + _variables(self.variables)


@dataclass(frozen=True, slots=True)
class DataBlockResult:
    """Read: one block of an answer that is too long for one APDU."""

    last: bool
    block: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class BlockNumber:
    """Acknowledges a block of a request."""

    block: int


ReadResult = bytes | int | DataBlockResult | BlockNumber


@dataclass(frozen=True, slots=True)
class ReadResponse:
    results: tuple[ReadResult, ...]

    def encode(self) -> bytes:
        parts = [b"\x0c", length_octets(len(self.results))]
        for result in self.results:
            if isinstance(result, bytes):
                parts += (b"\x00", result)
            elif isinstance(result, int):
                parts.append(bytes((1, result)))
            elif isinstance(result, DataBlockResult):
                parts.append(bytes((2, result.last)) + result.block.to_bytes(2, "big"))
                parts.append(octet_string(result.raw))
            else:
                parts.append(b"\x03" + result.block.to_bytes(2, "big"))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class WriteRequest:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"\x06" + _variables(self.variables) + data_list(self.values)


@dataclass(frozen=True, slots=True)
class UnconfirmedWriteRequest:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        return b"\x16" + _variables(self.variables) + data_list(self.values)


@dataclass(frozen=True, slots=True)
class WriteResponse:
    """Per variable: 0 for success, a data-access-result, or the number of a block received."""

    results: tuple[int | BlockNumber, ...]

    def encode(self) -> bytes:
        parts = [b"\x0d", length_octets(len(self.results))]
        for result in self.results:
            if isinstance(result, BlockNumber):
                parts.append(b"\x02" + result.block.to_bytes(2, "big"))
            else:
                parts.append(bytes((1, result)) if result else b"\x00")
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class InformationReport:
    variables: tuple[VariableAccess, ...]
    values: tuple[bytes, ...]
    time: bytes | None = None

    def encode(self) -> bytes:
        time = b"\x00" if self.time is None else b"\x01" + octet_string(self.time)
        return b"".join((b"\x18", time, _variables(self.variables), data_list(self.values)))


def _variables(variables: tuple[VariableAccess, ...]) -> bytes:
    return length_octets(len(variables)) + b"".join([v.encode() for v in variables])


def _variable(r: Reader) -> VariableAccess:
    choice = r.u8()
    if choice == 2:
        return VariableName(r.u16())
    if choice == 4:
        return ParameterizedAccess(r.u16(), r.u8(), r.data_value())
    if choice == 5:
        return BlockNumberAccess(r.u16())
    if choice == 6:
        return ReadDataBlockAccess(r.flag(), r.u16(), r.octets())
    if choice == 7:
        return WriteDataBlockAccess(r.flag(), r.u16())
    raise RemoteProtocolError(f"a variable access specification of unknown kind {choice}")


def _read_variables(r: Reader) -> tuple[VariableAccess, ...]:
    return tuple([_variable(r) for _ in range(r.length())])


def _read_request(r: Reader) -> ReadRequest:
    request = ReadRequest(_read_variables(r))
    r.done()
    return request


def _read_result(r: Reader) -> ReadResult:
    choice = r.u8()
    if choice == 0:
        return r.data_value()
    if choice == 1:
        return r.u8()
    if choice == 2:
        return DataBlockResult(r.flag(), r.u16(), r.octets())
    if choice == 3:
        return BlockNumber(r.u16())
    raise RemoteProtocolError(f"a read result of unknown kind {choice}")


def read_read_results(r: Reader) -> tuple[ReadResult, ...]:
    results = tuple([_read_result(r) for _ in range(r.length())])
    r.done()
    return results


def results_of_blocks(content: bytes) -> tuple[ReadResult, ...]:
    """What the raw data of data-block-results make together: the list of results as it would have
    stood in one answer, its count first. Some servers send the value alone, which is taken too: as
    a list it would be one that ends early or an empty array with something after it."""
    try:
        return read_read_results(Reader(content))
    except RemoteProtocolError:
        r = Reader(content)
        value = r.data_value()
        r.done()
        return (value,)


def _read_response(r: Reader) -> ReadResponse:
    return ReadResponse(read_read_results(r))


def _write_parts(r: Reader) -> tuple[tuple[VariableAccess, ...], tuple[bytes, ...]]:
    variables, values = _read_variables(r), read_data_list(r)
    r.done()
    if len(variables) != len(values):
        raise RemoteProtocolError("a write whose variables and values differ in number")
    return variables, values


def _write_request(r: Reader) -> WriteRequest:
    return WriteRequest(*_write_parts(r))


def _unconfirmed_write(r: Reader) -> UnconfirmedWriteRequest:
    return UnconfirmedWriteRequest(*_write_parts(r))


def _write_result(r: Reader) -> int | BlockNumber:
    choice = r.u8()
    if choice == 0:
        return 0
    if choice == 1:
        return r.u8()
    if choice == 2:
        return BlockNumber(r.u16())
    raise RemoteProtocolError(f"a write result of unknown kind {choice}")


def _write_response(r: Reader) -> WriteResponse:
    response = WriteResponse(tuple([_write_result(r) for _ in range(r.length())]))
    r.done()
    return response


def _information_report(r: Reader) -> InformationReport:
    time = r.octets() if r.flag() else None
    return InformationReport(*_write_parts(r), time)


DECODERS: Final[dict[int, Decoder]] = {
    Tag.READ_REQUEST: _read_request,
    Tag.WRITE_REQUEST: _write_request,
    Tag.READ_RESPONSE: _read_response,
    Tag.WRITE_RESPONSE: _write_response,
    Tag.UNCONFIRMED_WRITE: _unconfirmed_write,
    Tag.INFORMATION_REPORT: _information_report,
}
