"""Sun and clouds over the town: what a photovoltaic roof sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MINUTES_PER_DAY = 1440


def sun_elevation_sin(
    day_utc: int, latitude_deg: float, longitude_deg: float
) -> NDArray[np.float64]:
    """Sine of the sun's elevation for the 1 440 minutes of a UTC day (days since 1970-01-01).

    Cooper's declination and the usual two-term equation of time: a few minutes' accuracy, enough
    for a believable roof.
    """
    day_of_year = (day_utc - 10956) % 365.25  # 10956: 1999-12-31
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365)
    b = 2 * np.pi * (day_of_year - 81) / 364
    equation_min = 9.87 * np.sin(2 * b) - 7.53 * np.cos(b) - 1.5 * np.sin(b)
    solar_min = np.arange(MINUTES_PER_DAY) + 0.5 + 4 * longitude_deg + equation_min
    hour_angle = np.radians(solar_min / 4 - 180)
    latitude = np.radians(latitude_deg)
    return np.asarray(
        np.sin(latitude) * np.sin(declination)
        + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    )


def clearness(seed: int, day_utc: int) -> NDArray[np.float64]:
    """How much of the clear-sky power passes the clouds, 0.08 … 1, per minute of a UTC day."""
    rng = np.random.default_rng((seed, day_utc, 0x5C1))
    cloudy = rng.beta(1.2, 1.2)
    knots = rng.normal(0.0, 1.0, 49).cumsum() * 0.25
    slow = np.interp(np.arange(MINUTES_PER_DAY), np.arange(49) * 30, knots - knots.mean())
    quick = smooth_noise(rng, MINUTES_PER_DAY, 4) * cloudy * (1 - cloudy) * 1.6
    passed: NDArray[np.float64] = np.clip(1.0 - cloudy * (0.75 + 0.4 * slow) + quick, 0.08, 1.0)
    return passed


def smooth_noise(rng: np.random.Generator, n: int, every: int) -> NDArray[np.float64]:
    """Noise of unit deviation, linear between knots `every` steps apart."""
    knots = rng.normal(0.0, 1.0, n // every + 2)
    course: NDArray[np.float64] = np.interp(np.arange(n), np.arange(len(knots)) * every, knots)
    return course
