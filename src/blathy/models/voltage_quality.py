"""The voltage-quality profile: ten-minute values of what a model measures of its supply.

EN 50160 is assessed over ten-minute means (IEC 61000-4-30), so every meter that measures the
quality of a voltage keeps a ring of them beside its load profile. The data sheets say what is
measured but give no depth; forty days are assumed.
"""

from __future__ import annotations

from typing import Final

from blathy.models.model import Capacity, Column, DataType, Parameter, Profile, Row
from blathy.models.row_groups import counter, o, obis_of, parameter, per_phase
from blathy.obis import Obis
from blathy.quantity import Kind, Measure, Phase, Source, Unit

KEY: Final = "voltage"
DAYS: Final = 40
PERIOD_S: Final = 600
STATISTICS: Final = (Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM)
UNBALANCE_E: Final = 20


def unbalance_row(kind: Kind, b: int = 0, *, assumed: bool = True) -> Row:
    """Negative over positive sequence of the voltages (u2), in hundredths of a percent."""
    d = {Kind.INSTANT: 7, Kind.MEAN: 25}[kind]
    words = {Kind.INSTANT: "", Kind.MEAN: "mean of the profile period, "}[kind]
    return Row(
        Obis(1, b, 128, d, UNBALANCE_E),
        3,
        Source(kind, Measure.UNBALANCE_U),
        DataType.U16,
        -2,
        title=words + "voltage unbalance u2",
        assumed=assumed,
        provenance="assumed" if assumed else "data sheet",
    )


def quality_rows(
    phases: tuple[Phase, ...], b: int = 0, *, thd: bool = False, unbalance: bool = False,
    known: tuple[Row, ...] = (),
) -> tuple[Row, ...]:  # fmt: skip
    """What the profile captures, without the rows that the model has already (`known`)."""
    there = {row.obis for row in known}
    rows = [
        row
        for kind in STATISTICS
        for row in per_phase(Measure.U, phases, DataType.U16, -1, b=b, kind=kind, assumed=True)
    ]
    for kind in STATISTICS:
        whole = (Phase.TOTAL,)
        rows += per_phase(Measure.F, whole, DataType.U16, -3, b=b, kind=kind, assumed=True)
    if thd:
        mean = Kind.MEAN
        rows += per_phase(Measure.THD_U, phases, DataType.U16, -2, b=b, kind=mean, assumed=True)
    if unbalance:
        rows.append(unbalance_row(Kind.MEAN, b))
    return tuple(row for row in rows if row.obis not in there)


def quality_columns(
    phases: tuple[Phase, ...], b: int = 0, *, thd: bool = False, unbalance: bool = False
) -> tuple[Column, ...]:
    """Mean, minimum and maximum of U and f; means of THD and u2 where they are measured."""
    columns = [
        Column(obis_of(Source(kind, Measure.U, phase), b))
        for phase in phases
        for kind in STATISTICS
    ]
    columns += [Column(obis_of(Source(kind, Measure.F), b)) for kind in STATISTICS]
    if thd:
        columns += [Column(obis_of(Source(Kind.MEAN, Measure.THD_U, p), b)) for p in phases]
    if unbalance:
        columns.append(Column(unbalance_row(Kind.MEAN, b).obis))
    return tuple(columns)


def quality_profile(
    phases: tuple[Phase, ...], status: Obis | None, b: int = 0, *, thd: bool = False,
    unbalance: bool = False,
) -> Profile:  # fmt: skip
    """The ring itself."""
    columns = quality_columns(phases, b, thd=thd, unbalance=unbalance)
    return Profile(
        KEY,
        Obis(1, b, 99, 133, 0),
        "voltage quality, ten-minute values (EN 50160)",
        columns,
        PERIOD_S,
        (PERIOD_S,),
        Capacity(days=DAYS, law="40 days of ten minutes"),
        status,
        DataType.U16,
        columns_max=16,
        assumed=True,
    )


def voltage_limits(b: int, low_dv: int, high_dv: int, delay_s: int) -> tuple[Parameter, ...]:
    """Limits at which under- and over-voltage begin, settable in tenths of a volt, and how long
    the voltage has to be beyond."""
    volt = Unit.V
    return (
        parameter(
            f"1-{b}:12.31.0", "voltage_low_v", low_dv, "under-voltage limit", DataType.U16,
            unit=volt, scaler=-1, class_id=3,
        ),
        parameter(
            f"1-{b}:12.35.0", "voltage_high_v", high_dv, "over-voltage limit", DataType.U16,
            unit=volt, scaler=-1, class_id=3,
        ),
        parameter(
            f"1-{b}:12.43.0", "voltage_delay_s", delay_s, "time beyond a voltage limit",
            DataType.U16, unit=Unit.SECOND, class_id=3,
        ),
    )  # fmt: skip


STATUS_OBIS: Final = o("0-0:96.10.5")
STATUS_ROW: Final = counter(
    str(STATUS_OBIS), "profile_status_voltage", "status of the voltage-quality profile"
)
