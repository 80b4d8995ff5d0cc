"""The control centre as one object: what `blathy up` opens, starts and stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from blathy.client.push import Push
from blathy.headend.access.accounts import Accounts
from blathy.headend.collection.collector import HISTORY_DAYS, SCHEDULES, Collector, Schedule
from blathy.headend.collection.conversation import Driver
from blathy.headend.collection.dlms import DlmsDriver
from blathy.headend.collection.pushes import PUSH_PORT, PushListener
from blathy.headend.database import Database
from blathy.headend.inventory.counters import StoredCounters
from blathy.headend.inventory.description import SiteDescription
from blathy.headend.inventory.registry import Inventory, Meter
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.operations.clocks import Clocks
from blathy.headend.operations.commands import Commands
from blathy.headend.operations.confirmations import Confirmations
from blathy.headend.operations.current_transformers import CurrentTransformers
from blathy.headend.operations.desk import Desk
from blathy.headend.operations.events import Events
from blathy.headend.operations.jobs import Jobs
from blathy.headend.operations.keys import KeyChanges
from blathy.headend.operations.security import Security
from blathy.headend.readings.ingest import Receipt
from blathy.headend.situation import Situation
from blathy.headend.stream import Hub

STORE_FILE = "headend.sqlite"
KEY_FILE = "headend.key"
Progress = Callable[[int, int, str], None]


class HeadEnd:
    """Composition root. Use: `head = HeadEnd.open(dir, site)`, `await head.start()`,
    `await head.collect_history(progress)`, `await head.stop()`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        site: SiteDescription | None,
        now: Callable[[], float],
        driver: Driver | None,
        schedules: Sequence[Schedule],
        history_days: int,
    ) -> None:
        self.now = now
        self.started_at = int(now())
        self._telling: set[asyncio.Task[None]] = set()
        self.database = database
        self.inventory = Inventory(database, sealer)
        if site is not None:
            self.inventory.load(site, int(now()))
        else:
            self.inventory.refresh()
        self.counters = StoredCounters(database)
        self.driver = driver or DlmsDriver(self.counters, now)
        self.events = Events(database, self.inventory)
        self.jobs = Jobs(database, now)
        self.collector = Collector(
            database, self.inventory, self.driver, self.events, now, schedules, history_days
        )
        self.confirmations = Confirmations(now)
        desk = Desk(database, self.inventory, self.collector, self.jobs, self.confirmations, now)
        self.clocks = Clocks(desk)
        self.keys = KeyChanges(desk)
        self.security = Security(self.inventory, self.counters)
        self.commands = Commands(desk, self.clocks)
        self.transformers = CurrentTransformers(database, self.collector, now)
        self.pushes = PushListener(
            database, self.inventory, self.events, self.counters, now, self.collector.follow
        )
        if isinstance(self.driver, DlmsDriver):
            self.driver.on_title = self.inventory.learn_title
            self.driver.on_push = self._told
        self.situation = Situation(self.collector, self.events, self.jobs, now)
        self.accounts = Accounts(database, now)
        self.hub = Hub(self.collector, self.situation.overview)
        self.events.on_new = self.hub.publish_event
        self.jobs.on_change = lambda job: self.hub.publish_job(job.as_json())
        self.accounts.open()
        self.jobs.open()
        self.commands.sales.open()
        if site is not None:
            self.accounts.create_first(site.users)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        site: SiteDescription | None = None,
        *,
        clock: Callable[[], float] = time.time,
        driver: Driver | None = None,
        schedules: Sequence[Schedule] = SCHEDULES,
        history_days: int = HISTORY_DAYS,
        database_url: str = "",
    ) -> HeadEnd:
        """Open or make the store in `data_dir` and load the site. Raise StoreError, SealError or
        DescriptionError, each one sentence. `database_url` (PostgreSQL) replaces the SQLite file.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        sealer = Sealer.from_file(data_dir / KEY_FILE)
        if database_url:
            database = Database(database_url)
        else:
            database = Database.in_file(data_dir / STORE_FILE)
        try:
            return cls(database, sealer, site, clock, driver, schedules, history_days)
        except BaseException:
            database.close()
            raise

    async def start(self) -> None:
        """Start schedules and the stream."""
        self.collector.start()
        self.keys.start()
        self.hub.start()

    async def listen(self, host: str, port: int = PUSH_PORT, *, outside: bool = False) -> int:
        """Open the port that meters push to (0: any free one); return it. Raise MeterError."""
        return await self.pushes.start(host, port, outside=outside)

    def _told(self, meter: Meter, push: Push) -> None:
        """A meter told something on an association that the collector has open."""
        point = self.inventory.points[meter.point_id]
        task = asyncio.get_running_loop().create_task(self.pushes.told(point, push))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def collect_history(self, progress: Progress | None = None) -> Receipt:
        """Read everything the meters hold of the last days; `progress(done, total, text)`."""
        return await self.collector.collect_history(progress)

    async def stop(self) -> None:
        """Stop within seconds: no new work, lines released, everything known is durable."""
        await self.hub.stop()
        await self.pushes.stop()
        await self.keys.stop()
        await self.jobs.stop()
        await self.collector.stop()
        while self._telling:  # what the last conversations told on their way out
            await asyncio.gather(*self._telling, return_exceptions=True)
        await asyncio.to_thread(self.counters.flush)
        await asyncio.to_thread(self.database.close)
