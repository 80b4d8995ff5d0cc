"""One running meter: source -> books -> keeper -> objects.

Everything that a port, the display or a pulse shows comes from `books`, the snapshot that the
keeper committed last. Time does not pass by itself: whoever owns the meter steps it with blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S, Instant, Zone
from blathy.control.controller import Controller
from blathy.control.limiter import EmergencyProfile, SmartDisconnect
from blathy.control.windows import Window
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import ClockStatus, CosemDateTime, CosemTimeError
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.meter.certificates import SIGNATURE
from blathy.meter.classes.auto_connect import calling_of, may_begin
from blathy.meter.classes.charge import collect_of_purchase
from blathy.meter.classes.communication_setup import hdlc_port
from blathy.meter.classes.function_control import SWITCHED_OFF, names_in
from blathy.meter.classes.image_transfer import BLOCK_BYTES, ImageStore
from blathy.meter.classes.mbus_client import MbusPort, MbusReading, keep_reading
from blathy.meter.classes.mbus_diagnostic import Exchange, keep_exchange
from blathy.meter.classes.modem import Lte
from blathy.meter.classes.security_setup import OWN_KEYS, PEER_KEYS, client_certificate, peer_key
from blathy.meter.classes.supply import limiter_number
from blathy.meter.client_profiles import ClientProfiles
from blathy.meter.control import (
    EMERGENCY_GROUPS,
    FRIENDLY,
    WATT,
    ControlView,
    control_plan,
    friendly_windows,
    view_of,
)
from blathy.meter.counters import BASE, MeterCounterStore
from blathy.meter.daylight_saving import key_of, zone_as_set
from blathy.meter.deciding import deciders_on, go_through, watching
from blathy.meter.face import Face, face_data
from blathy.meter.guard import MeterGuard
from blathy.meter.identity import MeterIdentity, identity_of
from blathy.meter.keeping import (
    CONTROL_PART,
    IMAGE_PART,
    SETTINGS_PART,
    Keeper,
    VolatileKeeper,
    pack_settings,
    unpack_settings,
)
from blathy.meter.measuring import (
    OF_BOOKS,
    OF_CONNECTION,
    STAGED_LIMIT,
    STAGES,
    constants_of,
    number_set,
    options_as_set,
    staged_limit_on,
)
from blathy.meter.noticing import NOTICES_MAX, Notice, conformance_of, notice_of
from blathy.meter.objects import setting_of
from blathy.meter.plan import MeterOptions, ProfileChoice, chosen_profile, plan_of
from blathy.meter.pushing import Pusher, PushMessage
from blathy.meter.tree import MeterObjects, tree_of
from blathy.models.model import (
    Association,
    Ciphering,
    Column,
    Level,
    Mechanism,
    Model,
    ModelError,
)
from blathy.obis import Obis
from blathy.quantity import Phase
from blathy.registers.block import Block, Incident
from blathy.registers.changes import Content
from blathy.registers.ledger import Ledger, RefusedError
from blathy.registers.load_profile import STAMP, ProfileView
from blathy.registers.plan import BookPlan, CalendarPlan
from blathy.registers.ring import Kept
from blathy.registers.snapshot import Snapshot
from blathy.sources.constants import Constants
from blathy.sources.source import IntervalSource
from blathy.store.identification import short_identification
from blathy.store.store import StorageError
from blathy.wire.acse import Mechanism as WireMechanism
from blathy.wire.association_events import (
    AuthenticationFailed,
    SecurityViolation,
    ServerEvent,
    Violation,
)
from blathy.wire.authentication_guard import FailureThrottle
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import (
    Entropy,
    InvocationCounters,
    KeySet,
    SecurityPolicy,
    unwrap_key,
)
from blathy.wire.server import AssociationProfile, LogicalDevice

_NO_FAULTS: Final[frozenset[str]] = frozenset()
_NO_NEIGHBOURS: Final[Mapping[int, bytes]] = {}
VIEWS_MAX: Final = 64
"""So many stages may wait for their commit with what they show of the contacts."""
RESET_BUTTON: Final = "reset"
IMAGE_PREFIX: Final = b"image:"
_POLICY: Final = b"policy"
_PROFILE: Final = b"profile:"
CATCH_UP_INTERVALS: Final = 86_400
"""Most intervals of one block while catching up: a day of seconds."""
_VIOLATION_EVENTS: Final = {
    Violation.DECIPHERING: "decryption_failed",
    Violation.REPLAY: "replay_detected",
    Violation.OWN_KEYS: "device_error",
}
_BY_STRANGERS: Final = (
    "access_refused", "authentication_failed", "decryption_failed", "replay_detected",
)  # fmt: skip
"""Events that anybody can cause who reaches a port: of each TOLD_AT_ONCE are logged, then one an
hour, so that nobody can drive the traces of what matters out of a log."""
TOLD_AT_ONCE: Final = 10
TOLD_PER_HOUR: Final = 1


@dataclass(slots=True)
class Modem:
    """What the communication module reports (classes 47 and 151)."""

    operator: str = ""
    registration: int = 1
    packet_service: int = 1
    signal_dbm: int = -77
    cell_id: int = 0
    location_id: int = 0
    country_code: int = 0
    network_code: int = 0
    channel: int = 0
    in_call: bool = False
    lte: Lte = field(default_factory=Lte)


@dataclass(slots=True)
class Outbox:
    """What the meter wants its ports to do."""

    pushes: list[PushMessage] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    call_home: bool = False
    wants_time: bool = False
    ask_at_s: float = 0.0
    """From then on a time server is asked again."""

    def forget(self) -> None:
        """Tell nobody of what was before anybody looked: it is in the logs."""
        self.pushes.clear()
        self.notices.clear()
        self.call_home = False


class Meter:
    """A meter of a model, with its identity, its books and everything that was set in it."""

    __slots__ = (
        "_as_written", "_constants", "_control_state", "_dirty", "_face", "_modem", "_orders",
        "_packed", "_profiles", "_told", "_views", "catch_up", "control", "counter_store",
        "counters", "entropy", "faults", "guard", "harmonics", "identity", "image", "keeper",
        "ledger", "mbus", "model", "neighbours", "objects", "on_event", "options", "outbox",
        "seal_open", "settings", "tree", "zone", "zone_delivered",
    )  # fmt: skip

    def __init__(
        self,
        model: Model,
        identity: MeterIdentity,
        *,
        start_utc_s: int,
        entropy: Entropy,
        options: MeterOptions | None = None,
        keeper: Keeper | None = None,
        drift_ppb: int | None = None,
        counter_base: int = 0,
    ) -> None:
        self.model = model
        self.identity = identity
        self.options = options or MeterOptions()
        self.zone_delivered = self.options.zone
        self.keeper: Keeper = keeper or VolatileKeeper()
        self.settings: dict[bytes, bytes] = {}
        self.faults = _NO_FAULTS
        self.neighbours: Mapping[int, bytes] = _NO_NEIGHBOURS
        """Logical device names of further loads of the same device, by server address."""
        self.harmonics: NDArray[np.int64] | None = None
        """Of the newest interval, as `Block.harmonics`; None where they are not measured."""
        self._constants: Constants | None = None
        self._modem: Modem | None = None
        self.outbox = Outbox()
        self.mbus: MbusPort | None = None
        """The M-Bus that it is the master of, where it has one."""
        self.seal_open = False
        self.catch_up: Callable[[], None] | None = None
        """Called before a port reads: whoever steps meters lazily brings this one up to now."""
        self.on_event: Callable[[Incident], None] | None = None
        self._told: FailureThrottle | None = None
        self._dirty = False
        self._as_written = False
        self._control_state = b""
        self._packed: tuple[bytes, bytes] | None = None
        self._orders: dict[str, tuple[int, bool]] = {}
        self.ledger = self._open(start_utc_s, drift_ppb)
        self.zone = Zone(self.options.zone)
        if counter_base and BASE not in self.settings:
            self.settings[BASE] = counter_base.to_bytes(4, "big")
        self.tree = tree_of(model, self.options)
        self.control = self._open_control()
        self._views: tuple[ControlView, ...] = ()
        blocks = {f.values.get(2) for f in model.facilities if f.class_id == 18}
        size = next((b for b in blocks if isinstance(b, int)), BLOCK_BYTES)
        self.image = ImageStore(self, size)
        self.counter_store = MeterCounterStore(self)
        self.counters = InvocationCounters(self.counter_store)
        self.guard = MeterGuard(self)
        self.objects = MeterObjects(self)
        self._face: Face | None = None
        self._profiles = ClientProfiles(self)
        self.entropy = entropy
        self.limits_changed()
        with self.as_written():  # nothing is committed of a new meter
            self._renew_profiles()
        self._stage()
        self.keeper.commit()

    def _open(self, start_utc_s: int, drift_ppb: int | None) -> Ledger:
        found = self.keeper.load(self._plan_for)
        if found is None:
            plan = plan_of(self.model, self.options)
            return Ledger(plan, start_utc_s, drift_ppb=drift_ppb)
        self._control_state = found[1].get(CONTROL_PART, b"")
        return found[0]

    def _plan_for(self, parts: Mapping[str, bytes]) -> BookPlan:
        """The plan that the kept settings ask for."""
        for part in (SETTINGS_PART, IMAGE_PART):
            self.settings.update(unpack_settings(parts.get(part, b"")))
        chosen = [
            _choice_of(key[len(_PROFILE) :].decode(), raw)
            for key, raw in self.settings.items()
            if key.startswith(_PROFILE)
        ]
        ordered = replace(self.options, profiles=tuple(chosen))
        self.options = options_as_set(self.model, ordered, self.settings)
        return plan_of(self.model, self.options)

    def _open_control(self) -> Controller:
        plan = control_plan(
            self.model, self.options, self._limiter_numbers(), staged_limit_on(self),
            self._friendly(),
        )  # fmt: skip
        control = Controller(plan, self.ledger)
        if self._control_state:
            control.restore(self._control_state)
        return control

    @property
    def face(self) -> Face:
        """Display and buttons."""
        if self._face is None:
            self._face = Face(self.model)
        return self._face

    @property
    def modem(self) -> Modem:
        """The communication module."""
        if self._modem is None:
            self._modem = Modem()
        return self._modem

    # --- what is committed ------------------------------------------------------------------------

    @property
    def books(self) -> Snapshot:
        """The committed books; those that are being written where the meter itself looks."""
        if self._as_written:
            return self.ledger.snapshot()
        committed = self.keeper.committed
        assert committed is not None
        return committed

    @contextmanager
    def as_written(self) -> Iterator[None]:
        """Within it, objects show the books that are being written: what the meter itself sees
        where it decides. Nothing of it may leave the meter."""
        before, self._as_written = self._as_written, True
        try:
            yield
        finally:
            self._as_written = before

    def clock_utc_s(self) -> int:
        """What the meter's clock shows, as UTC."""
        return self.books.clock.utc_s

    def clock_raw(self) -> bytes:
        """The clock as twelve octets with deviation and status."""
        status = 0 if self.books.clock.valid else int(ClockStatus.INVALID)
        return CosemDateTime.from_utc(self.clock_utc_s(), self.zone, status).raw()

    def clock_offset_s(self) -> int:
        """Seconds that the meter's clock is ahead of true time, as last committed."""
        committed = self.keeper.committed
        return 0 if committed is None else committed.clock.utc_s - committed.clock.true_s

    def text(self, name: str) -> bytes:
        """A named text: serial number, firmware, active tariff ..."""
        override = self.settings.get(b"text:" + name.encode())
        if override is not None:
            return override
        if name == "active_tariff":
            return f"{self.books.rate:04d}".encode()
        identity = self.identity
        texts = {
            "ldn": identity.ldn,
            "serial": identity.serial_text.encode(),
            "firmware": self.model.identity.firmware.encode(),
            "software_id": short_identification().encode(),
            "type_text": self.model.identity.type_text.encode(),
            "gs1": f"5706567{identity.serial % 10**9:09d}".encode(),
        }
        return texts[name]

    def in_order(self, view: ProfileView) -> bool:
        """Whether the rows of a load profile are in order of time, so that they can be bisected."""
        ring = view.ring
        checked, ordered = self._orders.get(view.name, (ring.first, True))
        if checked < ring.end:
            stamps = ring.rows(max(ring.first, checked - 1), ring.end)[:, STAMP]
            ordered = ordered and bool((stamps[1:] >= stamps[:-1]).all())
            self._orders[view.name] = (ring.end, ordered)
        return ordered

    # --- going on ---------------------------------------------------------------------------------

    def step(self, block: Block, *, stage: bool = True) -> tuple[Incident, ...]:
        """Measure a block of intervals; what happened, in order of time.

        The books are staged, not yet committed: call `commit`, or let the store commit all meters.
        With `stage` False they wait for the next stage: when many blocks follow each other.
        """
        self.harmonics = block.harmonics
        happened = go_through(self, block) if watching(self) else self.control.advance(block)
        if stage:
            self._stage()
        self._alarms(happened)
        return happened

    def advance(self, source: IntervalSource, until_utc_s: int, step_s: int = 60) -> int:
        """Catch up from a source to `until_utc_s`; the number of intervals. Commits at the end."""
        count = 0
        while (left := (until_utc_s - self.ledger.now) // step_s) > 0:
            n = min(left, CATCH_UP_INTERVALS)
            self.step(source.block(self.ledger.now, n, step_s))
            count += n
        self.commit()
        return count

    def parameters_set(self) -> None:
        """Something was written or called: tell those who watch parameters."""
        for decider in deciders_on(self):
            decider.parameters_set(self)

    def is_off(self, obis: Obis) -> bool:
        """Whether the function that an object belongs to is switched off (class 122)."""
        off = self.settings.get(SWITCHED_OFF)
        return off is not None and bytes(obis) in names_in(off)

    # --- keeping ----------------------------------------------------------------------------------

    def save_setting(self, key: bytes, value: bytes) -> None:
        """Remember a setting; durable after the next `flush` or commit."""
        self.settings[key] = value
        self._packed = None
        self._dirty = True

    def drop_settings(self, prefix: bytes) -> None:
        for key in [key for key in self.settings if key.startswith(prefix)]:
            del self.settings[key]
        self._packed = None
        self._dirty = True

    def flush(self) -> None:
        """Make durable what was set or recorded; AccessError where the store fails."""
        if not self._dirty:
            return
        self._stage()
        try:
            self.commit()
        except StorageError as error:
            raise AccessError(DataAccessResult.TEMPORARY_FAILURE, str(error)) from error

    def commit(self) -> None:
        """Commit what was staged; raise StorageError where nothing became durable."""
        self.keeper.commit()

    def _stage(self) -> None:
        if self._packed is None:
            image = {k: v for k, v in self.settings.items() if k.startswith(IMAGE_PREFIX)}
            rest = {k: v for k, v in self.settings.items() if not k.startswith(IMAGE_PREFIX)}
            self._packed = (pack_settings(rest), pack_settings(image))
        settings, image_blocks = self._packed
        parts = {SETTINGS_PART: settings, IMAGE_PART: image_blocks}
        parts[CONTROL_PART] = self.control.state_bytes()
        self._views = (*self._views_needed(), view_of(self.model, self.control))[-VIEWS_MAX:]
        self.keeper.stage(self.ledger, parts)
        self._dirty = False

    def switch_off(self) -> None:
        """End in order: everything that is only in memory becomes durable."""
        self.stage_all()
        self.commit()

    def stage_all(self) -> None:
        """Stage everything that is only in memory: durable with the store's next commit."""
        self.counter_store.settle()
        self._stage()

    def record(self, name: str, phase: Phase = Phase.TOTAL, value: int = 0) -> None:
        """Log an event of the meter itself."""
        if name in _BY_STRANGERS and self._told_enough(_BY_STRANGERS.index(name)):
            return
        self.ledger.add_event(name, phase, value)
        self._dirty = True

    def _told_enough(self, kind: int) -> bool:
        if self._told is None:
            self._told = FailureThrottle(at_once=TOLD_AT_ONCE, per_hour=TOLD_PER_HOUR)
        now = Instant(self.ledger.now * NANOSECONDS_PER_S)
        if self._told.locked(kind, now):
            return True
        self._told.failed(kind, now)
        return False

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, act: Callable[[], None]) -> None:
        try:
            act()
        except RefusedError as error:
            raise AccessError(ActionResult.TEMPORARY_FAILURE, str(error)) from error
        self._dirty = True

    def set_clock(self, utc_s: int) -> None:
        """Make the clock show `utc_s`."""
        before_s = self.ledger.clock_utc_s
        self._command(lambda: self.ledger.set_clock(utc_s, "port"))
        for decider in deciders_on(self):
            decider.clock_set(self, before_s)

    def end_billing(self) -> None:
        """End the billing period now; refused within the lock-out time."""
        self._command(lambda: self.ledger.end_billing_period("port"))

    def activate_calendar(self, calendar: CalendarPlan) -> None:
        """Make this the active calendar."""

        def act() -> None:
            self.ledger.stage_calendar(calendar, "port")
            self.ledger.activate_calendar("port")

        self._command(act)

    def clear_profile(self, name: str) -> None:
        """Forget the rows of a load profile."""
        self._command(lambda: self.ledger.clear_profile(name, "port"))

    def configure_profile(
        self, key: str, *, period_s: int = 0, columns: tuple[Column, ...] = ()
    ) -> None:
        """Record other columns, or at another period, from now on; the profile begins anew.

        Registers, rates, clock and all other profiles go on; what is recorded already changes
        nothing.
        """
        standing = chosen_profile(self.model, self.options, self.model.profile(key))
        same_columns = not columns or columns == standing.columns
        if same_columns and period_s in {0, standing.period_s}:
            return
        others = tuple(c for c in self.options.profiles if c.key != key)
        before = next((c for c in self.options.profiles if c.key == key), ProfileChoice(key))
        choice = ProfileChoice(key, period_s or before.period_s, columns or before.columns)
        options = replace(self.options, profiles=(*others, choice))
        plan_of(self.model, options)  # raises, where it must, before anything changes
        self.clear_profile(key)
        self._renew_plan(options)
        self.save_setting(_PROFILE + key.encode(), _choice_bytes(choice))
        self.tree = tree_of(self.model, options)
        self.objects.renew()
        self._orders.clear()
        self._dirty = True

    def set_zone_rule(self, number: int, octets: bytes) -> None:
        """Set time zone or daylight saving, an attribute of the clock; raise RuleError."""
        settings = {**self.settings, key_of(number): octets}
        zone = zone_as_set(Zone(self.zone_delivered), settings)
        if zone != self.zone:
            self._renew_plan(replace(self.options, zone=zone.name))
            self.zone = zone
        self.save_setting(key_of(number), octets)

    def clear_log(self, name: str) -> None:
        """Forget the entries of an event log."""
        self._command(lambda: self.ledger.clear_log(name, "port"))

    def parameter_changed(self, name: str) -> None:
        """A parameter has a new value: renew what depends on it."""
        if name in {STAGED_LIMIT, *STAGES}:
            plan = staged_limit_on(self)
            self.control.smart = SmartDisconnect(plan) if plan else None
        elif name in FRIENDLY:
            account = self.control.prepayment
            account.plan = replace(account.plan, friendly=self._friendly())
        elif name in OF_BOOKS:
            self._renew_plan(options_as_set(self.model, self.options, self.settings))
        elif name.startswith(OF_CONNECTION):
            self._constants = None

    def _renew_plan(self, options: MeterOptions) -> None:
        """Go on with another plan: registers, and all that has kept its layout, stay.

        A setting that asks for another layout is saved after this, so that no commit holds the one
        without the other.
        """
        self._stage()
        ledger = Ledger.from_state(
            plan_of(self.model, options), self.ledger.state_bytes(),
            _content_of(self.ledger.snapshot()), adopt=True,
        )  # fmt: skip
        self.options = options
        self.ledger = self.control.ledger = ledger
        self._dirty = True

    def constants(self) -> Constants:
        """What the meter's source measures with, as it is set now."""
        if self._constants is None:
            self._constants = constants_of(self)
        return self._constants

    def request_time(self) -> None:
        """Ask the port for the time of day (NTP)."""
        self.outbox.wants_time = True

    def request_call_home(self) -> None:
        """Ask the port to connect to the centre."""
        self.outbox.call_home = True

    def keep_mbus_reading(self, channel: int, reading: MbusReading) -> None:
        """Take over what the M-Bus port has read of a channel (1, 2, ...)."""
        keep_reading(self, channel, reading)

    def keep_mbus_exchange(self, channel: int, exchange: Exchange) -> None:
        """Take over what a reading of a channel took on the wire."""
        keep_exchange(self, channel, exchange)

    def push(self, setup: Obis) -> None:
        """Send what a push setup lists, unless pushing is switched off."""
        if self.is_off(setup):
            return
        self.outbox.pushes.append(Pusher(self).message(setup))
        del self.outbox.pushes[:-64]

    def press(self, button: str, how: str) -> None:
        """A button was pressed: `how` is short or long. The sealed reset button ends the billing
        period, a long press on any other acts on the breaker as its mode permits."""
        if button == RESET_BUTTON:
            self.end_billing()
            return
        if self.model.breaker is not None and how == "long":
            self.control.press_button()
            self._dirty = True
        self.face.press(button, how, self.books.clock.true_s)

    # --- contacts ---------------------------------------------------------------------------------

    @property
    def control_view(self) -> ControlView:
        """What may be shown of breaker, relays, limiter and account: as last committed."""
        if self._as_written:
            return view_of(self.model, self.control)
        self._views = self._views_needed()
        return self._views[0]

    def _views_needed(self) -> tuple[ControlView, ...]:
        """The view of the committed books, and those of books that are still to be committed."""
        committed = self.keeper.committed
        views, first = self._views, 0
        if committed is not None:
            while first + 1 < len(views) and views[first + 1].true_s <= committed.clock.true_s:
                first += 1
        return views[first:] if first else views

    def _relay_key(self, obis: Obis) -> str | None:
        return next((r.key for r in self.model.relays if r.obis == obis), None)

    def remote_disconnect(self, obis: Obis) -> None:
        """Open the breaker, or switch a load relay off."""
        key = self._relay_key(obis)
        if key is None:
            self.control.remote_disconnect("port")
        else:
            self.control.override_relay(key, on=False, who="port")
        self._dirty = True

    def remote_reconnect(self, obis: Obis) -> None:
        """Close or release the breaker as its mode says, or switch a load relay on."""
        key = self._relay_key(obis)
        if key is None:
            self.control.remote_reconnect("port")
        else:
            self.control.override_relay(key, on=True, who="port")
        self._dirty = True

    def set_breaker_mode(self, mode: int) -> None:
        self.control.set_mode(mode, "port")
        self.record("parameters_changed")

    def set_prepayment(self, *, enabled: bool) -> None:
        """Switch prepayment on, from no credit, or off."""
        self.control.set_prepayment("port", enabled=enabled)
        self._dirty = True

    def add_credit(self, energy_uwh: int) -> None:
        """Book a purchase; raise ControlRefusedError where it cannot be booked. Charges that go by
        purchases take their share."""
        self.control.add_credit(energy_uwh, "port")
        collect_of_purchase(self, energy_uwh)
        self._dirty = True

    def collect(self, energy_uwh: int) -> None:
        """Take a charge from the credit; raise ControlRefusedError while prepayment is off."""
        self.control.collect(energy_uwh)
        self._dirty = True

    def take_emergency_credit(self) -> None:
        """Take the emergency credit; raise ControlRefusedError where none is offered."""
        self.control.take_emergency_credit()
        self._dirty = True

    def _limiter_numbers(self) -> tuple[int, int, int, int]:
        """Normal and emergency threshold in W, times over and under in s."""
        breaker = self.model.breaker
        if breaker is None or breaker.limiter_obis is None:
            return 0, 0, 60, 60
        obis, normal_w = breaker.limiter_obis, breaker.limit_w
        return (
            limiter_number(self, obis, 4, normal_w),
            limiter_number(self, obis, 5, normal_w // 4),
            limiter_number(self, obis, 6, 60),
            limiter_number(self, obis, 7, 60),
        )

    def _friendly(self) -> tuple[Window, ...]:
        return friendly_windows(*(number_set(self, name) for name in FRIENDLY))

    def limits_changed(self) -> None:
        """Take up the limiter's thresholds, durations and emergency profile."""
        if not self.control.limiters:
            return
        assert self.model.breaker is not None
        assert self.model.breaker.limiter_obis is not None
        obis = self.model.breaker.limiter_obis
        normal, emergency, over_s, under_s = self._limiter_numbers()
        limiter = self.control.limiters[0]
        wanted = replace(
            limiter.plan, min_over_s=over_s, min_under_s=under_s,
            emergency_groups=self._emergency_groups(obis),
        )  # fmt: skip
        if wanted != limiter.plan:  # else it stays the one that all meters share
            limiter.plan = wanted
        limiter.set_thresholds(normal * WATT, emergency * WATT)
        limiter.set_emergency(self._emergency_profile(obis))
        limiter.clock(self.ledger.clock_utc_s)

    def _emergency_groups(self, obis: Obis) -> frozenset[int]:
        data = setting_of(self, obis, 9)
        return EMERGENCY_GROUPS if data is None else frozenset(int(g.value) for g in data.value)

    def _emergency_profile(self, obis: Obis) -> EmergencyProfile | None:
        data = setting_of(self, obis, 8)
        if data is None:
            return None
        number, begin, duration = data.value
        try:
            start = int(CosemDateTime.of(bytes(begin.value)).utc(self.zone))
        except CosemTimeError:
            return None
        return EmergencyProfile(int(number.value), start, int(duration.value))

    # --- alarms -----------------------------------------------------------------------------------

    def alarm_bits(self, number: int) -> int:
        raw = self.settings.get(b"alarm:" + bytes((number,)))
        return 0 if raw is None else int.from_bytes(raw, "big")

    def keep_alarm_bits(self, number: int, bits: int) -> None:
        """Clear an alarm register except for the bits that are to remain."""
        kept = self.alarm_bits(number) & bits
        self.save_setting(b"alarm:" + bytes((number,)), kept.to_bytes(4, "big"))

    def alarm_filter(self, number: int) -> int:
        """Which bits of an alarm register send a message."""
        name = f"alarm_filter_{number}"
        parameter = next((p for p in self.model.parameters if p.name == name), None)
        if parameter is None:
            return 0
        raw = self.settings.get(bytes(parameter.obis) + b"\x02")
        if raw is None:
            return 0xFFFF_FFFF if self.options.alarms else int(parameter.default)
        return int(axdr.decode(raw).value)

    def _alarms(self, happened: Iterable[Incident]) -> None:
        for incident in happened:
            self._alarm(incident)

    def _alarm(self, incident: Incident) -> None:
        if self.on_event is not None:
            self.on_event(incident)
        if self.model.event_code is not None:
            code = self.tree.code_of(incident.name, incident.phase)
            if code:
                self._notice(self.model.event_code, code, incident)
        place = self.model.alarms.get(incident.name)
        if place is None:
            return
        number, bit = place
        if incident.phase is not Phase.TOTAL and self.tree.phase_alarms(incident.name):
            bit += incident.phase - 1
        bits = self.alarm_bits(number) | 1 << bit
        self.save_setting(b"alarm:" + bytes((number,)), bits.to_bytes(4, "big"))
        if self.alarm_filter(number) >> bit & 1:
            register = self._alarm_row(number)
            if register is not None:
                self._notice(register, bits, incident)
            setup = next((f.obis for f in self.model.facilities if f.class_id == 40), None)
            if setup is not None:
                self.push(setup)
            calling = calling_of(self)
            if calling is not None and may_begin(self, calling, alarm=True):
                self.request_call_home()

    def _alarm_row(self, number: int) -> Obis | None:
        name = f"alarm_register_{number}"
        return next((r.obis for r in self.model.rows if r.source.name == name), None)

    def _notice(self, obis: Obis, value: int, incident: Incident) -> None:
        waiting = self.outbox.notices
        waiting.append(notice_of(self, self.model.row(obis), value, incident))
        del waiting[:-NOTICES_MAX]

    def take_notices(self) -> list[Notice]:
        """What clients of open associations are to be told now: notices whose event is committed.
        Each is handed out once."""
        waiting = self.outbox.notices
        if not waiting:
            return waiting
        committed_s = self.books.clock.true_s
        due = [notice for notice in waiting if notice.held_until_s <= committed_s]
        waiting[:] = [notice for notice in waiting if notice.held_until_s > committed_s]
        return due

    # --- security ---------------------------------------------------------------------------------

    def mechanism_of(self, association: Association) -> Mechanism:
        """How a client of this association proves itself."""
        usual = association.mechanisms[0]
        ordered = dict(self.options.mechanisms).get(association.level)
        if ordered is None or usual is Mechanism.NONE or association.needs_open_seal:
            return usual
        return usual if ordered is Mechanism.NONE else ordered

    @property
    def policy(self) -> SecurityPolicy:
        raw = self.settings.get(_POLICY)
        delivered = self.model.security_policy if self.options.encryption else 0
        return SecurityPolicy(delivered if raw is None else raw[0])

    def raise_policy(self, policy: int) -> None:
        """Ask for at least this protection from the next APDU on, in every association."""
        self.save_setting(_POLICY, bytes((policy,)))
        self._renew_profiles()

    def key(self, name: str) -> bytes:
        """A key in force: unicast, broadcast, authentication or master; of suites 1 and 2 also the
        meter's own private keys, signing and agreement."""
        override = self.settings.get(b"key:" + name.encode())
        if override is not None:
            return override
        identity = self.identity
        return {
            "unicast": identity.encryption_key,
            "broadcast": identity.broadcast_key,
            "authentication": identity.authentication_key,
            "master": identity.master_key,
            "signing": identity.signing_key,
            "agreement": identity.agreement_key,
        }[name]

    def change_keys(self, wrapped: Mapping[str, bytes]) -> None:
        """Take new keys that come wrapped under the master key: all of them or none."""
        master = self.key("master")
        try:
            fresh = {name: unwrap_key(master, octets) for name, octets in wrapped.items()}
        except (LocalProtocolError, RemoteProtocolError, ValueError) as error:
            raise AccessError(ActionResult.OTHER_REASON, "the key does not unwrap") from error
        if any(len(key) != len(master) for key in fresh.values()):
            raise AccessError(ActionResult.OTHER_REASON, "the key has another length")
        self.replace_keys(fresh)

    def replace_keys(self, fresh: Mapping[str, bytes]) -> None:
        """Put these keys in force: all of them or none."""
        self.change_security({b"key:" + name.encode(): key for name, key in fresh.items()})

    def change_security(self, changes: Mapping[bytes, bytes]) -> None:
        """Change settings that protection depends on: in force once durable, else AccessError and
        all as it was."""
        before = {key: self.settings.get(key) for key in changes}
        for key, value in changes.items():
            self.save_setting(key, value)
        try:
            self.flush()
        except AccessError:
            for key, old in before.items():
                if old is None:
                    self.drop_settings(key)
                else:
                    self.save_setting(key, old)
            self._stage()
            raise
        self._renew_profiles()

    def secret_of(self, association: Association) -> bytes:
        """Password or HLS secret of an association."""
        override = self.settings.get(b"secret:" + bytes((association.client_sap,)))
        if override is not None:
            return override
        if self.mechanism_of(association) is Mechanism.LLS:
            return self.identity.passwords.get(association.level, b"")
        return self.identity.hls_secrets.get(association.level, b"")

    def change_secret(self, association: Association, secret: bytes) -> None:
        """Another password or HLS secret: in force once durable, else the old one stays."""
        self.change_security({b"secret:" + bytes((association.client_sap,)): secret})

    def key_set(self) -> KeySet:
        """The keys in force under the meter's security suite."""
        suite = self.identity.suite
        own = {n: self.key(n) for n in OWN_KEYS.values()} if suite else {}
        peer = {n: peer_key(self, kind) for kind, n in PEER_KEYS.items()} if suite else {}
        return KeySet(
            suite,
            unicast=self.key("unicast"),
            authentication=self.key("authentication"),
            broadcast=self.key("broadcast"),
            master=self.key("master"),
            **own,
            **peer,
        )

    def _renew_profiles(self) -> None:
        self._profiles.renew()
        for association in self.model.associations:
            if self.mechanism_of(association) is Mechanism.HLS_ECDSA:
                self._profiles.get(association.client_sap)  # refuses what cannot be

    def client_profile(self, association: Association, keys: KeySet) -> AssociationProfile:
        """What the client of an association may do, under these keys."""
        public = association.level is Level.PUBLIC
        short_names = self.options.short_names and not association.pre_established
        policy = SecurityPolicy.NONE if public else self.policy
        if association.ciphering is Ciphering.REQUIRED:
            policy |= SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED
        ciphered = association.ciphering is not Ciphering.NEVER
        mechanism = self.mechanism_of(association)
        if mechanism is Mechanism.HLS_ECDSA and not self.identity.suite:
            raise ModelError("signatures (HLS 7) need security suite 1 or 2")
        signer = client_certificate(self, SIGNATURE) if mechanism is Mechanism.HLS_ECDSA else None
        return AssociationProfile(
            association.client_sap,
            WireMechanism(int(mechanism)),
            b"" if public else self.secret_of(association),
            keys if ciphered else None,
            policy if ciphered else SecurityPolicy.NONE,
            conformance_of(self.model, short_names=short_names),
            association.obis,
            short_names=short_names,
            client_title=b"" if signer is None else signer.title,
            pre_established=association.pre_established,
        )

    def open_seal(self, is_open: bool) -> None:
        """The utility's seal: only while it is open the maker's test access exists."""
        self.seal_open = is_open
        self._renew_profiles()

    def received_counter(self) -> int:
        """The highest invocation counter received."""
        return self.counter_store.highest_received()

    def logical_device(self, pdu_size: int = 2048, ports: tuple[Obis, ...] = ()) -> LogicalDevice:
        """What the associations of this meter share, at one port where its set-up objects are
        named; made once per meter and port."""
        return LogicalDevice(
            self._profiles,
            self.objects,
            self.identity.system_title,
            self.entropy,
            self.counters,
            pdu_size=pdu_size,
            guard=self.guard.at(*ports) if ports else self.guard,
            hdlc=lambda: hdlc_port(self),
        )

    def associations_event(self, event: ServerEvent) -> None:
        """Log what happened to an association: failed proofs, refused and replayed messages."""
        if isinstance(event, AuthenticationFailed):
            self.record("authentication_failed", value=event.client_sap)
        elif isinstance(event, SecurityViolation):
            name = _VIOLATION_EVENTS.get(event.kind, "access_refused")
            self.record(name, value=event.client_sap)

    # --- face -------------------------------------------------------------------------------------

    def face_data(self) -> Data:
        """The display mirror: list, code, value, unit, symbols, lights."""
        return face_data(self)


def _choice_bytes(choice: ProfileChoice) -> bytes:
    """Period as u32, then six octets and an attribute number for every column."""
    columns = b"".join(bytes(c.obis) + bytes((c.attribute,)) for c in choice.columns)
    return choice.period_s.to_bytes(4, "big") + columns


def _choice_of(key: str, raw: bytes) -> ProfileChoice:
    columns = tuple(Column(Obis.of(raw[at : at + 6]), raw[at + 6]) for at in range(4, len(raw), 7))
    return ProfileChoice(key, int.from_bytes(raw[:4], "big"), columns)


def _content_of(books: Snapshot) -> Content:
    """Rows and entries of the books, as a store would hand them back."""
    views = {**books.profiles, **books.billings}
    rows = {name: Kept(view.ring.first, view.ring.rows()) for name, view in views.items()}
    return Content(rows, dict(books.logs))


def new_meter(
    model: Model,
    serial: int,
    seed: str,
    *,
    start_utc_s: int,
    entropy: Entropy,
    options: MeterOptions | None = None,
    keeper: Keeper | None = None,
    drift_ppb: int | None = None,
    counter_base: int = 0,
) -> Meter:
    """A simulated meter: its identity, and its clock's drift where it is not given, follow from
    model, serial number and seed. `counter_base`: where the invocation counters of a new meter
    begin (a meter made anew must not repeat the numbers of one with the same keys)."""
    identity = identity_of(model, serial, seed, options.suite if options else 0)
    if drift_ppb is None:
        limit_ppb = model.clock.drift_ppm * 1000
        drawn = int.from_bytes(identity.master_key[:4], "big")
        drift_ppb = drawn % (limit_ppb + 1) - limit_ppb // 2
    return Meter(
        model,
        identity,
        start_utc_s=start_utc_s,
        entropy=entropy,
        options=options,
        keeper=keeper,
        drift_ppb=drift_ppb,
        counter_base=counter_base,
    )


__all__ = ["Meter", "MeterOptions", "Modem", "Outbox", "new_meter"]
