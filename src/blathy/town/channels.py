"""Which channels the head-end collects from a meter: read off the model's load profiles.

The site description names channels by quantity (`a_import`, `u_l1`); where a profile captures
something else than the attribute's own value (a mean, a maximum), the channel says so.
"""

from __future__ import annotations

from typing import Final

from blathy.headend.inventory.description import ChannelDescription
from blathy.models.model import Column, Model, Profile
from blathy.models.voltage_quality import KEY
from blathy.quantity import SYMBOL, Kind, Measure, Phase, Source, base_of

_ENERGY_NAMES: Final = {
    Measure.A_IMPORT: ("a_import", "A+ energy"),
    Measure.A_EXPORT: ("a_export", "A− energy"),
    Measure.R_PLUS: ("r_plus", "R+ energy"),
    Measure.R_MINUS: ("r_minus", "R− energy"),
    Measure.R1: ("r1", "R1 energy"),
    Measure.R2: ("r2", "R2 energy"),
    Measure.R3: ("r3", "R3 energy"),
    Measure.R4: ("r4", "R4 energy"),
    Measure.E_IMPORT: ("e_import", "E+ energy"),
    Measure.E_EXPORT: ("e_export", "E− energy"),
    Measure.A_ABS: ("a_abs", "|A| energy"),
    Measure.A_NET: ("a_net", "Net energy"),
}
_INSTANT_NAMES: Final = {
    Measure.U: ("u", "Voltage"),
    Measure.I: ("i", "Current"),
    Measure.F: ("f", "Frequency"),
    Measure.PF: ("pf", "Power factor"),
    Measure.THD_U: ("thd_u", "Voltage THD"),
    Measure.THD_I: ("thd_i", "Current THD"),
    Measure.UNBALANCE_U: ("u2", "Voltage unbalance"),
}
_POWER_NAMES: Final = {
    Measure.A_IMPORT: ("p_import", "P+ power"),
    Measure.A_EXPORT: ("p_export", "P− power"),
    Measure.R_PLUS: ("q_plus", "Q+ power"),
    Measure.R_MINUS: ("q_minus", "Q− power"),
    Measure.A_NET: ("p", "Power"),
    Measure.E_IMPORT: ("s_import", "S+ power"),
    Measure.E_EXPORT: ("s_export", "S− power"),
}
DEPTH_S: Final = 31 * 86_400
"""A profile that holds less than the history cannot be collected afterwards."""
VOLTAGE_STEP_S: Final = 300
"""A further profile is read for its voltage in steps of at least this: ten minutes are assessed."""
_EXTREMES_OF_U: Final = frozenset(f"u_l{p}_{which}" for p in (1, 2, 3) for which in ("min", "max"))
_EXTREMES: Final = {Kind.MINIMUM: ("_min", ", minimum"), Kind.MAXIMUM: ("_max", ", maximum")}


def channels_of(model: Model) -> tuple[ChannelDescription, ...]:
    """The channels of the main load profile, and the means that another one adds.

    Beside the main profile that is the second one, and any that records the mean voltage: without
    it nobody could assess the supply.
    """
    found: dict[str, ChannelDescription] = {}
    for place, profile in enumerate(model.profiles):
        if place > 1 and (profile.period_s < VOLTAGE_STEP_S or not _has_voltage(model, profile)):
            continue
        if not 60 <= profile.period_s <= 3600 or profile.records() * profile.period_s < DEPTH_S:
            continue
        for column in profile.columns:
            channel = _channel(model, profile, column)
            if channel is None:
                continue
            if profile.key == KEY and channel.id.startswith("u_") and channel.id in _EXTREMES_OF_U:
                continue  # at the port; the assessment does not need them
            if profile.key == KEY or channel.id not in found:
                found[channel.id] = channel  # ten-minute means win over other periods
    return tuple(found.values())


def _has_voltage(model: Model, profile: Profile) -> bool:
    captured = {column.obis for column in profile.columns}
    return any(
        row.obis in captured and row.source.measure is Measure.U and row.source.kind is Kind.MEAN
        for row in model.rows
    )


def _channel(model: Model, profile: Profile, column: Column) -> ChannelDescription | None:
    row = model.row(column.obis)
    source = column.source or row.source
    named = _name(source)
    if named is None:
        return None
    unit, _ = base_of(source)
    phase = "" if source.phase is Phase.TOTAL else f"_{source.phase.name.lower()}"
    suffix, words = _EXTREMES.get(source.kind, ("", ""))
    energy = source.kind in {Kind.ENERGY, Kind.DELTA}
    return ChannelDescription(
        id=f"{named[0]}{phase}{suffix}",
        name=named[1] + (f" {source.phase.name}" if phase else "") + words,
        obis=str(column.obis),
        unit=SYMBOL[unit],
        scaler=row.scaler,
        step_s=profile.period_s,
        kind="energy" if energy else "instant",
        cumulative=source.kind is Kind.ENERGY and not profile.delta,
        profile=str(profile.obis),
        attribute=column.attribute,
    )


def _name(source: Source) -> tuple[str, str] | None:
    if source.loss is not None:
        return source.loss.name.lower(), f"{source.loss.name} losses"
    if source.measure is None:
        return None
    if source.kind in {Kind.ENERGY, Kind.DELTA}:
        return _ENERGY_NAMES.get(source.measure)
    return _POWER_NAMES.get(source.measure) or _INSTANT_NAMES.get(source.measure)
