"""Meters that exist only as a function of time: a driver for tests and for the portal's demo."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from blathy.clock import Zone
from blathy.cosem.selective import CaptureObject
from blathy.headend.collection.conversation import (
    Conversation,
    ConversationError,
    DisplayState,
    Light,
    LiveValue,
    LoggedEvent,
    MeterFacts,
    Outcome,
    ProfileRows,
    RegisterValue,
    Sign,
    SupplyState,
)
from blathy.headend.inventory.description import (
    AssociationDescription,
    ChannelDescription,
    FeederDescription,
    MeterDescription,
    PointDescription,
    SiteDescription,
    StationDescription,
    UserDescription,
)
from blathy.headend.inventory.keyring import Secrets
from blathy.headend.inventory.registry import Channel, Meter

ZONE = Zone("Europe/Budapest")
EPOCH = 1_750_000_000 // 900 * 900
"""Registers began to count here."""

CHANNELS = (
    ChannelDescription("a_import", "A+ energy", "1-0:1.8.0", "Wh"),
    ChannelDescription("a_export", "A− energy", "1-0:2.8.0", "Wh"),
    ChannelDescription("r_plus", "R+ energy", "1-0:3.8.0", "varh"),
    ChannelDescription(
        "u_l1", "Voltage L1", "1-0:32.25.0", "V", scaler=-1, kind="instant", cumulative=False
    ),
)
WATER = (
    ChannelDescription(
        "volume", "Volume", "8-1:1.0.0", "m³", scaler=-3, kind="volume", step_s=3600,
        profile="0-1:24.3.0",
    ),
)  # fmt: skip


@dataclass
class FakeMeter:
    """What a meter does, and how it misbehaves."""

    peak_w: float = 3000.0
    photovoltaic_w: float = 0.0
    seed: int = 1
    phases: int = 3
    fails_with: Outcome | None = None
    hangs: bool = False
    holes: list[tuple[int, int]] = field(default_factory=list)
    """[from, to) of slots the meter holds no record of."""
    events: list[LoggedEvent] = field(default_factory=list)
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    opened: int = 0
    connected: bool = True
    index: int = 0
    clock_offset_s: int = 0
    limit_w: int = 0
    balance_wh: int | None = None
    parameters: dict[str, int | bytes] = field(default_factory=dict)
    loses_answers: bool = False
    """Credit is booked and the answer does not come."""
    tamper_with: dict[int, int] = field(default_factory=dict)
    """Record end -> amount added to its register, to contradict an earlier answer."""

    def power_w(self, at: float) -> float:
        if not self.connected:
            return 0.0
        hour = (at + 3600) % 86_400 / 3600
        shape = 0.1 + 0.5 * math.exp(-((hour - 7 - self.seed * 0.1) ** 2) / 3)
        shape += 0.8 * math.exp(-((hour - 19 + self.seed * 0.1) ** 2) / 6)
        if self.peak_w > 5000:
            shape = 0.15 + 0.85 * math.exp(-((hour - 12) ** 2) / 14)
        wiggle = 1 + 0.12 * math.sin(at / 37 + self.seed) + 0.1 * math.sin(at / 311 + self.seed)
        load = self.peak_w * shape * wiggle
        sun = max(0.0, math.cos((hour - 12.7) / 5.2 * math.pi / 2)) if 7.5 < hour < 17.9 else 0.0
        return load - self.photovoltaic_w * sun**1.5

    def slot_wh(self, starts: np.ndarray, direction: int) -> np.ndarray:
        """Energy of quarter-hours, whole Wh, the same for ever."""
        hour = (starts + 3600) % 86_400 / 3600
        shape = 0.1 + 0.5 * np.exp(-((hour - 7 - self.seed * 0.1) ** 2) / 3)
        shape = shape + 0.8 * np.exp(-((hour - 19 + self.seed * 0.1) ** 2) / 6)
        if self.peak_w > 5000:
            weekend = ((starts // 86_400 + 4) % 7) % 6 == 0
            shape = 0.15 + 0.85 * np.exp(-((hour - 12) ** 2) / 14) * np.where(weekend, 0.3, 1.0)
        noise = ((starts // 900 * 2654435761 + self.seed * 97) % 1000) / 1000
        load = self.peak_w * shape * (0.8 + 0.4 * noise)
        sun = np.where((hour > 7.5) & (hour < 17.9), np.cos((hour - 12.7) / 5.2 * np.pi / 2), 0)
        load = load - self.photovoltaic_w * np.clip(sun, 0, 1) ** 1.5
        return np.round(np.clip(direction * load, 0, None) / 4).astype(np.int64)

    def register(self, slug: str, ends: np.ndarray) -> np.ndarray:
        """The register at these moments (multiples of a quarter-hour)."""
        grid = np.arange(EPOCH, int(ends.max()) + 1, 900, dtype=np.int64)
        amounts = {
            "a_import": lambda: self.slot_wh(grid, 1),
            "a_export": lambda: self.slot_wh(grid, -1),
            "r_plus": lambda: self.slot_wh(grid, 1) // 3,
            "volume": lambda: self.slot_wh(grid, 1) // 60,
        }[slug]()
        total = np.concatenate(([0], np.cumsum(amounts)))
        return 1_000_000 * self.seed + total[(ends - EPOCH) // 900]


def failure(outcome: Outcome, fault: str) -> ConversationError:
    """As the driver makes one of what the client says."""
    return ConversationError(
        outcome, "conversation-failed", "{fault}", "{advice}",
        outcome=outcome.value, fault=fault, advice="Wait.",
    )  # fmt: skip


class FakeConversation:
    """Implements `Conversation` on a FakeMeter."""

    def __init__(self, meter: FakeMeter, now: Callable[[], float]) -> None:
        self.meter = meter
        self.now = now
        self.closed = False

    async def _answer(self) -> None:
        if self.meter.hangs:
            await asyncio.sleep(3600)
        if self.meter.fails_with is not None:
            raise failure(self.meter.fails_with, "The meter misbehaves.")
        await asyncio.sleep(0)

    async def live(self, *, brief: bool = False) -> list[LiveValue]:
        await self._answer()
        m, at = self.meter, self.now()
        p = m.power_w(at)
        total = LiveValue("1-0:16.7.0", "Active power", 0, "p", round(p), "W")
        if brief:
            return [total]
        q = abs(p) * (0.8 if m.peak_w > 15_000 else 0.3)
        values = [
            total,
            LiveValue("1-0:131.7.0", "Reactive power", 0, "q", round(q), "var"),
            LiveValue("1-0:9.7.0", "Apparent power", 0, "s", round(math.hypot(p, q)), "VA"),
            LiveValue("1-0:14.7.0", "Frequency", 0, "f",
                      round(50 + 0.02 * math.sin(at / 23), 2), "Hz"),
        ]  # fmt: skip
        shares = (0.5, 0.3, 0.2) if m.phases == 3 else (1.0,)
        for n, share in enumerate(shares):
            k = n + 1
            u = 231 + 1.5 * math.sin(at / 17 + k) - p * share / 4000
            pk, qk = p * share, q * share
            sk = math.hypot(pk, qk)
            phi = math.degrees(math.atan2(qk, pk))
            values += [
                LiveValue(f"1-0:{12 + 20 * k}.7.0", f"Voltage L{k}", k, "u", round(u, 1), "V"),
                LiveValue(f"1-0:{11 + 20 * k}.7.0", f"Current L{k}", k, "i", round(sk / u, 2), "A"),
                LiveValue(f"1-0:{1 + 20 * k}.7.0", f"Active power L{k}", k, "p", round(pk), "W"),
                LiveValue(f"1-0:{3 + 20 * k}.7.0", f"Reactive L{k}", k, "q", round(qk), "var"),
                LiveValue(f"1-0:{13 + 20 * k}.7.0", f"Power factor L{k}", k, "pf",
                          round(pk / sk if sk else 1.0, 3), ""),
                LiveValue(f"1-0:81.7.{10 * n}", f"Angle U{k}", k, "angle_u", 120.0 * n, "°"),
                LiveValue(f"1-0:81.7.{n + 4}", f"Angle I{k}", k, "angle_i",
                          round((120 * n + phi) % 360, 1), "°"),
            ]  # fmt: skip
        return values

    async def registers(self, channels: Sequence[Channel] = ()) -> list[RegisterValue]:
        await self._answer()
        end = np.array([int(self.now()) // 900 * 900], np.int64)
        rows = []
        for obis, name, slug, part, unit in (
            ("1-0:1.8.0", "Active energy import", "a_import", 1.0, "Wh"),
            ("1-0:1.8.1", "Active energy import, tariff 1", "a_import", 0.7, "Wh"),
            ("1-0:1.8.2", "Active energy import, tariff 2", "a_import", 0.3, "Wh"),
            ("1-0:2.8.0", "Active energy export", "a_export", 1.0, "Wh"),
            ("1-0:3.8.0", "Reactive energy import", "r_plus", 1.0, "varh"),
        ):
            wh = int(self.meter.register(slug, end)[0] * part)
            rows.append(
                RegisterValue(
                    obis, name, wh, 0, unit, int(obis[-1]), f"{wh / 1000:010.3f}", "k" + unit, 9
                )
            )
        at = int(self.now()) // 86_400 * 86_400 - 19_800
        rows.append(
            RegisterValue(
                "1-0:1.6.0", "Maximum demand import", 2418, 0, "W", 0, "02.418", "kW", 5, at
            )
        )
        return rows

    async def profile(
        self, profile: str, channels: Sequence[Channel], from_utc: int, to_utc: int
    ) -> ProfileRows:
        await self._answer()
        m, step = self.meter, channels[0].step_s
        m.asked.append((profile, from_utc, to_utc))
        ends = np.arange(-(-from_utc // step) * step, min(to_utc, int(self.now())) + 1, step)
        ends = ends.astype(np.int64)
        for start, stop in m.holes:
            ends = ends[(ends - step < start) | (ends - step >= stop)]
        values = {}
        for channel in channels:
            if len(ends) == 0:
                values[channel.slug] = ends
            elif channel.slug == "u_l1":
                values[channel.slug] = 2300 + (ends // step * 7919 + m.seed) % 41 - 20
            else:
                values[channel.slug] = m.register(channel.slug, ends)
            for end, extra in m.tamper_with.items():
                values[channel.slug] = values[channel.slug] + extra * (ends == end)
        present = {c.slug: np.ones(len(ends), np.bool_) for c in channels}
        return ProfileRows(ends, values, present, np.zeros(len(ends), np.uint8))

    async def events(self, log: str, from_utc: int) -> list[LoggedEvent]:
        await self._answer()
        now = self.now()
        return [e for e in self.meter.events if e.log == log and from_utc <= e.at <= now]

    async def display(self) -> DisplayState:
        rows = await self.registers()
        m, at = self.meter, self.now()
        index = (int(at // 6) + m.index) % len(rows)
        row, p = rows[index], m.power_w(at)
        on = {"L1", "T1", "-A" if p < 0 else "+A", "+R"} | (
            {"L2", "L3"} if m.phases == 3 else set()
        )
        labels = ("L1", "L2", "L3", "T1", "T2", "+A", "-A", "+R", "BAT", "COV", "REL")
        return DisplayState(
            "manual" if m.index else "automatic",
            row.obis.split(":")[1],
            row.text,
            row.text_unit,
            9,
            3,
            [Sign(name, name, name in on) for name in labels],
            [
                Light("pulse", "1000 imp/kWh", "pulsing" if abs(p) > 20 else "lit", 1000),
                Light("breaker", "Supply", "lit" if m.connected else "dark"),
            ],
            [("scroll", "Scroll"), ("reset", "Reset")],
            "automatic",
            index,
            len(rows),
        )

    async def press(self, button: str, hold_ms: int) -> None:
        await self._answer()
        if button not in {"scroll", "reset"}:
            raise ConversationError(
                Outcome.REFUSED, "no-button",
                "There is no button '{button}'.", "There is: {buttons}.",
                button=button, buttons="scroll",
            )  # fmt: skip
        self.meter.index += 1

    async def clock(self) -> int:
        await self._answer()
        return int(self.now()) + self.meter.clock_offset_s

    async def set_clock(self, utc_s: int) -> None:
        await self._answer()
        self.meter.clock_offset_s = utc_s - int(self.now())

    async def shift_clock(self, seconds: int) -> None:
        await self._answer()
        self.meter.clock_offset_s += seconds

    async def supply(self) -> SupplyState:
        await self._answer()
        m = self.meter
        state = "connected" if m.connected else "disconnected"
        prepaid = None if m.balance_wh is None else True
        return SupplyState(
            m.connected, state, m.limit_w, m.limit_w, prepaid, m.balance_wh, m.balance_wh
        )

    async def set_limit(self, power_w: int) -> None:
        await self._answer()
        self.meter.limit_w = power_w

    async def set_parameter(self, name: str, value: int | bytes) -> None:
        await self._answer()
        self.meter.parameters[name] = value

    async def add_credit(self, energy_wh: int) -> None:
        await self._answer()
        self.meter.balance_wh = (self.meter.balance_wh or 0) + energy_wh
        if self.meter.loses_answers:
            raise failure(Outcome.TIMED_OUT, "No answer.")

    async def alarms(self) -> dict[str, int]:
        return {}

    async def clear_alarms(self, register: str, bits: int) -> None:
        await self._answer()

    async def push_objects(self) -> tuple[CaptureObject, ...]:
        return ()

    async def transfer_keys(self, wrapped: Mapping[str, bytes]) -> None:
        await self._answer()

    async def change_secret(self, secret: bytes) -> None:
        await self._answer()

    async def switch(self, command: str, arguments: Mapping[str, object]) -> dict[str, object]:
        await self._answer()
        if command != "relay":
            self.meter.connected = command == "connect"
        return {"output_state": self.meter.connected, "control_state": command}

    async def firmware(self) -> str:
        await self._answer()
        return "1.4.2"

    async def close(self) -> None:
        self.closed = True


class FakeDriver:
    """Opens FakeMeters by serial number."""

    def __init__(self, meters: Mapping[str, FakeMeter], now: Callable[[], float]) -> None:
        self.meters = dict(meters)
        self.now = now
        self.secrets_seen: list[Secrets] = []

    def facts(self, meter: Meter) -> MeterFacts:
        fake = self.meters[meter.serial]
        if meter.channels and meter.channels[0].slug == "volume":
            return MeterFacts("M-Bus water meter", "Sontex", 0, "Q3 2.5 m³/h", ("profile",))
        return MeterFacts(
            model_name=meter.model.upper(),
            manufacturer="Blathy",
            phases=fake.phases,
            rated="3×230/400 V, 5(85) A" if fake.phases == 3 else "230 V, 5(85) A",
            capabilities=(
                "registers", "profile", "events", "clock", "live", "display", "disconnect",
            ),
            capacity_w=58_000 if fake.peak_w < 50_000 else 400_000,
            commands=("disconnect", "release", "connect", "set-clock", "limit", "credit"),
            logs=("0-0:99.98.0",),
        )  # fmt: skip

    async def open(self, meter: Meter, secrets: Secrets) -> Conversation:
        fake = self.meters[meter.serial]
        fake.opened += 1
        self.secrets_seen.append(secrets)
        if fake.fails_with is Outcome.UNREACHABLE:
            raise failure(Outcome.UNREACHABLE, "Nobody is there.")
        await asyncio.sleep(0)
        return FakeConversation(fake, self.now)


PLACES = (
    ("p-001", "Kovács household", "household", "mt372", 1, FakeMeter(3200, seed=1)),
    ("p-002", "Szabó household, roof", "household", "omnipower", 1, FakeMeter(3000, 4800, seed=2)),
    ("p-003", "Bakery", "business", "k382m", 1, FakeMeter(9000, seed=3)),
    ("p-004", "Nagy household", "household", "k162m", 2, FakeMeter(2600, seed=4, phases=1)),
    ("p-005", "Dairy farm", "farm", "mpta-3", 3, FakeMeter(6500, seed=5)),
    ("p-006", "Joinery workshop", "workshop", "esox", 3, FakeMeter(18_000, seed=6)),
    ("p-007", "Pump works", "industry", "esox", 4, FakeMeter(140_000, seed=7)),
    ("p-008", "Kovács water", "water", "mbus-water", 1, FakeMeter(300, seed=8)),
)


def demo_site(points: int = len(PLACES)) -> SiteDescription:
    """Eight points on two stations and four feeders."""
    stations = (
        StationDescription("tr-1", "Transformer 1"),
        StationDescription("tr-2", "Transformer 2"),
    )
    feeders = tuple(
        FeederDescription(f"fd-{n}", f"Feeder {n}", "tr-1" if n <= 2 else "tr-2")
        for n in range(1, 5)
    )
    rows = []
    for n, (key, name, kind, model, feeder, _) in enumerate(PLACES[:points], 1):
        rows.append(
            PointDescription(
                id=key,
                name=name,
                kind=kind,
                station="tr-1" if feeder <= 2 else "tr-2",
                feeder=f"fd-{feeder}",
                address=f"Fő utca {3 * n}, Blathyfalva",
                medium="water" if kind == "water" else "electricity",
                parent="p-001" if kind == "water" else "",
                protected=key == "p-005",
                meter=MeterDescription(
                    serial=f"{61_200_000 + n * 137}",
                    model=model,
                    url=f"dlms://127.1.0.{n}:4059",
                    system_title=f"424C540000{n:06X}",
                    installed_at="2025-03-02T09:00:00Z",
                    associations=(
                        AssociationDescription(
                            encryption_key=bytes([n]) * 16, authentication_key=bytes([n + 100]) * 16
                        ),
                    ),
                    channels=WATER if kind == "water" else CHANNELS,
                ),
            )
        )
    users = (
        UserDescription("demo", "demo", "admin"),
        UserDescription("vera", "viewer-password", "viewer"),
        UserDescription("ivan", "installer-password", "installer"),
        UserDescription("mira", "manager-password", "manager"),
        UserDescription("clara", "consumer-password", "consumer", "p-001"),
    )
    return SiteDescription(
        "Blathyfalva", stations, feeders, tuple(rows), simulated=True, users=users,
        demo_login=("demo", "demo"),
    )  # fmt: skip


EVENT_NAMES = (
    ("sag_start", 76, 1, 187), ("power_down", 1, None, None), ("power_up", 2, None, None),
    ("terminal_cover_opened", 40, None, None), ("magnet_start", 42, None, None),
    ("overcurrent_start", 91, 2, 41), ("clock_adjusted_new", 5, None, None),
    ("low_credit", 60, None, None), ("neutral_fault_start", 82, None, 253),
)  # fmt: skip


def fake_meters(now: float, days: int = 40) -> dict[str, FakeMeter]:
    """Fresh fakes by serial, with seeded events and one meter with a hole."""
    rng = random.Random(7)
    found = {}
    for n, (_, _, kind, _, _, template) in enumerate(PLACES, 1):
        meter = FakeMeter(template.peak_w, template.photovoltaic_w, template.seed, template.phases)
        for _ in range(0 if kind == "water" else 20):
            name, code, phase, value = rng.choice(EVENT_NAMES)
            at = int(now - rng.random() * days * 86_400)
            meter.events.append(LoggedEvent("0-0:99.98.0", at, code, name, phase, value))
        found[f"{61_200_000 + n * 137}"] = meter
    hole = int(now) // 900 * 900 - 5 * 86_400
    found["61200411"].holes.append((hole, hole + 7200))
    return found
