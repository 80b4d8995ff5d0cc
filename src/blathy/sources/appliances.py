"""Appliances: what they draw, when people use them, and the real shape of their current.

The harmonic spectra were computed from recordings of twelve household appliances (128 samples a
cycle at 50 Hz, 10-cycle windows, the third-strongest window of each): amplitude relative to the
fundamental, and the angle of each current harmonic against the same multiple of the voltage's
fundamental. Powers are the usual ones of such devices, not the recordings', whose recorder was not
calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ORDERS: Final = (3, 5, 7, 9, 11, 13)
"""Harmonic orders carried through the synthetic loads."""


@dataclass(frozen=True, slots=True)
class Appliance:
    """One kind of appliance. `angle_deg` is that of the fundamental current against the voltage
    (negative lags, inductive); `harmonics` are (ratio to the fundamental, angle in degrees) in the
    order of ORDERS; `uses` are (mean starts a day, minutes at least, minutes at most) and `hours`
    the local hours in which it starts; `cycles` is (minutes on, minutes off) within a use, for
    thermostats."""

    name: str
    power_w: float
    angle_deg: float
    harmonics: tuple[tuple[float, float], ...]
    uses: tuple[float, int, int]
    hours: tuple[int, int] = (6, 23)
    cycles: tuple[int, int] | None = None


_LINEAR: Final = (
    (0.007, 240.0),
    (0.009, 217.0),
    (0.011, 209.0),
    (0.003, 109.0),
    (0.004, 99.0),
    (0.003, 70.0),
)

APPLIANCES: Final[dict[str, Appliance]] = {
    a.name: a
    for a in (
        Appliance("kettle", 2000, 0, _LINEAR, (4.0, 3, 5)),
        Appliance(
            "water-heater",
            1800,
            0,
            ((0.004, 224), (0.023, 193), (0.004, 212), (0.002, 154), (0.005, 140), (0.004, 52)),
            (2.0, 60, 150),
            (0, 24),
            (14, 22),
        ),
        Appliance(
            "refrigerator",
            75,
            -47,
            ((0.095, 249), (0.017, 116), (0.016, 212), (0.014, 287), (0.005, 231), (0.015, 216)),
            (1.0, 1440, 1440),
            (0, 1),
            (17, 31),
        ),
        Appliance(
            "washing-machine",
            420,
            -8,
            ((0.046, 303), (0.067, 177), (0.012, 146), (0.007, 101), (0.004, 322), (0.004, 47)),
            (0.6, 60, 110),
            (8, 20),
            (6, 3),
        ),
        Appliance(
            "television",
            105,
            7,
            ((0.005, 81), (0.015, 304), (0.014, 263), (0.004, 326), (0.015, 196), (0.007, 81)),
            (1.5, 60, 200),
            (16, 23),
        ),
        Appliance(
            "laptop",
            40,
            24,
            ((0.319, 30), (0.181, 288), (0.118, 314), (0.064, 169), (0.059, 211), (0.034, 132)),
            (1.6, 60, 300),
            (8, 22),
        ),
        Appliance(
            "desktop-computer",
            110,
            20,
            ((0.161, 38), (0.187, 308), (0.164, 349), (0.074, 140), (0.097, 179), (0.115, 150)),
            (1.0, 120, 480),
            (8, 20),
        ),
        Appliance(
            "induction-cooker",
            1500,
            10,
            ((0.008, 299), (0.009, 294), (0.010, 298), (0.006, 282), (0.009, 116), (0.008, 176)),
            (2.2, 15, 45),
            (6, 20),
            (4, 1),
        ),
        Appliance(
            "rice-cooker",
            480,
            0,
            ((0.007, 240), (0.005, 215), (0.008, 223), (0.004, 182), (0.0, 23), (0.004, 90)),
            (0.4, 25, 40),
            (11, 19),
        ),
        Appliance(
            "range-hood",
            80,
            -3,
            ((0.031, 270), (0.046, 142), (0.004, 120), (0.001, 34), (0.0, 335), (0.001, 102)),
            (1.6, 15, 45),
            (11, 20),
        ),
        Appliance(
            "water-dispenser",
            240,
            0,
            ((0.018, 250), (0.019, 216), (0.010, 255), (0.003, 116), (0.006, 118), (0.006, 77)),
            (1.0, 1440, 1440),
            (0, 1),
            (5, 55),
        ),
        Appliance(
            "air-conditioner",
            900,
            9,
            ((0.005, 168), (0.037, 237), (0.006, 265), (0.010, 237), (0.005, 165), (0.009, 161)),
            (0.8, 90, 300),
            (11, 22),
            (12, 5),
        ),
    )
}
