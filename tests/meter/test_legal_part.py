"""The legally relevant part of a meter, from outside: a meter process with its store on disk, its
port, and whatever a client with every key can try (WELMEC 7.2)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectCache, ObjectRefused, VolatileCounterStore
from blathy.client.counters import CounterStore
from blathy.client.sync import SyncMeter
from blathy.cosem import axdr
from blathy.cosem.objectlist import ObjectEntry
from blathy.meter.identity import maker_private_key
from blathy.models import MODELS
from blathy.models.firmware import build_image
from blathy.quantity import Quantity
from blathy.store.audit import AuditEntry
from blathy.store.store import Store
from blathy.transport.errors import Refused
from tests.processes import Process, start

ENERGY = "1-1:1.8.0"
SOFTWARE_ID = "1-1:0.2.8"
FIRMWARE = "1-1:0.2.0"
IMAGE = "0-0:44.0.0"
THRESHOLD = "1-1:96.51.1"
EVENTS = "0-0:99.98.0"
PARAMETERS_CHANGED = 47
LEGAL_CLASSES = frozenset({3, 4, 5})


class Running:
    """A meter process; `kill` is the power cut."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.counters: CounterStore = VolatileCounterStore()
        self.process: Process | None = None
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        self.process = start(
            "meter", "run", "omnipower", "--port", "dlms-tcp:127.0.0.1:0", "--days", "0",
            "--data", self.data,
        )  # fmt: skip
        for line in self.process.until("Ctrl-C"):
            level, _, url = line.strip().partition(" ")
            if "dlms://" in url:
                self.urls[level] = url.strip()

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process.close()
            self.process = None

    @contextmanager
    def client(self, level: str = "management") -> Iterator[SyncMeter]:
        talk = Client.connect(self.urls[level], counters=self.counters, cache=ObjectCache())
        with SyncMeter(talk) as port:
            yield port

    def audit(self) -> tuple[AuditEntry, ...]:
        """The audit chain on disk, once the meter has ended; a broken one does not load."""
        store = Store.open(self.data / "meter.sqlite")
        try:
            return store.meter("omnipower-12345678").audit_trail()
        finally:
            store.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path)
    one.start()
    try:
        yield one
    finally:
        one.end()


def energy(port: SyncMeter) -> float:
    value = port.read(ENERGY)
    assert isinstance(value, Quantity)
    return float(value)


def registers(port: SyncMeter) -> list[ObjectEntry]:
    return [entry for entry in port.objects() if entry.class_id in LEGAL_CLASSES]


@pytest.mark.requirement("OMNI-13")
def test_legal_registers_are_out_of_reach_and_parameters_leave_evidence(running: Running) -> None:
    """Every attribute and method of every register, by every client, is refused; a parameter may be
    changed, and who did it stands in the log at the port and in the chained trail on disk."""
    for level in ("management", "installer", "reader", "consumer"):
        with running.client(level) as port:
            before = energy(port)
            tried = 0
            for entry in registers(port):
                if level != "management" and entry.obis.d != 8:
                    continue
                parameter = any(int(row.right) & 2 for row in entry.attributes)
                for attribute in entry.attributes:
                    if parameter or attribute.index == 1:
                        continue
                    tried += 1
                    with pytest.raises(Refused):
                        port.set((str(entry.obis), attribute.index), axdr.u32(0))
                for method in entry.methods:
                    with pytest.raises(ObjectRefused):
                        port.action(entry.obis, method.index)
            assert tried > 50
            assert energy(port) >= before
    with running.client() as port:
        identification = port.read(SOFTWARE_ID)
        port.set(THRESHOLD, 4321)
        logged = port.read((EVENTS, 2))
        assert isinstance(logged, tuple)
        assert logged[-1][1] == PARAMETERS_CHANGED
    running.end()
    trail = [(entry.note.who, entry.note.what, entry.note.detail) for entry in running.audit()]
    changed = axdr.decode(bytes.fromhex(trail[-1][2].partition(" = ")[2]))
    assert trail[-1][:2] == ("client 1", "set")
    assert trail[-1][2].startswith(f"{THRESHOLD}/2 = ")
    assert changed.value == 4321
    assert not any(f"{ENERGY}/" in detail for _, _, detail in trail)
    running.start()
    with running.client() as port:
        assert port.read(SOFTWARE_ID) == identification


@pytest.mark.requirement("OMNI-16")
def test_firmware_comes_from_afar_over_a_power_cut_and_the_legal_part_stays(
    running: Running,
) -> None:
    """The meter is killed in the middle of the transfer; it says which block it wants next, takes
    the rest in any order, runs the new version, and its legal part is the same to the last bit."""
    signer = maker_private_key(MODELS["omnipower"], "meter/1")
    image = build_image("omnipower", "V9.9", bytes(range(256)) * 40, signer)
    with running.client() as port:
        identification, before = port.read(SOFTWARE_ID), energy(port)
        size = int(float(str(port.read(IMAGE))))
        blocks = [image[at : at + size] for at in range(0, len(image), size)]
        assert len(blocks) > 5
        port.action(IMAGE, "image_transfer_initiate", named(len(image)))
        for number in (0, 1, 3):
            port.action(IMAGE, "image_block_transfer", block(number, blocks[number]))
    running.kill()
    running.start()
    with running.client() as port:
        assert port.read((IMAGE, 6)) == 1  # initiated
        assert port.read((IMAGE, 4)) == 2  # the first that is missing
        with pytest.raises(Refused):
            port.action(IMAGE, "image_verify")
        for number in reversed(range(len(blocks))):
            if number not in {0, 1, 3}:
                port.action(IMAGE, "image_block_transfer", block(number, blocks[number]))
        port.action(IMAGE, "image_verify")
        port.action(IMAGE, "image_activate")
        assert port.read((IMAGE, 6)) == 6  # activated
        assert text_of(port, FIRMWARE) == "V9.9"
        assert port.read(SOFTWARE_ID) == identification
        assert energy(port) >= before


@pytest.mark.requirement("OMNI-16")
def test_firmware_that_is_not_the_makers_changes_nothing(running: Running) -> None:
    foreign = maker_private_key(MODELS["omnipower"], "somebody else")
    image = build_image("omnipower", "V6.6", bytes(3000), foreign)
    with running.client() as port:
        version, identification = text_of(port, FIRMWARE), port.read(SOFTWARE_ID)
        size = int(float(str(port.read(IMAGE))))
        port.action(IMAGE, "image_transfer_initiate", named(len(image)))
        for number, at in enumerate(range(0, len(image), size)):
            port.action(IMAGE, "image_block_transfer", block(number, image[at : at + size]))
        with pytest.raises(Refused):
            port.action(IMAGE, "image_verify")
        with pytest.raises(Refused):
            port.action(IMAGE, "image_activate")
        assert (text_of(port, FIRMWARE), port.read(SOFTWARE_ID)) == (version, identification)


def named(octets: int) -> axdr.Data:
    return axdr.structure(axdr.octets(b"V9.9"), axdr.u32(octets))


def block(number: int, octets: bytes) -> axdr.Data:
    return axdr.structure(axdr.u32(number), axdr.octets(octets))


def text_of(port: SyncMeter, code: str) -> str:
    value = port.read(code)
    return value.decode() if isinstance(value, bytes) else str(value)
