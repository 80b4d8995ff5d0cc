"""Synchronisation: the phase of the grid at every sample, and the instants of its zero crossings.

Theory of operation. The phase voltages become a space vector alpha + j beta (one phase: alpha
alone), so the loss of one or two phases leaves a reference and a zero-sequence voltage never
enters it. Once per nominal cycle (a *step*) the vector is demodulated at the nominal frequency
through a four-term Blackman-Harris window of 5.72 nominal cycles: linear phase, so the phase is
exact at any steady frequency, and everything 35 Hz or more away (d.c., all harmonics, the image of
a single phase) is down by 92 dB. Positive and negative sequence come from the same four sums; the
stronger one is followed, so reversed phase order is measured like the right one.

The vector is averaged over pairs or fours of samples first where the sample rate allows it; what
that could fold onto the fundamental lies above the hundredth harmonic.

Between steps the phase is linear in time. When amplitude or frequency change faster than a grid
does (a dip, a phase jump, the end of the supply), the steps that the window could have smeared
coast on the last frequency: a dip does not move the crossings. Steps are judged four steps late,
so that the window's look-ahead cannot smear the cycles before the dip either.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.kernels import FAST, kernel, part

WINDOW_CYCLES: Final = 5.72
REFERENCE_RATE_HZ_MIN: Final = 5_000.0
RING: Final = 512  # steps remembered: more than one slice of samples and the start hold
LOOK_BEHIND, LOOK_AHEAD = 3, 4  # steps around a disturbance that the window may have smeared
START_STEPS_MAX: Final = 28  # without a usable voltage: run free on the nominal frequency
COAST_STEPS_MAX: Final = 50  # then believe any voltage whose frequency is in range
AMPLITUDE_FLOOR: Final = 2e-4  # of the nominal voltage
AMPLITUDE_STEP_MAX: Final = 0.03  # change per step; the deepest flicker of the tables stays below
FREQUENCY_STEP_MAX_RAD: Final = 0.06  # change of phase advance per step: 24 Hz/s
DEVIATION_MAX_HZ: Final = 9.6
SIXTH: Final = np.pi / 3.0

EDGE_GUARD: Final = 25.0
"""Samples beside the ends of the record without a regular boundary: the spectrum reaches so far."""

# Quality of a half cycle; flags are added up over everything that is made of half cycles.
PARTIAL, COASTING, INVALID, SATURATED, REVERSED = 1, 2, 4, 8, 16
UPWARD = 32  # no fault: the half cycle begins at a crossing from minus to plus

# Indices into the integer and float state of a tracker.
(
    I_TOTAL,
    I_BASE,
    I_STEPS,
    I_FINAL,
    I_STARTED,
    I_TURNS,
    I_NEXT6,
    I_COAST,
    I_ROTATION,
    I_FILLED,
    I_EDGES,
    I_FIRST6,
    I_OPENED,
    I_AGAINST,
    I_DECIMATED,
) = range(15)
F_TIME, F_THETA, F_OMEGA, F_START = range(4)
INTEGERS, FLOATS = 16, 4


def decimation_of(connection: Connection) -> int:
    """Samples averaged into one of the reference: a power of two that leaves 5 kS/s."""
    decimation = 1
    while connection.sample_rate_hz / (2 * decimation) >= REFERENCE_RATE_HZ_MIN:
        decimation *= 2
    return decimation


def step_samples(connection: Connection) -> int:
    """Samples per step: one nominal cycle, in whole samples of the reference."""
    decimation = decimation_of(connection)
    return decimation * round(connection.sample_rate_hz / decimation / connection.nominal_hz)


def reference_weights(connection: Connection) -> NDArray[np.float32]:
    """Weights of the (up to three) voltages in alpha, then in beta.

    One voltage alone is doubled: half of it turns forward, half backward.
    """
    root = 1.0 / np.sqrt(3.0)
    rows = {
        Wiring.ONE_PHASE: [2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        Wiring.SPLIT_PHASE: [1.0, -1.0, 0.0, 0.0, 0.0, 0.0],
        Wiring.TWO_PHASE: [2 / 3, -1 / 3, 0.0, 0.0, root, 0.0],
    }
    three = [2 / 3, -1 / 3, -1 / 3, 0.0, root, -root]
    return np.asarray(rows.get(connection.wiring, three), np.float32) / np.float32(
        decimation_of(connection)
    )


def design_window(connection: Connection) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine kernel of the demodulation; its gain gives the peak of a sine wave."""
    rate_hz = connection.sample_rate_hz / decimation_of(connection)
    half = round(0.5 * WINDOW_CYCLES * rate_hz / connection.nominal_hz)
    n = np.arange(-half, half + 1)
    x = np.pi * (n / (half + 1.0))
    window = 0.35875 + 0.48829 * np.cos(x) + 0.14128 * np.cos(2 * x) + 0.01168 * np.cos(3 * x)
    window /= window.sum()
    angle = 2 * np.pi * connection.nominal_hz / rate_hz * n
    return window * np.cos(angle), -window * np.sin(angle)


