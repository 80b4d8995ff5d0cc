"""The limit tables against single figures of their standards, and the worked no-load times."""

from __future__ import annotations

import pytest

from blathy.metrology.accuracy_limits import Energy, Factor, accuracy_class, no_load_minutes


@pytest.mark.parametrize(
    ("name", "energy", "transformer", "share", "factor", "single", "percent"),
    [
        ("1", Energy.ACTIVE, False, 0.05, Factor.UNITY, False, 1.5),
        ("1", Energy.ACTIVE, False, 0.1, Factor.UNITY, False, 1.0),
        ("1", Energy.ACTIVE, False, 10, Factor.CAPACITIVE, False, 1.0),
        ("2", Energy.ACTIVE, False, 0.1, Factor.HALF_INDUCTIVE, False, 2.5),
        ("2", Energy.ACTIVE, False, 1.0, Factor.CAPACITIVE, False, None),
        ("2", Energy.ACTIVE, False, 1.0, Factor.HALF_INDUCTIVE, True, 3.0),
        ("1", Energy.ACTIVE, True, 0.02, Factor.UNITY, False, 1.5),
        ("0.2S", Energy.ACTIVE, True, 0.01, Factor.UNITY, False, 0.4),
        ("0.5S", Energy.ACTIVE, True, 1.0, Factor.QUARTER_INDUCTIVE, False, 1.0),
        ("C", Energy.ACTIVE, True, 0.05, Factor.UNITY, False, 0.5),
        ("B", Energy.ACTIVE, False, 0.01, Factor.UNITY, False, None),
        ("2", Energy.REACTIVE, False, 0.05, Factor.UNITY, False, 2.5),
        ("3", Energy.REACTIVE, True, 0.1, Factor.QUARTER_INDUCTIVE, False, 4.0),
    ],
)
def test_single_figures(
    name: str,
    energy: Energy,
    transformer: bool,
    share: float,
    factor: Factor,
    single: bool,
    percent: float | None,
) -> None:
    accuracy = accuracy_class(name, energy, transformer=transformer)
    assert accuracy.limit_percent(share, factor, single_phase=single) == percent


def test_no_load_times_of_the_worked_example() -> None:
    def minutes(name: str, u_v: float) -> float:
        accuracy = accuracy_class(name, Energy.ACTIVE, transformer=False)
        return round(no_load_minutes(accuracy, 1000, 3, u_v, 100, 0.02), 2)

    assert minutes("1", 230) == 8.70
    assert minutes("2", 230) == 6.96
    assert minutes("B", 230 * 1.15) == 15.12


def test_an_unknown_class_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"known are 0\.2S"):
        accuracy_class("0.1", Energy.ACTIVE, transformer=True)
    with pytest.raises(ValueError, match="known are 2 and 3"):
        accuracy_class("1", Energy.REACTIVE, transformer=False)
