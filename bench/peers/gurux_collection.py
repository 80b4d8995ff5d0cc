"""gurux-dlms (GPL-2.0) reads meters one after the other, in a process of its own."""

from __future__ import annotations

import json
import sys
import time

from gurux_dlms.objects import GXDLMSRegister
from tests.meter.gurux_peer import Peer


def main() -> None:
    job = json.load(sys.stdin)
    started, cpu = time.perf_counter(), time.process_time()
    rows = 0
    for place in job["places"]:
        peer = Peer({**job, **place})
        peer.associate()
        peer.read(GXDLMSRegister(job["register"]), 2)
        rows += len(peer.profile(job["profile"], job["since"], job["until"]))
        peer.socket.close()
    found = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "rows": rows,
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