@kernel(fastmath=FAST)
def follow(
    samples: Any,
    voltages: Any,
    weights: Any,
    decimation: Any,
    reference: Any,
    kernel_c: Any,
    kernel_s: Any,
    step: Any,
    half: Any,
    lag: Any,
    omega_nominal: Any,
    floor_v: Any,
    advance_max: Any,
    ints: Any,
    floats: Any,
    ring: Any,
    oscillator: Any,
    edges: Any,
    final: Any,
) -> Any:
    """From samples to the phase: reference, steps, decisions, oscillator and crossings."""
    last = ints[I_TOTAL] // decimation
    base = ints[I_BASE] // decimation
    _write_reference(
        samples, voltages, weights, decimation, reference, ints[I_DECIMATED] - base, last - base
    )
    ints[I_DECIMATED] = last
    _measure_steps(
        reference, kernel_c, kernel_s, step, decimation, omega_nominal, floor_v, advance_max,
        ints, ring,
    )  # fmt: skip
    _track(
        ints, floats, ring, step, half, lag, omega_nominal, floor_v, advance_max, oscillator,
        edges, final,
    )  # fmt: skip


@part(fastmath=FAST)
def _write_reference(
    samples: Any,
    voltages: Any,
    weights: Any,
    decimation: Any,
    reference: Any,
    first: Any,
    last: Any,
) -> Any:
    """alpha and beta, the mean of `decimation` samples each, into [first, last)."""
    # One row at a time: of a part of several rows the compiler would not know that it has no gaps.
    a = samples[0, first * decimation : last * decimation]
    b = samples[min(1, voltages - 1), first * decimation : last * decimation]
    c = samples[voltages - 1, first * decimation : last * decimation]
    a1, b1, c1, b2, c2 = weights[0], weights[1], weights[2], weights[4], weights[5]
    alpha = reference[0, first:last]
    beta = reference[1, first:last]
    count = np.uint64(last - first)
    if decimation == 1:  # the usual factors are spelt out, so that the compiler vectorises
        for m in range(count):
            alpha[m] = a1 * a[m] + b1 * b[m] + c1 * c[m]
            beta[m] = b2 * b[m] + c2 * c[m]
    elif decimation == 2:
        for m in range(count):
            n = m * np.uint64(2)
            y = b[n] + b[n + np.uint64(1)]
            z = c[n] + c[n + np.uint64(1)]
            alpha[m] = a1 * (a[n] + a[n + np.uint64(1)]) + b1 * y + c1 * z
            beta[m] = b2 * y + c2 * z
    else:
        for m in range(last - first):
            x = y = z = np.float32(0.0)
            for k in range(m * decimation, (m + 1) * decimation):
                x += a[k]
                y += b[k]
                z += c[k]
            alpha[m] = a1 * x + b1 * y + c1 * z
            beta[m] = b2 * y + c2 * z


@part(fastmath=FAST)
def _four_sums(a: Any, b: Any, kernel_c: Any, kernel_s: Any, start: Any) -> Any:
    ac = as_ = bc = bs = 0.0
    a = a[start : start + len(kernel_c)]
    b = b[start : start + len(kernel_c)]
    for n in range(len(kernel_c)):
        x = np.float64(a[n])
        y = np.float64(b[n])
        ac += x * kernel_c[n]
        as_ += x * kernel_s[n]
        bc += y * kernel_c[n]
        bs += y * kernel_s[n]
    return ac, as_, bc, bs


