"""The report of a measured recording: values, waveform, phasors, spectrum, course and events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import NANOSECONDS_PER_S, iso_utc
from blathy.report.drawing import Axis, Drawing, Series, bar_chart, line_chart
from blathy.report.measuring import Course, Excerpt, Found, Harmonic, Measurement, PhaseValues
from blathy.report.page import Heading, Paragraph, Part, Report, Table
from blathy.report.phasors import Phasor, phasor_diagram
from blathy.report.quantity_rows import ENERGY_COLUMNS, PHASE_ROWS, figure, total_rows

PHASE_COLOURS: Final = ("#8a5a2b", "#1c2430", "#7b8794")
NEUTRAL_COLOUR: Final = "#1d4ed8"
SHOWN_U_PERCENT: Final = 0.1
SHOWN_I_PERCENT: Final = 1.0
SHOWN_MAX: Final = 25
BETWEEN_U_PERCENT: Final = 0.3
BETWEEN_I_PERCENT: Final = 3.0
BETWEEN_MAX: Final = 8
BARS_TO: Final = 25


def shown_orders(found: Measurement, phase: str) -> list[Harmonic]:
    """The orders of a phase that are worth a line: the fundamental and what stands out."""
    rows = [r for r in found.harmonics if r.phase == phase and r.order and np.isfinite(r.u_v)]
    kept = [row for row in rows if row.order == 1 or _stands_out(row)]
    kept.sort(key=lambda row: max(row.u_percent or 0.0, row.i_percent or 0.0), reverse=True)
    return sorted(kept[:SHOWN_MAX], key=lambda row: row.order)


BETWEEN_HEADER: Final = ("Between orders", "U [V]", "U [% of U1]", "I [A]", "I [% of I1]")


def shown_between(found: Measurement, phase: PhaseValues) -> list[tuple[str, ...]]:
    """The interharmonics of a phase that are worth a line, in the columns of `BETWEEN_HEADER`."""
    first = {r.phase: r for r in found.harmonics if r.order == 1}.get(phase.name)
    if first is None:
        return []
    out: list[tuple[str, ...]] = []
    for row in found.interharmonics:
        in_u = 100.0 * row.u_v / first.u_v if first.u_v > 1e-6 else 0.0
        in_i = 100.0 * (row.i_a or 0.0) / first.i_a if first.i_a and first.i_a > 1e-6 else 0.0
        if row.phase == phase.name and (in_u >= BETWEEN_U_PERCENT or in_i >= BETWEEN_I_PERCENT):
            place = f"{row.order} and {row.order + 1}"
            out.append((place, figure(row.u_v), figure(in_u), figure(row.i_a), figure(in_i)))
    return out[:BETWEEN_MAX]


def _stands_out(row: Harmonic) -> bool:
    in_u, in_i = row.u_percent or 0.0, row.i_percent or 0.0
    return in_u >= SHOWN_U_PERCENT or in_i >= SHOWN_I_PERCENT


def page_of(found: Measurement) -> Report:
    """The page of one recording."""
    start = found.start_utc_ns
    begun = "" if start is None else f" from {iso_utc(start // NANOSECONDS_PER_S)}"
    page = Report(
        f"Measurement of {found.name}",
        f"{found.duration_s:.3f} s{begun}, {found.sample_rate_hz:g} samples/s, {found.wiring}, "
        f"Un {found.nominal_u_v:g} V, {found.nominal_hz} Hz",
    )
    page.add(
        *(Paragraph(f"Note: {note}" + ("" if note.endswith("?") else ".")) for note in found.notes)
    )
    page.add(Heading("Quantities over the whole recording"), _quantities(found))
    rest = total_rows(found)
    if rest:
        page.add(Table(("System", "", "Unit"), tuple(rest), frozenset({1})))
    if found.energies:
        page.add(Heading("Energies"), _energies(found))
    page.add(Heading("Waveform"), *_waveform(found.excerpt, found.duration_s))
    if any((phase.u_v or 0.0) > 0.0 for phase in found.phases):
        page.add(Heading("Phasors of the fundamental"), _phasors(found))
    if found.harmonics and np.isfinite(found.harmonics[0].u_v):
        page.add(Heading("Spectrum"), *_spectra(found))
    if len(found.course.at_s) > 1:
        page.add(Heading("Course"), *_course(found))
    page.add(*_flicker(found))
    page.add(Heading("Events"), *_events(found))
    page.add(
        Paragraph(
            "Reactive power is Q1, that of the fundamental; P above zero flows to the load. "
            "Harmonics are the subgroups of IEC 61000-4-7 as means over the recording, flicker "
            "follows IEC 61000-4-15. Measured in software from the samples of the file: its "
            "sensors' errors are in the figures unless a calibration was given."
        )
    )
    return page


def _quantities(found: Measurement) -> Table:
    several = len(found.phases) > 1
    rows = []
    for words, name, total, unit in PHASE_ROWS:
        values = [getattr(phase, name) for phase in found.phases]
        if all(value is None for value in values):
            continue
        whole = getattr(found.total, total) if total else None
        cells = [figure(value) for value in values]
        if several:
            cells.append(figure(whole) if whole is not None else "")
        words = words.replace("  ", "– ") if words.startswith(" ") else words
        rows.append((words, *cells, unit))
    names = [phase.name for phase in found.phases] + (["Total"] if several else [])
    header = ("Quantity", *names, "Unit")
    return Table(header, tuple(rows), frozenset(range(1, len(names) + 1)))


def _energies(found: Measurement) -> Table:
    header = ("", *(words for words, _ in ENERGY_COLUMNS))
    rows = tuple(
        (row.name, *(figure(getattr(row, name)) for _, name in ENERGY_COLUMNS))
        for row in found.energies
    )
    return Table(header, rows, frozenset(range(1, len(header))))


def _waveform(excerpt: Excerpt, duration_s: float) -> Iterator[Part]:
    if len(excerpt.at_s) < 2:
        yield Paragraph("The recording is too short to be drawn.")
        return
    unit_ms = duration_s < 100.0
    at = (excerpt.at_s * (1000.0 if unit_ms else 1.0)).tolist()
    axis = Axis("t [ms]" if unit_ms else "t [s]", at[0], at[-1])
    for kind, title, words in (("u", "Voltages", "u [V]"), ("i", "Currents", "i [A]")):
        columns = [n for n, name in enumerate(excerpt.names) if name.startswith(kind)]
        if not columns or not np.nan_to_num(excerpt.samples[:, columns]).any():
            continue
        series = [
            Series(
                excerpt.names[n],
                list(zip(at, excerpt.samples[:, n].tolist(), strict=True)),
                _colour(excerpt.names[n]),
            )
            for n in columns
        ]
        yield line_chart(title, axis, Axis(words), series)


def _colour(channel: str) -> str:
    return PHASE_COLOURS[int(channel[1]) - 1] if channel[1].isdigit() else NEUTRAL_COLOUR


def _phasors(found: Measurement) -> Drawing:
    top_u = max(phase.u_v for phase in found.phases)
    top_i = max((phase.i_a or 0.0) for phase in found.phases)
    arrows = []
    for colour, phase in zip(PHASE_COLOURS, found.phases, strict=False):
        n = phase.name[1]
        if phase.angle_u_deg is not None and top_u > 0 and phase.u_v > 0.01 * top_u:
            words = f"{figure(phase.u_v)} V at {_lag(phase.angle_u_deg)}"
            length = phase.u_v / top_u
            arrows.append(Phasor(f"U{n}", length, phase.angle_u_deg, colour, legend=words))
        if phase.i_a and phase.angle_i_deg is not None and top_i > 0:
            words = f"{figure(phase.i_a)} A at {_lag(phase.angle_i_deg)}"
            length = 0.8 * phase.i_a / top_i
            arrows.append(Phasor(f"I{n}", length, phase.angle_i_deg, colour, True, words))
    return phasor_diagram("Angles as lag behind U1; currents dashed, drawn to their own scale",
                          arrows)  # fmt: skip


def _lag(angle_deg: float) -> str:
    turned = (angle_deg + 180.0) % 360.0 - 180.0
    return f"{turned:.1f}°".replace("-", "−")


def _spectra(found: Measurement) -> Iterator[Part]:
    for phase in found.phases:
        rows = {r.order: r for r in found.harmonics if r.phase == phase.name}
        orders = [n for n in range(2, BARS_TO + 1) if n in rows]
        if not orders or not rows[1].u_v > 0:
            continue
        in_u = [(str(n), rows[n].u_percent or 0.0) for n in orders]
        yield bar_chart(f"Voltage of {phase.name}", Axis("Order"), Axis("% of U1"), in_u)
        if found.currents and (phase.i_a or 0.0) > 1e-6:
            in_i = [(str(n), rows[n].i_percent or 0.0) for n in orders]
            yield bar_chart(f"Current of {phase.name}", Axis("Order"), Axis("% of I1"), in_i)
        yield _harmonic_table(found, phase)
        between = tuple(shown_between(found, phase))
        if between:
            yield Table((f"Interharmonics of {phase.name}", *BETWEEN_HEADER[1:]),
                        tuple((f"between {row[0]}", *row[1:]) for row in between),
                        frozenset(range(1, 5)))  # fmt: skip


def _harmonic_table(found: Measurement, phase: PhaseValues) -> Table:
    header = (f"Order, {phase.name}", "U [V]", "U [% of U1]")
    if found.currents:
        header += ("I [A]", "I [% of I1]", "P [W]", "Flows")  # type: ignore[assignment]
    rows = []
    for row in shown_orders(found, phase.name):
        cells = [str(row.order), figure(row.u_v), figure(row.u_percent)]
        if found.currents:
            cells += [figure(row.i_a), figure(row.i_percent), figure(row.p_w), row.direction]
        rows.append(tuple(cells))
    return Table(header, tuple(rows), frozenset(range(1, 6 if found.currents else 3)))


def _course(found: Measurement) -> Iterator[Part]:
    course = found.course
    axis = _time_axis(course)
    yield _trend(course, "Voltage: mean, least and largest cycle", axis, "U [V]", course.u_v,
                 (course.u_min_v, course.u_max_v))  # fmt: skip
    if found.currents:
        yield _trend(course, "Current: mean and largest cycle", axis, "I [A]", course.i_a,
                     (course.i_max_a,))  # fmt: skip
        yield _trend(course, "Active power", axis, "P [W]", course.p_w, ())


def _time_axis(course: Course) -> Axis:
    end = float(course.at_s[-1])
    return Axis("t [s]", 0.0, end)


def _trend(
    course: Course, title: str, axis: Axis, words: str, mean: NDArray[np.float64],
    edges: tuple[NDArray[np.float64], ...],
) -> Drawing:  # fmt: skip
    at = course.at_s.tolist()
    series = []
    for k in range(mean.shape[1]):
        colour = PHASE_COLOURS[k]
        series.append(Series(f"L{k + 1}", list(zip(at, mean[:, k].tolist(), strict=True)), colour))
    chart = line_chart(title, axis, Axis(words), series)
    if len(at) < 2 or all(np.allclose(edge, mean, rtol=1e-3) for edge in edges):
        return chart
    thin = [
        Series("", list(zip(at, edge[:, k].tolist(), strict=True)), PHASE_COLOURS[k],
               dash=(1.5, 1.5), width=0.6)
        for edge in edges for k in range(mean.shape[1])
    ]  # fmt: skip
    named = [s for s in series if mean.shape[1] > 1] or [
        Series("", series[0].points, series[0].colour)
    ]
    return line_chart(title, axis, Axis(words), [*named, *thin])


def _flicker(found: Measurement) -> Iterator[Part]:
    if not found.flicker:
        return
    yield Heading("Flicker")
    rows = tuple(
        (row.name, f"{row.start_s:.0f}", *(figure(v) for v in row.values),
         "flagged" if row.flagged else "")
        for row in found.flicker
    )  # fmt: skip
    header = ("", "From [s]", *(phase.name for phase in found.phases), "")
    yield Table(header, rows, frozenset(range(1, len(header) - 1)))


def _events(found: Measurement) -> Iterator[Part]:
    if not found.events:
        yield Paragraph("None.")
        return
    header = ("Event", "Phases", "From [s]", "Lasts [s]", "Extreme", "Unit")
    yield Table(header, tuple(_event(event) for event in found.events), frozenset({2, 3, 4}))
    if found.event_excerpt is not None:
        yield Heading("Waveform around the first event of the voltage")
        yield from _waveform(found.event_excerpt, found.duration_s)


def _event(event: Found) -> tuple[str, ...]:
    lasts = "to the end" if event.duration_s is None else f"{event.duration_s:.3f}"
    return (
        event.name, event.phases, f"{event.start_s:.3f}", lasts, figure(event.extreme), event.unit,
    )  # fmt: skip
