"""Peers in processes of their own, kept for a whole module of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Self

from blathy.meter.identity import HEAD_END_TITLE, head_end_keys
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Mechanism
from blathy.wire.security import public_key_of
from tests import processes
from tests.meter.running import fed

EVERY = tuple(Level)


class Peer:
    """A resident client: a job goes in, its result comes out."""

    process: processes.Process | subprocess.Popen[str]

    def __init__(self, module: str, *flags: str) -> None:
        program = f"tests.interop.{module}"
        if not flags:
            self.process = processes.start(program=program, stdin=True)
            return
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-W", "ignore", "-m", program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=processes.ROOT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(job), file=stdin, flush=True)
        for line in stdout:
            if line.startswith("RESULT "):
                result: dict[str, Any] = json.loads(line[7:])
                return result
        raise AssertionError("the peer ended without a result")


def meter_of(
    mechanism: Mechanism, suite: int = 0, *, short_names: bool = False, model: str = "mt372"
) -> Meter:
    """A day of a meter whose clients prove themselves in this way."""
    options = MeterOptions(
        suite=suite, short_names=short_names,
        mechanisms=tuple((level, mechanism) for level in EVERY),
    )  # fmt: skip
    return fed(model, 1, options=options)


def job_of(
    meter: Meter, port: int, work: list[Any], *, ciphered: bool = False,
    level: Level = Level.MANAGEMENT, **extra: Any,
) -> dict[str, Any]:  # fmt: skip
    """What the management client of a meter is told: its label and its key file."""
    association = next(a for a in meter.model.associations if a.level is level)
    mechanism = meter.mechanism_of(association)
    job: dict[str, Any] = {
        "port": port, "client": association.client_sap, "mechanism": int(mechanism), "work": work,
    }  # fmt: skip
    if mechanism not in {Mechanism.NONE, Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA}:
        job["secret"] = meter.secret_of(association).hex()
    if ciphered or mechanism in {Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA, Mechanism.HLS_SHA256}:
        job |= {"title": HEAD_END_TITLE.hex(), "suite": meter.identity.suite}
        job |= {"ek": meter.key("unicast").hex(), "ak": meter.key("authentication").hex()}
        job["counter"] = meter.received_counter() + 1
    if mechanism is Mechanism.HLS_ECDSA:
        suite = meter.identity.suite
        job["signing"] = head_end_keys("test", suite)[0].hex()
        job["peer_signing"] = public_key_of(meter.key("signing"), suite).hex()
    return job | {"ciphered": ciphered} | extra
