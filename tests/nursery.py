"""Starts commands by forking a process that has imported them, for tests that start many.

Run by `tests.processes` with the number of a socket, on which each line is a job in JSON and comes
with four descriptors: standard input, output and error of the new process, and a socket of its own,
on which its number and, at its end, its exit status are told. The child is a process like any
other: it is signalled and killed by its number. The imports, most of the cost of a start, happen
once.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import warnings
from importlib import import_module
from typing import Any, Final

DESCRIPTORS: Final = 4
BLATHY: Final = "blathy"
LATE: Final = ("pydantic.type_adapter", "email.message")
"""What the command line imports only when it is used."""


def main() -> None:
    """Fork a process for every job, until whoever started this has gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    running: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        while running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            with running.pop(child) as report:
                report.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, reap)
    while (received := next_job(control)) is not None:
        job, (*streams, own) = received
        prepare(job)
        report = socket.socket(fileno=own)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a library may have threads; none is in use
            child = os.fork()
        if child == 0:
            for other in (control, report, *running.values()):
                other.close()
            become(job, streams)
            return
        running[child] = report
        report.sendall(f"{child}\n".encode())
        for each in streams:
            os.close(each)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def next_job(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next job with its descriptors; None at the end."""
    line, handles = b"", []
    while not line.endswith(b"\n"):
        more, got, _, _ = socket.recv_fds(control, 1 << 16, DESCRIPTORS)
        if not more:
            return None
        line += more
        handles += got
    return json.loads(line), handles


def prepare(job: dict[str, Any]) -> None:
    """Import what the job needs, and do what it would do at every start."""
    before = len(sys.modules)
    if job["program"] == BLATHY:
        import_module("blathy.cli.verbs").load_verbs(job["words"][:1])
        for name in LATE:
            import_module(name)
    else:
        warnings.simplefilter("ignore")  # of libraries that are not ours
        import_module(job["program"])
    for name in job["first"]:
        module, _, function = name.partition(":")
        getattr(import_module(module), function)()
    if len(sys.modules) != before:
        gc.collect()
        gc.freeze()


def become(job: dict[str, Any], streams: list[int]) -> None:
    """Be the process that a user would have started."""
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    program = "blathy.cli" if job["program"] == BLATHY else job["program"]
    sys.argv = [job["program"], *job["words"]]
    import_module(program).main()


if __name__ == "__main__":
    main()
