"""Which quantities of a measurement are shown, in which order, under which name and unit."""

from __future__ import annotations

from math import floor, isfinite, log10
from typing import Final

from blathy.report.measuring import Measurement

PHASE_ROWS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("Voltage U", "u_v", "", "V"),
    ("  least in a cycle", "u_min_v", "", "V"),
    ("  largest in a cycle", "u_max_v", "", "V"),
    ("  d.c.", "u_dc_v", "", "V"),
    ("  angle (lag to U1)", "angle_u_deg", "", "°"),
    ("  THD (to 40)", "thd_u_percent", "", "%"),
    ("  crest factor", "crest_u", "", ""),
    ("Current I", "i_a", "", "A"),
    ("  largest in a cycle", "i_max_a", "", "A"),
    ("  d.c.", "i_dc_a", "", "A"),
    ("  angle (lag to U1)", "angle_i_deg", "", "°"),
    ("  THD (to 40)", "thd_i_percent", "", "%"),
    ("  crest factor", "crest_i", "", ""),
    ("  K factor", "k_factor", "", ""),
    ("Active power P", "p_w", "p_w", "W"),
    ("Reactive power Q1", "q1_var", "q1_var", "var"),
    ("Apparent power S", "s_va", "s_arithmetic_va", "VA"),
    ("Power factor P/S", "power_factor", "power_factor", ""),
    ("cos φ1", "cos_phi1", "", ""),
    ("Budeanu's Q", "q_budeanu_var", "", "var"),
    ("Fryze's Q", "q_fryze_var", "", "var"),
    ("Quarter-period Q", "q_quarter_period_var", "", "var"),
)
"""Words, attribute of a phase, attribute of the total, unit."""

ENERGY_COLUMNS: Final = (
    ("A+ [Wh]", "a_import_wh"), ("A− [Wh]", "a_export_wh"), ("R1 [varh]", "r1_varh"),
    ("R2 [varh]", "r2_varh"), ("R3 [varh]", "r3_varh"), ("R4 [varh]", "r4_varh"),
    ("E+ [VAh]", "e_import_vah"), ("E− [VAh]", "e_export_vah"),
)  # fmt: skip


def total_rows(found: Measurement) -> list[tuple[str, str, str]]:
    """(words, figure, unit) of what belongs to the system as a whole."""
    total = found.total
    rows: list[tuple[str, float | None, str]] = [
        ("Frequency", total.frequency_hz, "Hz"),
        ("Neutral current, calculated", total.i_neutral_a, "A"),
        ("Neutral current, measured", total.i_neutral_measured_a, "A"),
        ("Residual current", total.i_residual_a, "A"),
        ("Voltage unbalance u2", total.u2_percent, "%"),
        ("Voltage unbalance u0", total.u0_percent, "%"),
        ("Current unbalance i2", total.i2_percent, "%"),
        ("Current unbalance i0", total.i0_percent, "%"),
    ]
    if len(found.phases) > 1:
        rows.append(("Apparent power, vector", total.s_vector_va, "VA"))
    if len(found.phases) == 3:
        rows.append(("Apparent power, effective", total.s_effective_va, "VA"))
    names = ("U12", "U23", "U31")
    rows += [(f"Voltage {n}", u, "V") for n, u in zip(names, total.u_line_v, strict=False)]
    out = [(words, figure(value), unit) for words, value, unit in rows if value is not None]
    if total.sequence:
        out.append(("Phase sequence", total.sequence, ""))
    return out


def figure(value: float | None) -> str:
    """Five significant figures without an exponent, a dash for nothing."""
    if value is None or not isfinite(value):
        return "–"
    if abs(value) < 5e-7:
        return "0"
    places = min(6, max(0, 4 - floor(log10(abs(value)))))
    return f"{value:.{places}f}".replace("-", "−")
