"""A model as a page of documentation: what its table says, and apart from it what is assumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from blathy.models.model import Column, Model, Row
from blathy.quantity import SYMBOL


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    titles = tuple(header)
    yield "| " + " | ".join(titles) + " |"
    yield "| " + " | ".join("---" for _ in titles) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _accuracy(model: Model) -> str:
    active = " / ".join(model.ratings.accuracy_active)
    reactive = " / ".join(model.ratings.accuracy_reactive)
    return f"{active}; reactive {reactive}" if reactive else active


def _clock(model: Model) -> str:
    clock = model.clock
    return (
        f"at most {clock.drift_ppm} ppm, reserve {clock.reserve_s / 86_400:g} days,"
        f" corrections below {clock.shift_limit_s} s are silent"
    )


def _plate(model: Model) -> Iterator[str]:
    ratings = model.ratings
    currents = ", ".join(f"{ma / 1000:g}" for ma in ratings.i_ref_ma)
    lines = {
        "connection": model.connection,
        "nominal voltage": ", ".join(f"{volt} V" for volt in ratings.un_v),
        "reference (maximum) current": f"{currents} ({ratings.i_max_ma / 1000:g}) A",
        "accuracy": _accuracy(model),
        "constant": f"{ratings.imp_per_kwh} imp/kWh" if ratings.imp_per_kwh else "no pulse light",
        "identification": f"`{model.identity.identification}`",
        "logical device name": f"`{model.identity.ldn}`",
        "clock": _clock(model),
        **dict(model.plate),
    }
    yield from _table(("name plate", ""), lines.items())


def _columns(columns: tuple[Column, ...]) -> str:
    codes = [str(column.obis) for column in columns]
    return ", ".join(codes) if len(codes) <= 8 else ", ".join(codes[:8]) + f" … ({len(codes)})"


def _profiles(model: Model) -> Iterator[str]:
    yield "## Profiles"
    yield ""
    rows: list[tuple[str, ...]] = []
    for profile in model.profiles:
        for period_s in profile.periods_s:
            records = profile.records(period_s)
            rows.append(
                (
                    profile.title,
                    f"`{profile.obis}`",
                    f"{period_s // 60} min" if period_s >= 60 else f"{period_s} s",
                    str(records),
                    str(records * period_s // 86_400),
                    _columns(profile.columns),
                )
            )
    for billing in model.billing:
        title = f"{billing.title} ({billing.stop.value})"
        rows.append(
            (title, f"`{billing.obis}`", "", str(billing.entries), "", _columns(billing.columns))
        )
    yield from _table(("profile", "OBIS", "period", "records", "days", "columns"), rows)
    for profile in model.profiles:
        if len(profile.layouts) > 1:
            yield f"Depth in days of the {profile.title} by what it records:"
            yield ""
            yield from _table(
                ("channels", *(f"{p // 60} min" for p in profile.periods_s)),
                (
                    (
                        name,
                        *(str(profile.capacity.whole_days(len(c), p)) for p in profile.periods_s),
                    )
                    for name, c in profile.layouts.items()
                ),
            )
    laws = {p.title: p.capacity.law for p in model.profiles if p.capacity.law}
    for title, law in laws.items():
        yield f"- {title}: {law}."
    yield ""


def _events(model: Model) -> Iterator[str]:
    yield "## Event logs"
    yield ""
    for log in model.logs:
        yield f"**{log.title}** (`{log.obis}`, {log.entries} entries)"
        yield ""
        rows = (
            (name.replace("_", " "), ", ".join(map(str, (c,) if isinstance(c, int) else c)))
            for name, c in log.codes.items()
        )
        yield from _table(("event", "code"), rows)
    if model.event_code is not None:
        yield (
            "The code of every logged event goes at once to the clients of open associations"
            f" (EventNotification), as the value of `{model.event_code}`."
        )
        yield ""
    if model.alarms:
        yield (
            "An alarm that its filter lets through is told the same way, as the value of its"
            " register, and pushed."
        )
        yield ""


def _access(model: Model) -> Iterator[str]:
    yield "## Associations and rights"
    yield ""
    yield from _table(
        ("client", "level", "authentication", "cipher", ""),
        (
            (
                str(a.client_sap),
                a.level.value,
                ", ".join(m.name.lower().replace("_", "-") for m in a.mechanisms),
                a.ciphering.value,
                "only with the seal open" if a.needs_open_seal else "",
            )
            for a in model.associations
        ),
    )
    if model.security_policy:
        yield (
            f"Security policy when delivered: 0x{model.security_policy:02X}; all clients but the"
            " public one are served only what they ask for authenticated and encrypted, and it can"
            " be strengthened but not loosened."
        )
        yield ""
    if model.iec62056_21:
        yield f"IEC 62056-21 by choice: {', '.join(model.iec62056_21)}; the first is delivered."
        yield ""
    levels = [a.level for a in model.associations]
    groups = sorted({g for level in levels for g in model.access[level]}, key=lambda g: g.value)
    yield from _table(
        ("objects", *(level.value for level in levels)),
        (
            (
                group.value,
                *(
                    "".join(
                        letter
                        for letter, bit in (("r", 1), ("w", 2), ("x", 4))
                        if model.right(level, group) & bit
                    )
                    or "-"
                    for level in levels
                ),
            )
            for group in groups
        ),
    )
    yield "r read, w write, x execute. Energy registers have no writable attribute at any level."
    yield ""


def _row_cells(row: Row) -> tuple[str, ...]:
    unit = SYMBOL.get(row.shown_unit, "")
    scaled = f"10^{row.scaler} {unit}".rstrip() if row.scaler else unit
    return f"`{row.obis}`", str(row.class_id), row.title, row.data_type.name.lower(), scaled


def _rows(model: Model) -> Iterator[str]:
    header = ("OBIS", "class", "what", "type", "unit")
    yield "## Registers"
    yield ""
    harmonics = [row for row in model.rows if row.source.name.startswith("harmonic_")]
    certain = [r for r in model.rows if not r.assumed and r not in harmonics]
    yield from _table(header, (_row_cells(row) for row in certain))
    if harmonics:
        first, last = harmonics[0], harmonics[-1]
        yield (
            f"and {len(harmonics)} harmonics, {first.title} (`{first.obis}`) to {last.title}"
            f" (`{last.obis}`), in 0.01 %."
        )
        yield ""


def _objects(model: Model) -> Iterator[str]:
    yield "## Other objects"
    yield ""
    facilities = sorted(model.facilities, key=lambda f: (f.class_id, f.obis))
    yield from _table(
        ("OBIS", "class", "what"),
        ((f"`{f.obis}`", str(f.class_id), f.title) for f in facilities),
    )
    if model.parameters:
        yield from _table(
            ("OBIS", "class", "parameter", "default"),
            ((f"`{p.obis}`", str(p.class_id), p.title, str(p.default)) for p in model.parameters),
        )


def _face(model: Model) -> Iterator[str]:
    if model.display is not None:
        display = model.display
        yield "## Display"
        yield ""
        formats = ", ".join(f"{before}.{after}" for before, after in display.formats)
        yield (
            f"{display.value_digits} digits, code field of {display.code_digits}; energies as"
            f" {formats}; {display.scroll_s} s a reading; back to the automatic list after"
            f" {display.back_to_automatic_s} s."
        )
        yield ""
        for items in display.lists:
            yield f"- {items.name}: {', '.join(items.items)}"
        yield ""
    yield "## Terminals and ports"
    yield ""
    yield from _table(
        ("terminal", "kind", "note"), ((t.label, t.kind, t.note) for t in model.terminals)
    )
    yield from _table(
        ("port", "protocols", "note"),
        ((p.key, ", ".join(p.protocols), p.note) for p in model.ports),
    )


def _assumed(model: Model) -> Iterator[str]:
    yield "## What is assumed"
    yield ""
    yield "No public document says the following; each line is a default that can be replaced."
    yield ""
    for text in model.assumptions:
        yield f"- {text}"
    tables = (
        ("profile", [p.title for p in model.profiles if p.assumed]),
        ("billing profile", [b.title for b in model.billing if b.assumed]),
        ("event log and its codes", [log.title for log in model.logs if log.assumed]),
    )
    for kind, titles in tables:
        for title in titles:
            yield f"- {kind}: {title}"
    yield ""
    rows = model.assumed_rows()
    if rows:
        header = ("OBIS", "class", "what", "type", "unit")
        yield from _table(header, (_row_cells(row) for row in rows))
    if model.quirks:
        yield "## Peculiarities"
        yield ""
        for quirk in model.quirks:
            yield f"- {quirk}"
        yield ""


def page(model: Model) -> str:
    """The page in Markdown."""
    parts = [
        f"# {model.name}",
        "",
        f"{model.title}. {model.description}",
        "",
        f"`blathy meter run {model.key}` runs it. Maker {model.maker}, code {model.flag}.",
        "",
        "Sources: " + "; ".join(model.sources) + ". Generated from its table: do not edit.",
        "",
        *_plate(model),
        *_profiles(model),
        *_events(model),
        *_access(model),
        *_rows(model),
        *_objects(model),
        *_face(model),
        *_assumed(model),
    ]
    return "\n".join(parts).rstrip() + "\n"
