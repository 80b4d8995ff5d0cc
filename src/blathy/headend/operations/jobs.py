"""Jobs: long work with a title, progress and an end, kept across restarts."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend import schema
from blathy.headend.collection.conversation import ConversationError
from blathy.headend.database import Database, upsert
from blathy.headend.operations.confirmations import CommandRefused
from blathy.headend.sentence import EMPTY, Sentence, with_code

RUNNING_MAX: Final = 256
KEPT_IN_MEMORY: Final = 500
DONE: Final = Sentence("job-done", "Done.")
CANCELLED: Final = Sentence("job-cancelled", "Cancelled.")
STOPPED: Final = Sentence(
    "job-stopped", "The control centre was stopped while this ran; start it again."
)
BROKEN: Final = Sentence("job-broken", "{fault}")
Clock = Callable[[], float]


class JobsFull(Exception):  # noqa: N818 - a state, said in plain words
    """Too many jobs run already."""


@dataclass(slots=True, eq=False)
class Job:
    """One job. Whoever runs it reports with `progress`."""

    id: str
    kind: str
    title: Sentence
    user: str
    point_id: str | None
    started_at: int
    state: str = "queued"
    done: int = 0
    total: int = 0
    ended_at: int | None = None
    message: Sentence = EMPTY
    result: Mapping[str, Any] | None = None
    _on_change: Callable[[Job], None] = field(default=lambda _job: None, repr=False)

    def progress(self, done: int, total: int, message: Sentence = EMPTY) -> None:
        self.done, self.total = done, total
        self.message = message or self.message
        self._on_change(self)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            **with_code("title", self.title),
            "state": self.state,
            "progress": {"done": self.done, "total": self.total},
            "started_at": iso_utc(self.started_at),
            "ended_at": iso_utc(self.ended_at) if self.ended_at is not None else None,
            **with_code("message", self.message),
            "result": self.result,
            "point": self.point_id,
            "user": self.user,
        }


Work = Callable[[Job], Awaitable[Mapping[str, Any] | None]]


class Jobs:
    """Runs jobs as tasks; bounded; told to `on_change` at every step."""

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.on_change: Callable[[Job], None] = lambda _job: None

    def open(self) -> None:
        """Load the latest jobs; what ran when the process died has failed."""
        table = schema.job

        def settle(connection: Connection) -> list[Any]:
            connection.execute(
                sa.update(table)
                .where(table.c.state.in_(("queued", "running")))
                .values(
                    state="failed",
                    ended_at=int(self._now()),
                    message=str(STOPPED),
                    message_words=STOPPED.kept(),
                )
            )
            return list(
                connection.execute(
                    sa.select(table).order_by(table.c.started_at.desc()).limit(KEPT_IN_MEMORY)
                )
            )

        for r in reversed(self._database.write_now(settle)):
            self._jobs[r.id] = Job(
                r.id, r.kind, Sentence.restored(r.title, r.title_words), r.user_name, r.point_id,
                r.started_at, r.state, r.done, r.total, r.ended_at,
                Sentence.restored(r.message, r.message_words),
                json.loads(r.result) if r.result else None,
            )  # fmt: skip

    async def start(
        self, kind: str, title: Sentence, work: Work, *, user: str = "", point_id: str | None = None
    ) -> Job:
        """Start `work` as a job, durable before this returns; raise JobsFull at the bound."""
        if len(self._tasks) >= RUNNING_MAX:
            raise JobsFull
        job = Job(
            secrets.token_hex(8), kind, title, user, point_id, int(self._now()), "running",
            _on_change=self._changed,
        )  # fmt: skip
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT_IN_MEMORY:
            oldest = next(iter(self._jobs))
            if oldest in self._tasks:
                break
            del self._jobs[oldest]
        await self._save(job)
        self._changed(job)
        self._tasks[job.id] = asyncio.create_task(self._run(job, work), name=f"job {job.title}")
        return job

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def latest(self, count: int = 50) -> list[Job]:
        return list(self._jobs.values())[: -count - 1 : -1]

    async def cancel(self, job_id: str) -> bool:
        """Cancel a running job; False where it is over already."""
        task = self._tasks.get(job_id)
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def stop(self) -> None:
        """Cancel what runs and wait for it."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _changed(self, job: Job) -> None:
        self.on_change(job)

    async def _run(self, job: Job, work: Work) -> None:
        state, message, result = await self._outcome(job, work)
        self._tasks.pop(job.id, None)
        ended = replace(job, state=state, message=message, result=result, ended_at=int(self._now()))
        try:
            await asyncio.shield(self._save(ended))  # what is shown is durable
        finally:
            job.state, job.message, job.result = ended.state, ended.message, ended.result
            job.ended_at = ended.ended_at
        self._changed(job)

    async def _outcome(
        self, job: Job, work: Work
    ) -> tuple[str, Sentence, Mapping[str, Any] | None]:
        """Do the work; how it ended: state, sentence, result."""
        try:
            result = await work(job)
        except asyncio.CancelledError:
            return "cancelled", CANCELLED, None
        except ConversationError as error:
            return "failed", error.whole, {"outcome": error.outcome.value}
        except CommandRefused as error:
            return "failed", error.whole, {"outcome": "refused"}
        except Exception as error:  # noqa: BLE001 - a job's failure is its result
            return "failed", BROKEN.of(fault=f"{type(error).__name__}: {error}"), None
        return "done", job.message or DONE, result

    async def _save(self, job: Job) -> None:
        row = {
            "id": job.id,
            "kind": job.kind,
            "title": str(job.title),
            "title_words": job.title.kept(),
            "state": job.state,
            "done": job.done,
            "total": job.total,
            "started_at": job.started_at,
            "ended_at": job.ended_at,
            "message": str(job.message),
            "message_words": job.message.kept(),
            "result": json.dumps(job.result, default=str) if job.result is not None else None,
            "user_name": job.user,
            "point_id": job.point_id,
        }
        await self._database.write(lambda connection: upsert(connection, schema.job, [row]))
