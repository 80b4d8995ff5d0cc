"""Meters that are delivered with interface encryption: everybody but the public client is served
only what he asks for authenticated and encrypted, at every port."""

from __future__ import annotations

import re
import socket

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, Refused, Untrusted, VolatileCounterStore
from blathy.client.readout import TextMeter
from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.meter.readout import mode_of
from blathy.models.model import Level, Mechanism, ModelError
from blathy.obis import Obis
from blathy.quantity import Quantity
from blathy.transport.errors import MeterError
from blathy.wire.association import Envelope, Protection
from tests.meter.running import fed, gurux, made, served
from tests.waiting import run

ENCRYPTING = ("k162m", "k382m", "omnipower")
ENERGY = "1-1:1.8.0"
GET_ENERGY = bytes.fromhex("C001C1000301010108" + "00FF0200")
NOT_ALLOWED = "d80101"


def url_of(meter: Meter, port: int, level: Level, scheme: str = "dlms") -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test", [scheme])
    return next(line.split()[1] for line in lines if line.startswith(level.value))


def connected(url: str) -> Client:
    return Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())


@pytest.mark.requirement("K-12", "OMNI-19")
@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
@pytest.mark.parametrize("key", ENCRYPTING)
@pytest.mark.parametrize("mechanism", [Mechanism.HLS_GMAC, Mechanism.LLS])
def test_as_delivered_it_is_read_encrypted_and_not_otherwise(
    key: str, scheme: str, mechanism: Mechanism
) -> None:
    """All levels with secrets, by the clients' own URLs; the same with protect=none opens
    nothing, however the client proves itself."""
    ways = tuple((level, mechanism) for level in Level)
    meter = fed(key, 1, options=MeterOptions(mechanisms=ways))

    async def test() -> None:
        for level in (Level.MANAGEMENT, Level.READER, Level.INSTALLER, Level.CONSUMER):
            url = url_of(meter, port, level, scheme)
            async with connected(url) as client:
                assert isinstance(await client.read(ENERGY), Quantity)
                if level is Level.MANAGEMENT:
                    assert await client.read(("0-0:43.0.0", 2)) == 0x6C
                    with pytest.raises(Refused):  # it cannot be loosened
                        await client.action("0-0:43.0.0", "security_activate", axdr.enum(0))
            plain = re.sub("&protect=both", "", url) + "&protect=none"
            with pytest.raises(Refused, match="protect=both"):
                await connected(plain).open()
        async with connected(url_of(meter, port, Level.PUBLIC, scheme)) as public:
            with pytest.raises(MeterError):
                await public.read(ENERGY)

    with served(meter) as port:
        run(test)


@pytest.mark.requirement("K-12", "OMNI-19")
@pytest.mark.parametrize("key", ENCRYPTING)
@pytest.mark.parametrize("protection", [0, Protection.AUTHENTICATED, Protection.ENCRYPTED])
def test_in_an_encrypted_association_nothing_less_is_served(key: str, protection: int) -> None:
    """A GET in clear, authenticated only or encrypted only, with the right keys and counters."""
    meter = fed(key, 1)
    energy = AttributeRef(3, Obis.parse(ENERGY), 2)

    async def test() -> None:
        async with connected(url_of(meter, port, Level.MANAGEMENT)) as client:
            talk = client.conversation
            link, security = talk._link, talk.association.security
            assert security is not None
            request = GET_ENERGY
            if protection:
                request = security.protect(request, protection, Envelope.GLO)
            link.send(request)
            assert (await link.receive()).hex() == NOT_ALLOWED
            # The association stands, and the same GET as the policy wants it is answered.
            assert isinstance(await client.get(energy), bytes)

    with served(meter) as port:
        run(test)
    meter.flush()
    codes = [entry.name for entries in meter.books.logs.values() for entry in entries]
    assert "access_refused" in codes


@pytest.mark.requirement("K-12")
@pytest.mark.interop
@pytest.mark.parametrize("key", ENCRYPTING)
def test_a_foreign_client_reads_it_encrypted(key: str) -> None:
    meter = fed(key, 1)
    with served(meter) as port:
        found = gurux(
            {
                "port": port, "client": 1, "auth": "hls5", "clock": "0.1.1.0.0.255",
                "ek": meter.key("unicast").hex(), "ak": meter.key("authentication").hex(),
                "register": "1.1.1.8.0.255",
            }
        )  # fmt: skip
    assert found["register"] == 1200 * 24 * len(meter.model.phases)


@pytest.mark.parametrize("key", ENCRYPTING)
def test_a_wrong_key_opens_nothing(key: str) -> None:
    meter = fed(key, 1)

    async def test() -> None:
        url = url_of(meter, port, Level.MANAGEMENT)
        for name in ("ek", "ak"):
            wrong = re.sub(f"{name}=[0-9a-f]+", f"{name}={'0' * 32}", url)
            with pytest.raises(Untrusted, match="key"):
                await connected(wrong).open()

    with served(meter) as port:
        run(test)


def test_ordered_without_encryption_it_serves_in_clear() -> None:
    meter = fed("omnipower", 1, options=MeterOptions(encryption=False))

    async def test() -> None:
        url = url_of(meter, port, Level.MANAGEMENT) + "&protect=none"
        async with connected(url) as client:
            assert isinstance(await client.read(ENERGY), Quantity)
            assert await client.read(("0-0:43.0.0", 2)) == 0

    with served(meter) as port:
        run(test)


# --- IEC 62056-21 by choice ----------------------------------------------------------------------


@pytest.mark.requirement("OMNI-19")
@pytest.mark.parametrize("mode", ["A", "C"])
def test_the_omnipower_can_be_ordered_with_iec_62056_21(mode: str) -> None:
    meter = fed("omnipower", 1, options=MeterOptions(iec62056_21=mode))

    async def test() -> None:
        async with TextMeter.connect(f"iec62056-21://127.0.0.1:{port}") as reader:
            rows = {row.address: row for row in await reader.readout()}
            assert reader.identification is not None
            assert reader.identification.mode.value == mode
        async with connected(url_of(meter, port, Level.MANAGEMENT)) as client:
            energy = await client.read(ENERGY)
        assert isinstance(energy, Quantity)
        shown = next(row for code, row in rows.items() if code.endswith("1.8.0"))
        assert float(shown.value) == pytest.approx(float(energy) / 1000, abs=1)

    with served(meter) as port:
        run(test)


@pytest.mark.requirement("OMNI-19")
def test_as_delivered_its_interface_says_nothing_in_clear() -> None:
    """Neither a readout nor an identification: the connection is closed."""
    with served(fed("omnipower", 1)) as port:
        for request in (b"/?!\r\n", b"/?12345678!\r\n", b"\x06050\r\n"):
            with socket.create_connection(("127.0.0.1", port), 120) as line:
                line.settimeout(120)
                line.sendall(request)
                assert line.recv(100) == b""


def test_a_mode_that_the_model_does_not_leave_open_cannot_be_ordered() -> None:
    with pytest.raises(ModelError, match="identification fixes the mode"):
        mode_of(made("mt372").model, MeterOptions(iec62056_21="A"))
    with pytest.raises(ModelError, match="none, A, C"):
        mode_of(made("omnipower").model, MeterOptions(iec62056_21="E"))
