"""APDUs of every service from one seed: what two implementations are compared on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final, TypeVar

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.acse import AssociationResult, Context, DiagnosticSource, Mechanism, UserDiagnostic
from blathy.wire.apdu import AccessKind, Apdu, VariableName

CLASSES: Final = (1, 3, 4, 5, 7, 8, 70)
Maker = Callable[[Random], Apdu]
Item = TypeVar("Item")


def number(draw: Random, bits: int, *, signed: bool = False) -> int:
    edges = (0, 1, (1 << bits - 1) - 1, (1 << bits) - 1)
    value = draw.choice((*edges, draw.getrandbits(bits), draw.getrandbits(bits)))
    return value - (1 << bits - 1) if signed else value


def scalar(draw: Random) -> Data:
    makers: tuple[Callable[[], Data], ...] = (
        axdr.null,
        lambda: axdr.u8(number(draw, 8)), lambda: axdr.u16(number(draw, 16)),
        lambda: axdr.u32(number(draw, 32)), lambda: axdr.u64(number(draw, 64)),
        lambda: axdr.i8(number(draw, 8, signed=True)),
        lambda: axdr.i16(number(draw, 16, signed=True)),
        lambda: axdr.i32(number(draw, 32, signed=True)),
        lambda: axdr.i64(number(draw, 64, signed=True)),
        lambda: axdr.enum(number(draw, 8)),
        lambda: axdr.octets(draw.randbytes(draw.choice((1, 6, 12, 127, 128, 300)))),
        lambda: axdr.visible("Watt hour " * draw.randint(1, 3)),
        lambda: axdr.bits("".join(draw.choice("01") for _ in range(draw.choice((1, 8, 9, 24))))),
    )  # fmt: skip
    return draw.choice(makers)()


def value(draw: Random, depth: int = 2) -> Data:
    kind = draw.random()
    if not depth or kind < 0.6:
        return scalar(draw)
    items = [value(draw, depth - 1) for _ in range(draw.randint(1, 4))]
    if kind < 0.8:
        return axdr.structure(*items)
    return axdr.array(*(axdr.u32(number(draw, 32)) for _ in items))


def octets(draw: Random) -> bytes:
    return axdr.encode(value(draw))


def invoke(_draw: Random) -> int:
    return 0xC1  # gurux 1.0.203 writes no other from XML


def attribute(draw: Random) -> AttributeRef:
    return AttributeRef(draw.choice(CLASSES), Obis(*draw.randbytes(6)), draw.randint(1, 9))


def selected(draw: Random) -> AttributeRef:
    by_entry = axdr.structure(
        axdr.u32(number(draw, 32)), axdr.u32(number(draw, 32)), axdr.u16(1), axdr.u16(0)
    )
    return replace(attribute(draw), selector=2, parameters=axdr.encode(by_entry))


def method(draw: Random) -> MethodRef:
    return MethodRef(draw.choice(CLASSES), Obis(*draw.randbytes(6)), draw.randint(1, 9))


def block(draw: Random) -> tuple[bool, int, bytes]:
    return draw.random() < 0.5, number(draw, 32), draw.randbytes(draw.choice((1, 60, 127, 200)))


def several(draw: Random, maker: Callable[[Random], Item]) -> tuple[Item, ...]:
    return tuple(maker(draw) for _ in range(draw.randint(1, 5)))


def error(draw: Random) -> int:
    return draw.choice((1, 2, 3, 4, 9, 11, 12, 13, 14, 250))


def name(draw: Random) -> VariableName:
    return VariableName(number(draw, 16))


def lists(draw: Random) -> tuple[tuple[AttributeRef, ...], tuple[bytes, ...]]:
    count = draw.randint(1, 5)
    return tuple(attribute(draw) for _ in range(count)), tuple(octets(draw) for _ in range(count))


def access_request(draw: Random) -> Apdu:
    what = [
        draw.choice((
            (AccessKind.GET, attribute(draw), axdr.encode_null()),
            (AccessKind.SET, attribute(draw), octets(draw)),
            (AccessKind.ACTION, method(draw), octets(draw)),
        ))
        for _ in range(draw.randint(1, 4))
    ]  # fmt: skip
    return apdu.AccessRequest(
        0x4000_0000 | draw.getrandbits(24), b"", tuple((k, r) for k, r, _ in what),
        tuple(data for _, _, data in what),
    )  # fmt: skip


def access_response(draw: Random) -> Apdu:
    count = draw.randint(1, 4)
    kinds = [draw.choice(tuple(AccessKind)) for _ in range(count)]
    return apdu.AccessResponse(
        draw.getrandbits(24), b"", None, tuple(octets(draw) for _ in range(count)),
        tuple((kind, draw.choice((0, 3))) for kind in kinds),
    )  # fmt: skip


def aarq(draw: Random) -> bytes:
    conformance = draw.getrandbits(24)
    request = apdu.InitiateRequest(conformance, draw.choice((0xFFFF, 1024)))
    return acse.Aarq(
        Context.LN, request.encode(), mechanism=Mechanism.LLS, authentication_value=b"12345678",
    ).encode()  # fmt: skip


def aare(draw: Random) -> bytes:
    response = apdu.InitiateResponse(draw.getrandbits(24), draw.choice((2048, 400)))
    return acse.Aare(
        Context.LN, AssociationResult.ACCEPTED, DiagnosticSource.USER, UserDiagnostic.NULL,
        response.encode(),
    ).encode()  # fmt: skip


def notification(draw: Random) -> Apdu:
    time = draw.choice((b"", bytes.fromhex("07ea01020501000000ffc400")))
    return apdu.DataNotification(draw.getrandbits(24), time, octets(draw))


MAKERS: Final[dict[str, Maker]] = {
    "get-request-normal": lambda d: apdu.GetRequestNormal(invoke(d), attribute(d)),
    "get-request-normal, selective": lambda d: apdu.GetRequestNormal(invoke(d), selected(d)),
    "get-request-next": lambda d: apdu.GetRequestNext(invoke(d), number(d, 32)),
    "get-request-with-list": lambda d: apdu.GetRequestList(invoke(d), several(d, attribute)),
    "get-response-normal": lambda d: apdu.GetResponseNormal(invoke(d), octets(d)),
    "get-response-normal, error": lambda d: apdu.GetResponseNormal(invoke(d), error(d)),
    "get-response-with-datablock": lambda d: apdu.GetResponseBlock(invoke(d), *block(d)),
    "get-response-with-list": lambda d: apdu.GetResponseList(invoke(d), several(d, octets)),
    "set-request-normal": lambda d: apdu.SetRequestNormal(invoke(d), attribute(d), octets(d)),
    "set-request-first-datablock": lambda d: apdu.SetRequestFirstBlock(
        invoke(d), attribute(d), *block(d)
    ),
    "set-request-datablock": lambda d: apdu.SetRequestBlock(invoke(d), *block(d)),
    "set-request-with-list": lambda d: apdu.SetRequestList(invoke(d), *lists(d)),
    "set-response-normal": lambda d: apdu.SetResponseNormal(invoke(d), d.choice((0, error(d)))),
    "set-response-datablock": lambda d: apdu.SetResponseBlock(invoke(d), number(d, 32)),
    "set-response-last-datablock": lambda d: apdu.SetResponseLastBlock(
        invoke(d), d.choice((0, error(d))), number(d, 32)
    ),
    "set-response-with-list": lambda d: apdu.SetResponseList(
        invoke(d), tuple(d.choice((0, 3)) for _ in range(d.randint(1, 5)))
    ),
    "action-request-normal": lambda d: apdu.ActionRequestNormal(invoke(d), method(d), octets(d)),
    "action-request-normal, bare": lambda d: apdu.ActionRequestNormal(invoke(d), method(d)),
    "action-request-first-pblock": lambda d: apdu.ActionRequestFirstBlock(
        invoke(d), method(d), *block(d)
    ),
    "action-request-next-pblock": lambda d: apdu.ActionRequestNext(invoke(d), number(d, 32)),
    "action-response-normal": lambda d: apdu.ActionResponseNormal(
        invoke(d), d.choice((0, error(d)))
    ),
    "action-response-normal, data": lambda d: apdu.ActionResponseNormal(invoke(d), 0, octets(d)),
    "access-request": access_request,
    "access-response": access_response,
    "data-notification": notification,
    "event-notification": lambda d: apdu.EventNotification(attribute(d), octets(d)),
    "read-request": lambda d: apdu.ReadRequest(several(d, name)),
    "read-response": lambda d: apdu.ReadResponse(several(d, octets)),
    "read-response, errors": lambda d: apdu.ReadResponse((error(d), octets(d))),
    "write-request": lambda d: apdu.WriteRequest((name(d),), (octets(d),)),
    "write-response": lambda d: apdu.WriteResponse(
        tuple(d.choice((0, 3)) for _ in range(d.randint(1, 5)))
    ),
    "information-report": lambda d: apdu.InformationReport((name(d),), (octets(d),)),
    "exception-response": lambda d: apdu.ExceptionResponse(d.choice((1, 2)), d.choice((1, 2, 3))),
    "confirmed-service-error": lambda d: apdu.ConfirmedServiceError(1, 6, d.choice((0, 1, 2, 3))),
    "initiate-request": lambda d: apdu.InitiateRequest(d.getrandbits(24), d.choice((0xFFFF, 512))),
    "initiate-response": lambda d: apdu.InitiateResponse(d.getrandbits(24), d.choice((2048, 400))),
    "general-block-transfer": lambda d: apdu.GeneralBlockTransfer(
        last=d.random() < 0.5, streaming=False, window=d.randint(1, 63), block=number(d, 16),
        acknowledged=number(d, 16), data=d.randbytes(d.choice((1, 100, 200))),
    ),
}  # fmt: skip
ACSE: Final[dict[str, Callable[[Random], bytes]]] = {"aarq": aarq, "aare": aare}


def generated(kind: str, count: int) -> list[bytes]:
    draw = Random(f"{kind} of the standard")
    if kind in ACSE:
        return [ACSE[kind](draw) for _ in range(count)]
    return [MAKERS[kind](draw).encode() for _ in range(count)]
