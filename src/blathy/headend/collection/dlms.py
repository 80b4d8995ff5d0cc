"""The DLMS/COSEM driver: conversations over `blathy.client`, with the models' tables as the guide.

For a model that is in the tables nothing has to be discovered: classes, codes and logs are known,
so a first contact costs no object list. Any other meter is read by its channels.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from blathy.client import (
    Garbled,
    KeySet,
    MeterAddress,
    MeterError,
    ObjectRefused,
    Reading,
    Refused,
    TimedOut,
    Unreachable,
    Untrusted,
    Value,
    parse_address,
)
from blathy.client import Meter as Client
from blathy.client.address import AUTHENTICATION, PROTECTION
from blathy.client.push import Push, push_of
from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import AttributeRef
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
from blathy.headend.collection.live_quantities import live_cells, live_values
from blathy.headend.collection.profile_rows import column_of, is_frame, rows_of
from blathy.headend.collection.rendering import constant_of, lcd_text, render_display
from blathy.headend.inventory.keyring import Secrets
from blathy.headend.inventory.registry import Channel, Meter
from blathy.models import MODELS, Model
from blathy.models.model import EventLog
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Kind, Phase, Quantity
from blathy.wire.association_events import EventReport, Notification
from blathy.wire.security import TITLE_OCTETS, CounterStore

DISPLAY_MIRROR: Final = Obis(0, 0, 96, 128, 0)
BUTTON_SCRIPTS: Final = Obis(0, 0, 10, 128, 0)
CLOCK: Final = Obis(0, 0, 1, 0, 0)
PUSH_SETUP: Final = Obis(0, 0, 25, 9, 0)
SECURITY_SETUP: Final = Obis(0, 0, 43, 0, 0)
CURRENT_ASSOCIATION: Final = Obis(0, 0, 40, 0, 0)
ACCOUNT: Final = Obis(0, 0, 19, 0, 0)
TOKEN_CREDIT: Final = Obis(0, 0, 19, 10, 0)
SHIFT_TIME: Final = 6
KEY_TRANSFER: Final = 2
CHANGE_SECRET: Final = 2
UPDATE_AMOUNT: Final = 1
PREPAYMENT_MODE: Final = 2
KEY_IDS: Final = {"encryption": 0, "broadcast": 1, "authentication": 2, "master": 3}
SWITCH_STATES: Final = ("disconnected", "connected", "ready for reconnection")
NO_LIMIT_W: Final = 0xFFFF_FFFF
"""A threshold that no supply reaches; the limiter has no other way to say that there is none."""
REGISTERS_MAX: Final = 120
_MECHANISMS: Final = {
    "none": "none", "lls": "lls", "hls_md5": "hls3", "hls_sha1": "hls4", "hls_gmac": "hls5",
    "hls_sha256": "hls6", "hls_ecdsa": "hls7",
}  # fmt: skip
_OUTCOMES: Final[tuple[tuple[type[MeterError], Outcome], ...]] = (
    (Unreachable, Outcome.UNREACHABLE),
    (TimedOut, Outcome.TIMED_OUT),
    (Untrusted, Outcome.UNTRUSTED),
    (Garbled, Outcome.GARBLED),
    (Refused, Outcome.REFUSED),
)
_SUB_METERS: Final = {
    f"mbus-{medium}": f"M-Bus {medium} meter" for medium in ("water", "heat", "gas")
}
"""Names of the models that the inventory gives to meters read through another meter."""
RELEASING_MODES: Final = frozenset((2, 4, 7))
"""Modes of disconnect control (class 70) whose remote reconnection only makes ready."""


def outcome_of(error: MeterError) -> ConversationError:
    """The client's error as one of the five outcomes."""
    kinds = (outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
    outcome = next(kinds, Outcome.GARBLED)
    return ConversationError(
        outcome,
        "conversation-failed",
        "{fault}",
        "{advice}",
        outcome=outcome.value,
        fault=_sentence(error.message),
        advice=_sentence(error.remedy or "try again later"),
    )


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


class DlmsDriver:
    """Opens associations as the inventory describes them; invocation counters are durable."""

    def __init__(self, counters: CounterStore, now: Callable[[], float]) -> None:
        self._counters = counters
        self._now = now
        self.on_title: Callable[[Meter, bytes], None] = lambda _meter, _title: None
        """Told the system title that a meter showed."""
        self.on_push: Callable[[Meter, Push], None] = lambda _meter, _push: None
        """Given what a meter tells by itself on an association that is open."""
        self._facts: dict[tuple[str, str], MeterFacts] = {}

    def facts(self, meter: Meter) -> MeterFacts:
        key = (meter.model, meter.medium)
        found = self._facts.get(key)
        if found is None:
            found = self._facts[key] = _facts_of(_model_of(meter), meter)
        return found

    async def open(self, meter: Meter, secrets: Secrets) -> Conversation:
        try:
            client = Client.connect(
                address_of(meter, secrets),
                counters=self._counters,
                type_key=f"{meter.model}@{meter.client_sap}" if meter.model in MODELS else "",
                zone=meter.zone,
                on_push=lambda event: self._told(meter, event),
            )
            await client.open()
        except MeterError as error:
            raise outcome_of(error) from error
        told = client.system_title.hex().upper()
        if meter.system_title and told and told != meter.system_title:
            await client.close()
            raise ConversationError(
                Outcome.UNTRUSTED,
                "other-meter",
                "The meter at {host} has the system title {told}, not {expected}.",
                "Check which meter is mounted there.",
                host=meter.host,
                told=told,
                expected=meter.system_title,
            )
        if len(client.system_title) == TITLE_OCTETS:
            self.on_title(meter, client.system_title)
        return DlmsConversation(client, _model_of(meter), meter.zone, self._now)

    def _told(self, meter: Meter, event: Notification | EventReport) -> None:
        push = push_of(event)
        if isinstance(push, Push) and (push.authenticated or not meter.ciphered):
            self.on_push(meter, push)


def address_of(meter: Meter, secrets: Secrets) -> MeterAddress:
    """The client's address of a meter of the inventory."""
    protected = meter.ciphered and bool(secrets.encryption_key)
    keys = KeySet(
        meter.suite,
        unicast=secrets.encryption_key,
        authentication=secrets.authentication_key,
    )
    return replace(
        parse_address(meter.url),
        client=meter.client_sap,
        server=meter.server_sap,
        mechanism=AUTHENTICATION[_MECHANISMS[meter.mechanism]],
        protection=PROTECTION["both" if protected else "none"],
        password=secrets.password,
        keys=keys,
        meter_title=bytes.fromhex(meter.system_title),
        # the counter of a new key begins anew; what the meter shows is that of the old one
        ask_counter=not secrets.pending,
    )


def _model_of(meter: Meter) -> Model | None:
    return MODELS.get(meter.model) if meter.medium == "electricity" else None


def _facts_of(model: Model | None, meter: Meter) -> MeterFacts:
    if model is None:
        return MeterFacts(
            model_name=_SUB_METERS.get(meter.model, meter.model),
            manufacturer=meter.manufacturer,
            phases=0,
            rated="",
            capabilities=("profile", "registers"),
        )
    capabilities = ["registers", "profile", "clock"]
    if model.logs:
        capabilities.append("events")
    if any(row.source.kind is Kind.INSTANT for row in model.rows):
        capabilities.append("live")
    if model.display is not None:
        capabilities.append("display")
    commands = ["set-clock"]
    if model.breaker is not None:
        capabilities.append("disconnect")
        commands += [
            "disconnect",
            "release" if model.breaker.mode in RELEASING_MODES else "connect",
        ]
        if model.breaker.limiter_obis is not None:
            commands.append("limit")
    if _has_account(model):
        commands.append("credit")
    if _alarm_refs(model):
        capabilities.append("alarms")
    if model.relays:
        capabilities.append("relay")
        commands.append("relay")
    volts, count = max(u for u in model.ratings.un_v if u <= 300), max(1, len(model.phases))
    amperes = model.ratings.i_max_ma / 1000
    many = f"{count}×" if count > 1 else ""
    rated = f"{many}{'/'.join(str(u) for u in model.ratings.un_v)} V"
    rated += f", {model.ratings.i_ref_ma[-1] / 1000:g}({amperes:g}) A"
    return MeterFacts(
        model_name=model.name,
        manufacturer=model.maker,
        phases=len(model.phases),
        rated=rated,
        capabilities=tuple(capabilities),
        # behind transformers the primary power is not in the table
        capacity_w=0 if model.ratings.transformers else round(count * volts * amperes),
        commands=tuple(commands),
        relays=tuple(relay.key for relay in model.relays),
        logs=tuple(str(log.obis) for log in model.logs),
    )


def _has_account(model: Model) -> bool:
    return any(f.class_id == 112 and f.obis == TOKEN_CREDIT for f in model.facilities)


def _has_push_setup(model: Model) -> bool:
    return any(f.class_id == 40 and f.obis == PUSH_SETUP for f in model.facilities)


def _alarm_refs(model: Model | None) -> list[AttributeRef]:
    """The alarm registers of a model of the tables."""
    rows = model.rows if model is not None and model.alarms else ()
    return [
        AttributeRef(row.class_id, row.obis, 2)
        for row in rows
        if row.source.name.startswith("alarm_register_")
    ]


class DlmsConversation:
    """`Conversation` over an open association."""

    def __init__(
        self, client: Client, model: Model | None, zone: Zone, now: Callable[[], float]
    ) -> None:
        self._client = client
        self._model = model
        self._zone = zone
        self._now = now

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Client]:
        try:
            yield self._client
        except MeterError as error:
            raise outcome_of(error) from error
        except (ValueError, TypeError, IndexError) as error:
            # the meter sent a value of another shape than its table says
            raise ConversationError(
                Outcome.GARBLED,
                "unexpected-form",
                "The answer has an unexpected form: {fault}.",
                "Check the model in the inventory.",
                fault=str(error),
            ) from error

    def _known(self) -> Model:
        if self._model is None:
            raise ConversationError(
                Outcome.REFUSED,
                "model-unknown",
                "The model of this meter is not in the tables.",
                "Only its channels can be read.",
            )
        return self._model

    # -- values ---------------------------------------------------------------------------------

    async def live(self, *, brief: bool = False) -> list[LiveValue]:
        cells = [
            cell
            for cell in live_cells(self._known())
            if not brief or (cell.quantity == "p" and cell.row.source.phase is Phase.TOTAL)
        ]
        async with self._asking() as client:
            readings = await client.read_many([cell.ref for cell in cells])
        return live_values(cells, readings, brief=brief)

    async def registers(self, channels: Sequence[Channel] = ()) -> list[RegisterValue]:
        if channels:
            return await self._channel_registers(channels)
        model = self._known()
        rows = [
            row
            for row in model.rows
            if row.source.kind in {Kind.ENERGY, Kind.MAX_DEMAND} and row.source.phase is Phase.TOTAL
        ][:REGISTERS_MAX]
        refs = [AttributeRef(row.class_id, row.obis, 2) for row in rows]
        timed = [row for row in rows if row.class_id == 4]
        async with self._asking() as client:
            readings = await client.read_many(
                [*refs, *(AttributeRef(4, row.obis, 5) for row in timed)]
            )
        times = {
            row.obis: _moment(reading, self._zone)
            for row, reading in zip(timed, readings[len(rows) :], strict=True)
        }
        found = []
        for row, reading in zip(rows, readings, strict=False):
            if isinstance(reading.value, Quantity):
                title = row.title[:1].upper() + row.title[1:]
                at = times.get(row.obis)
                found.append(_register(model, row.obis, title, reading.value, row.tariff, at))
        return found

    async def _channel_registers(self, channels: Sequence[Channel]) -> list[RegisterValue]:
        async with self._asking() as client:
            readings = await client.read_many([(c.obis, c.attribute) for c in channels])
        return [
            _register(None, Obis.parse(c.obis), c.name, reading.value, 0, None)
            for c, reading in zip(channels, readings, strict=True)
            if isinstance(reading.value, Quantity)
        ]

    # -- profiles -------------------------------------------------------------------------------

    async def profile(
        self, profile: str, channels: Sequence[Channel], from_utc: int, to_utc: int
    ) -> ProfileRows:
        code = Obis.parse(profile)
        async with self._asking() as client:
            captures = await client.capture_objects(code)
            places = [column_of(captures, channel, profile) for channel in channels]
            keep = sorted({n for n, c in enumerate(captures) if is_frame(c)} | set(places))
            selected: tuple[CaptureObject, ...] = ()
            if len(keep) < len(captures):
                selected = tuple(captures[n] for n in keep)
            try:
                reading = await client.profile(code, from_utc, to_utc, columns=selected)
            except ObjectRefused:
                if not selected:
                    raise
                # some meters restrict by time only
                reading, selected = await client.profile(code, from_utc, to_utc), ()
            if selected:
                places = [keep.index(place) for place in places]
            return rows_of(reading, channels, places)

    # -- events ---------------------------------------------------------------------------------

    async def events(self, log: str, from_utc: int) -> list[LoggedEvent]:
        code = Obis.parse(log)
        table = None
        if self._model is not None:
            table = next((entry for entry in self._model.logs if entry.obis == code), None)
        names = _names_of(table)
        async with self._asking() as client:
            reading = await client.profile(code, from_utc, int(self._now()) + 3600)
            times = reading.times
            column = next(
                c.values
                for c in reading.columns
                if not c.capture.is_clock and c.values.dtype.kind in "iu"
            )
        found = []
        for at, valid, value in zip(
            times.utc_s.tolist(), times.valid.tolist(), column.tolist(), strict=True
        ):
            if valid:
                name, phase = names.get(value, ("", None))
                found.append(LoggedEvent(log, at, value, name, phase))
        return found

    # -- display --------------------------------------------------------------------------------

    async def display(self) -> DisplayState:
        if self._model is not None and self._mirrored(self._model):
            async with self._asking() as client:
                return self._shown(await client.read(AttributeRef(1, DISPLAY_MIRROR, 2)))
        return render_display(self._model, await self.registers(), int(self._now()))

    @staticmethod
    def _mirrored(model: Model) -> bool:
        return any(f.obis == DISPLAY_MIRROR for f in model.facilities)

    def _shown(self, value: Value) -> DisplayState:
        """The mirror object: mode, index, length, code, value, unit, decimals, symbols, lights,
        buttons."""
        assert isinstance(value, tuple)
        mode, index, length, code, text, unit, decimals, symbols, lights, buttons = value
        digits = 0
        if self._model is not None and self._model.display is not None:
            digits = self._model.display.value_digits
        return DisplayState(
            mode=str(mode),
            code=str(code),
            value=str(text),
            unit=_text(unit),
            digits=digits,
            decimals=int(decimals),
            annunciators=[Sign(str(k), str(label), bool(on)) for k, label, on in symbols],
            leds=[
                Light(str(k), str(label), str(state), constant_of(self._model, str(k)))
                for k, label, state in lights
            ],
            buttons=[(str(key), str(label)) for key, label, _ in buttons],
            list_name=str(mode),
            list_index=int(index),
            list_length=int(length),
        )

    async def press(self, button: str, hold_ms: int) -> None:
        model = self._known()
        async with self._asking() as client:
            mirror: Any = await client.read(AttributeRef(1, DISPLAY_MIRROR, 2))
            scripts = {str(key): int(number) for key, _, number in mirror[9]}
            if button not in scripts:
                able = ", ".join(scripts) or "none"
                raise ConversationError(
                    Outcome.REFUSED, "no-button", "There is no button '{button}'.",
                    "There is: {buttons}.", button=button[:32], buttons=able,
                )  # fmt: skip
            long_ms = model.display.long_press_ms if model.display is not None else 2000
            number = scripts[button] + (1 if hold_ms >= long_ms else 0)
            await client.action(BUTTON_SCRIPTS, 1, axdr.u16(number))

    # -- clock and switches ---------------------------------------------------------------------

    def _clock_ref(self) -> AttributeRef:
        obis = self._model.clock.obis if self._model is not None else CLOCK
        return AttributeRef(8, obis, 2)

    async def clock(self) -> int:
        async with self._asking() as client:
            shown = await client.read(self._clock_ref())
            assert isinstance(shown, CosemDateTime)
            return int(shown.utc(self._zone))

    async def set_clock(self, utc_s: int) -> None:
        stamp = CosemDateTime.from_utc(utc_s, self._zone)
        async with self._asking() as client:
            await client.set(self._clock_ref(), axdr.octets(stamp.raw()))

    async def shift_clock(self, seconds: int) -> None:
        async with self._asking() as client:
            await client.action(self._clock_ref().obis, SHIFT_TIME, axdr.i16(seconds))

    async def switch(self, command: str, arguments: Mapping[str, object]) -> dict[str, object]:
        model = self._known()
        if command == "relay":
            relay = next(r for r in model.relays if r.key == arguments["relay"])
            obis, method = relay.obis, 2 if arguments["on"] else 1
        else:
            assert model.breaker is not None
            obis, method = model.breaker.obis, 1 if command == "disconnect" else 2
        async with self._asking() as client:
            await client.action(obis, method)
            output, control = await client.read_many(
                [AttributeRef(70, obis, 2), AttributeRef(70, obis, 3)]
            )
            state = control.get()
            assert isinstance(state, int)
            return {"output_state": bool(output.get()), "control_state": SWITCH_STATES[state]}

    # -- limits and credit ------------------------------------------------------------------------

    async def supply(self) -> SupplyState:
        model = self._known()
        breaker = model.breaker
        refs: dict[str, AttributeRef] = {}
        if breaker is not None:
            refs["output_state"] = AttributeRef(70, breaker.obis, 2)
            refs["control_state"] = AttributeRef(70, breaker.obis, 3)
            if breaker.limiter_obis is not None:
                refs["active_limit_w"] = AttributeRef(71, breaker.limiter_obis, 3)
                refs["limit_w"] = AttributeRef(71, breaker.limiter_obis, 4)
        if _has_account(model):
            refs["prepaid"] = AttributeRef(111, ACCOUNT, 2)
            refs["available_wh"] = AttributeRef(111, ACCOUNT, 5)
            refs["balance_wh"] = AttributeRef(112, TOKEN_CREDIT, 2)
        if not refs:
            return SupplyState()
        async with self._asking() as client:
            readings = await client.read_many(list(refs.values()))
            found: dict[str, Any] = {
                name: reading.get()
                for name, reading in zip(refs, readings, strict=True)
                if not reading.error
            }
            if "control_state" in found:
                found["control_state"] = SWITCH_STATES[found["control_state"]]
            if "prepaid" in found:
                found["prepaid"] = found["prepaid"][0] == PREPAYMENT_MODE
            if (limit := found.get("limit_w")) is not None:
                found["limit_w"] = 0 if limit >= NO_LIMIT_W else limit
            return SupplyState(**found)

    async def set_limit(self, power_w: int) -> None:
        breaker = self._known().breaker
        assert breaker is not None
        assert breaker.limiter_obis is not None
        ref = AttributeRef(71, breaker.limiter_obis, 4)
        async with self._asking() as client:
            await client.set(ref, axdr.u32(power_w or NO_LIMIT_W))

    async def set_parameter(self, name: str, value: int | bytes) -> None:
        parameter = next((p for p in self._known().parameters if p.name == name), None)
        if parameter is None or not parameter.writable:
            raise ConversationError(
                Outcome.REFUSED, "no-parameter",
                "The meter has no parameter {parameter} that can be set.",
                "Check the model in the inventory.", parameter=name,
            )  # fmt: skip
        ref = AttributeRef(parameter.class_id, parameter.obis, 2)
        data = axdr.Data(axdr.DataType(parameter.data_type), value)
        async with self._asking() as client:
            await client.set(ref, data)
            (reading,) = await client.read_many([ref])
            reading.get()  # raises where it may not be read
            if reading.raw != axdr.encode(data):
                raise ConversationError(
                    Outcome.GARBLED, "parameter-not-kept",
                    "The meter keeps another value of {parameter} than was set.",
                    "Set it again.", parameter=name,
                )  # fmt: skip

    async def add_credit(self, energy_wh: int) -> None:
        async with self._asking() as client:
            await client.action(TOKEN_CREDIT, UPDATE_AMOUNT, axdr.i32(energy_wh))

    # -- alarms and pushes ------------------------------------------------------------------------

    async def alarms(self) -> dict[str, int]:
        refs = _alarm_refs(self._model)
        if not refs:
            return {}
        async with self._asking() as client:
            readings = await client.read_many(refs)
        return {
            str(ref.obis): reading.value
            for ref, reading in zip(refs, readings, strict=True)
            if isinstance(reading.value, int)
        }

    async def clear_alarms(self, register: str, bits: int) -> None:
        remaining = ~bits & 0xFFFF_FFFF
        async with self._asking() as client:
            await client.set(AttributeRef(1, Obis.parse(register), 2), axdr.u32(remaining))

    async def push_objects(self) -> tuple[CaptureObject, ...]:
        if self._model is not None and not _has_push_setup(self._model):
            return ()
        async with self._asking() as client:
            try:
                data = await client.get_data(AttributeRef(40, PUSH_SETUP, 2))
            except ObjectRefused:
                return ()
            return tuple(
                CaptureObject.of(axdr.structure(*element.value[:4])) for element in data.value
            )

    # -- keys -------------------------------------------------------------------------------------

    async def transfer_keys(self, wrapped: Mapping[str, bytes]) -> None:
        keys = (
            axdr.structure(axdr.enum(KEY_IDS[purpose]), axdr.octets(octets))
            for purpose, octets in wrapped.items()
        )
        async with self._asking() as client:
            await client.action(SECURITY_SETUP, KEY_TRANSFER, axdr.array(*keys))

    async def change_secret(self, secret: bytes) -> None:
        async with self._asking() as client:
            await client.action(CURRENT_ASSOCIATION, CHANGE_SECRET, axdr.octets(secret))

    async def firmware(self) -> str:
        model = self._known()
        row = next((r for r in model.rows if r.source.name == "firmware"), None)
        if row is None:
            return model.identity.firmware
        async with self._asking() as client:
            return _text(await client.read(AttributeRef(row.class_id, row.obis, 2)))

    async def close(self) -> None:
        await self._client.close()


def _moment(reading: Reading, zone: Zone) -> int | None:
    value = reading.value
    if not isinstance(value, CosemDateTime) or value.is_unset:
        return None
    try:
        return int(value.utc(zone))
    except ValueError:
        return None


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if value is not None else ""


def _register(
    model: Model | None, obis: Obis, name: str, value: Quantity, tariff: int, at: int | None
) -> RegisterValue:
    text, unit, digits = lcd_text(model, value.mantissa, value.scaler, value.unit)
    symbol = SYMBOL.get(value.unit, "")
    return RegisterValue(
        str(obis), name, value.mantissa, value.scaler, symbol, tariff, text, unit, digits, at
    )


def _names_of(log: EventLog | None) -> dict[int, tuple[str, int | None]]:
    """Code of the maker -> neutral name and phase; the first name of a shared code wins."""
    names: dict[int, tuple[str, int | None]] = {}
    for name, codes in (log.codes if log is not None else {}).items():
        if isinstance(codes, int):
            names.setdefault(codes, (name, None))
            continue
        for phase, code in enumerate(codes, 1):
            shared = len(set(codes)) == 1
            names.setdefault(code, (name, None if shared else phase))
    return names