@part()
def _wrap(angle: Any) -> Any:
    return angle - 2.0 * np.pi * np.floor(angle / (2.0 * np.pi) + 0.5)


@part()
def _measure_steps(
    reference: Any,
    kernel_c: Any,
    kernel_s: Any,
    step: Any,
    decimation: Any,
    omega_nominal: Any,
    floor_v: Any,
    advance_max: Any,
    ints: Any,
    ring: Any,
) -> Any:
    """Demodulate every step whose window is complete; judge whether it is consistent.

    `ring` rows: amplitude, phase, phase advance against nominal, consistent (0/1).
    """
    length = len(kernel_c)
    short_step = step // decimation
    while ints[I_STEPS] * short_step + length <= ints[I_DECIMATED]:
        k = ints[I_STEPS]
        start = k * short_step - ints[I_BASE] // decimation
        ac, as_, bc, bs = _four_sums(reference[0], reference[1], kernel_c, kernel_s, start)
        forward = (ac - bs) ** 2 + (as_ + bc) ** 2
        backward = (ac + bs) ** 2 + (as_ - bc) ** 2
        _follow_rotation(ints, forward, backward)
        turn = float(ints[I_ROTATION])
        re, im = ac - turn * bs, as_ + turn * bc
        slot = k % RING
        before = (k - 1) % RING
        ring[0, slot] = np.hypot(re, im)
        ring[1, slot] = np.arctan2(im, re) + 0.5 * np.pi
        ring[2, slot] = _wrap(ring[1, slot] - ring[1, before] - omega_nominal * step)
        usable = ring[0, slot] > floor_v
        if k >= 1:
            usable = (
                usable
                and abs(ring[2, slot]) <= advance_max
                and abs(ring[0, slot] - ring[0, before]) <= AMPLITUDE_STEP_MAX * ring[0, before]
            )
        if k >= 2:
            usable = usable and abs(ring[2, slot] - ring[2, before]) <= FREQUENCY_STEP_MAX_RAD
        ring[3, slot] = 1.0 if usable else 0.0
        ints[I_STEPS] += 1


@part()
def _follow_rotation(ints: Any, forward: Any, backward: Any) -> Any:
    """Change the sequence that is followed only when the other is clearly stronger for a while."""
    mine, other = (forward, backward) if ints[I_ROTATION] > 0 else (backward, forward)
    if ints[I_STEPS] == 0:
        ints[I_ROTATION] = 1 if forward >= backward else -1
    elif other > 2.25 * mine:
        ints[I_AGAINST] += 1
        if ints[I_AGAINST] >= 5:
            ints[I_ROTATION] = -ints[I_ROTATION]
            ints[I_AGAINST] = 0
    else:
        ints[I_AGAINST] = 0


@part()
def _is_good(ring: Any, k: Any, steps: Any) -> Any:
    for j in range(max(0, k - LOOK_BEHIND), min(k + LOOK_AHEAD + 1, steps)):
        if ring[3, j % RING] == 0.0:
            return False
    return True


@part()
def _start(
    ints: Any,
    floats: Any,
    ring: Any,
    step: Any,
    half: Any,
    lag: Any,
    omega_nominal: Any,
    final: Any,
) -> Any:
    """Lock on the first good step, or run free; the phase at sample 0 follows by extrapolation."""
    steps = ints[I_STEPS]
    lock = -1
    for k in range(steps if final else steps - LOOK_AHEAD):
        if _is_good(ring, k, steps):
            lock = k
            break
    if lock < 0 and steps < START_STEPS_MAX and not final:
        return False
    omega, theta = omega_nominal, 0.0
    if lock >= 0:
        if steps > 1:
            omega += ring[2, (lock + 1 if lock + 1 < steps else lock) % RING] / step
        theta = ring[1, lock % RING] - omega * (lock * step + half + lag)
    ints[I_STARTED] = 1
    floats[F_TIME] = 0.0
    floats[F_THETA] = theta - 2.0 * np.pi * np.floor(theta / (2.0 * np.pi))
    floats[F_OMEGA] = omega
    floats[F_START] = -0.5
    ints[I_TURNS] = 0
    ints[I_NEXT6] = int(np.ceil((floats[F_THETA] + omega * EDGE_GUARD) / SIXTH))
    ints[I_FIRST6] = ints[I_NEXT6]
    return True


