"""The event stream: bounded for every listener, newest state wins, events are never reordered.

A listener that is slow gets the latest overview and live values, not a backlog of them; if it
misses events or jobs it is told so (`event: lost`) and can ask the API again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson
import structlog

from blathy.clock import iso_utc
from blathy.headend.collection.collector import Collector
from blathy.headend.collection.conversation import ConversationError, LiveValue
from blathy.headend.inventory.registry import Point

log = structlog.get_logger(__name__)
LISTENERS_MAX: Final = 200
BACKLOG_MAX: Final = 100
TOPICS_MAX: Final = 12
HEARTBEAT_S: Final = 15.0
OVERVIEW_EVERY_S: Final = 3.0
LIVE_EVERY_S: Final = 1.5
LIVE_RETRY_S: Final = 5.0
PLAIN_TOPICS: Final = frozenset(("overview", "events", "alarms", "jobs"))


class StreamFull(Exception):  # noqa: N818 - a state, said in plain words
    """Too many listeners."""


def live_json(point_id: str, at: int, values: list[LiveValue]) -> dict[str, Any]:
    """As `/points/{id}/live`, with the point's id."""
    return {
        "point": point_id,
        "at": iso_utc(at),
        "values": [
            {
                "obis": v.obis,
                "name": v.name,
                "phase": v.phase,
                "quantity": v.quantity,
                "value": v.value,
                "unit": v.unit,
            }
            for v in values
        ],
    }


class Listener:
    """One open stream."""

    def __init__(self, topics: frozenset[str], may_see: Callable[[str], bool]) -> None:
        self.topics = topics
        self.may_see = may_see
        self._latest: dict[str, bytes] = {}
        self._backlog: deque[bytes] = deque()
        self._lost = 0
        self._wake = asyncio.Event()

    def put(self, topic: str, frame: bytes, *, state: bool) -> None:
        """Queue a frame; of a `state` only the newest is kept."""
        if state:
            self._latest[topic] = frame
        elif len(self._backlog) >= BACKLOG_MAX:
            self._backlog.popleft()
            self._backlog.append(frame)
            self._lost += 1
        else:
            self._backlog.append(frame)
        self._wake.set()

    def waiting(self) -> int:
        return len(self._backlog) + len(self._latest)

    async def frames(self) -> AsyncIterator[bytes]:
        """Frames as they come, with a heartbeat comment when nothing does."""
        yield b"retry: 2000\n\n"
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            self._wake.clear()
            if self._lost:
                yield frame("lost", {"frames": self._lost})
                self._lost = 0
            while self._backlog:
                yield self._backlog.popleft()
            latest, self._latest = self._latest, {}
            for data in latest.values():
                yield data


def frame(event: str, document: Any) -> bytes:
    """A server-sent event. JSON has no raw line break, so a document is one `data:` line."""
    return b"event: " + event.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"


class Hub:
    """Knows the listeners and works only for those that are there."""

    def __init__(
        self, collector: Collector, overview: Callable[[], Awaitable[dict[str, Any]]]
    ) -> None:
        self._collector = collector
        self._overview = overview
        self._listeners: set[Listener] = set()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._ticker = asyncio.create_task(self._tick(), name="overview stream")

    async def stop(self) -> None:
        tasks = [*self._watches.values(), *([self._ticker] if self._ticker else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def join(self, topics: frozenset[str], may_see: Callable[[str], bool]) -> Listener:
        """Register a listener; raise StreamFull at the bound."""
        if len(self._listeners) >= LISTENERS_MAX:
            raise StreamFull
        listener = Listener(topics, may_see)
        self._listeners.add(listener)
        for topic in topics:
            word, _, point_id = topic.partition(":")
            if word == "live" and point_id not in self._watches:
                point = self._collector.inventory.point(point_id)
                if point is not None:
                    self._watches[point_id] = asyncio.create_task(
                        self._watch(point), name=f"watch {point_id}"
                    )
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    @property
    def watched(self) -> int:
        return len(self._watches)

    def publish_event(self, event: dict[str, Any]) -> None:
        """A new event of a meter, to whoever may see its point."""
        self._send("events", "events", event, point_id=event["point"]["id"])
        if event["severity"] == "alarm":
            self._send("alarms", "alarms", event, point_id=event["point"]["id"])

    def publish_job(self, job: dict[str, Any]) -> None:
        self._send("jobs", "jobs", job, point_id=job["point"])

    def _send(
        self, topic: str, word: str, document: Any, *, point_id: str | None, state: bool = False
    ) -> None:
        data: bytes | None = None
        for listener in self._listeners:
            if topic not in listener.topics:
                continue
            if not listener.may_see(point_id or ""):
                continue
            data = data or frame(word, document)
            listener.put(topic, data, state=state)

    async def _tick(self) -> None:
        while True:
            if any("overview" in listener.topics for listener in self._listeners):
                try:
                    document = await self._overview()
                except Exception:
                    log.exception("stream.overview_failed")
                else:
                    self._send("overview", "overview", document, point_id=None, state=True)
            await asyncio.sleep(OVERVIEW_EVERY_S)

    async def _watch(self, point: Point) -> None:
        """Poll a watched meter for as long as somebody watches; its line stays open."""
        topic = f"live:{point.id}"
        try:
            while any(topic in listener.topics for listener in self._listeners):
                pause = LIVE_EVERY_S
                try:
                    at, values = await self._collector.live(point)
                    document: dict[str, Any] = live_json(point.id, at, values)
                except ConversationError as error:
                    pause = LIVE_RETRY_S
                    document = {
                        "point": point.id,
                        "at": None,
                        "values": [],
                        "error": {
                            "kind": error.outcome.value,
                            "detail": error.detail,
                            "remedy": error.remedy,
                            "code": error.code,
                            "values": dict(error.values),
                        },
                    }
                self._send(topic, "live", document, point_id=point.id, state=True)
                await asyncio.sleep(pause)
        except Exception:
            log.exception("stream.watch_failed", point=point.id)
        finally:
            self._watches.pop(point.id, None)