@part(fastmath=FAST)
def _fill_oscillator(oscillator: Any, first: Any, count: Any, theta: Any, omega: Any) -> Any:
    """sin and cos of theta + omega n, eight lanes turning together."""
    sine = oscillator[0, first : first + count]
    cosine = oscillator[1, first : first + count]
    s, c = np.sin(theta), np.cos(theta)
    ds, dc = np.sin(omega), np.cos(omega)
    for n in range(min(8, count)):
        sine[n] = s
        cosine[n] = c
        s, c = s * dc + c * ds, c * dc - s * ds
    d8s, d8c = np.sin(8.0 * omega), np.cos(8.0 * omega)
    for n in range(count - 8):
        sine[n + 8] = sine[n] * d8c + cosine[n] * d8s
        cosine[n + 8] = cosine[n] * d8c - sine[n] * d8s


@part()
def _advance_to(
    ints: Any, floats: Any, oscillator: Any, edges: Any, at: Any, advance: Any, coasting: Any
) -> Any:
    """Extend the phase linearly to sample `at`; write its oscillator and its sixth-cycle edges."""
    span = at - floats[F_TIME]
    omega = advance / span
    flags = (COASTING if coasting else 0) | (REVERSED if ints[I_ROTATION] < 0 else 0)
    first = int(floats[F_TIME]) - ints[I_BASE]
    _fill_oscillator(oscillator, first, int(span), floats[F_THETA], omega)
    while True:
        ahead = (ints[I_NEXT6] - 6 * ints[I_TURNS]) * SIXTH - floats[F_THETA]
        moment = floats[F_TIME] + ahead / omega
        if moment >= at:
            break
        edges[0, ints[I_EDGES]] = moment
        edges[1, ints[I_EDGES]] = flags
        ints[I_EDGES] += 1
        ints[I_NEXT6] += 1
    theta = floats[F_THETA] + advance
    turns = int(np.floor(theta / (2.0 * np.pi)))
    ints[I_TURNS] += turns
    floats[F_THETA] = theta - 2.0 * np.pi * turns
    floats[F_TIME] = at
    ints[I_FILLED] = int(at)


@part()
def _track(
    ints: Any,
    floats: Any,
    ring: Any,
    step: Any,
    half: Any,
    lag: Any,
    omega_nominal: Any,
    floor_v: Any,
    advance_max: Any,
    oscillator: Any,
    edges: Any,
    final: Any,
) -> Any:
    """Decide the phase at every step that has its look-ahead; coast where it is not good.

    A step's phase was measured `lag` samples (a part of one) after the sample it is laid on.
    """
    if ints[I_STARTED] == 0 and not _start(
        ints, floats, ring, step, half, lag, omega_nominal, final
    ):
        return
    while ints[I_FINAL] + LOOK_AHEAD < ints[I_STEPS] or (final and ints[I_FINAL] < ints[I_STEPS]):
        k = ints[I_FINAL]
        slot = k % RING
        at = k * step + half
        predicted = floats[F_OMEGA] * (at - floats[F_TIME])
        good = _is_good(ring, k, ints[I_STEPS])
        if not good and ints[I_COAST] >= COAST_STEPS_MAX:
            good = ring[0, slot] > floor_v and abs(ring[2, slot]) <= advance_max
            good = good and abs(ring[2, slot] - ring[2, (k - 1) % RING]) < 0.1
        advance = predicted
        if good:
            if k >= 1 and ring[3, slot] != 0.0:
                floats[F_OMEGA] = omega_nominal + ring[2, slot] / step
            measured = ring[1, slot] - floats[F_OMEGA] * lag
            advance += _wrap(measured - floats[F_THETA] - predicted)
            ints[I_COAST] = 0
        else:
            ints[I_COAST] += 1
        _advance_to(ints, floats, oscillator, edges, float(at), advance, not good)
        ints[I_FINAL] += 1
    if final:
        span = ints[I_TOTAL] - floats[F_TIME]
        if span > 0:
            advance = floats[F_OMEGA] * span
            coasting = ints[I_COAST] > 0 or ints[I_STEPS] == 0
            _advance_to(ints, floats, oscillator, edges, float(ints[I_TOTAL]), advance, coasting)
