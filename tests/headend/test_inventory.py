"""The inventory: descriptions, keys, counters, schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from blathy.headend import schema
from blathy.headend.database import Database, StoreError
from blathy.headend.inventory.counters import AHEAD, CountersExhausted, StoredCounters
from blathy.headend.inventory.description import (
    AssociationDescription,
    DescriptionError,
    read_site,
)
from blathy.headend.inventory.registry import Inventory
from blathy.headend.inventory.sealing import Sealer, SealError
from blathy.headend.operations.vocabulary import MEANINGS
from blathy.models import MODELS
from blathy.registers.events import EVENTS
from blathy.wire.errors import LocalProtocolError
from blathy.wire.invocation_counters import counter_name, key_fingerprint
from blathy.wire.security import InvocationCounters, KeySet, Protection, SecurityContext
from tests.headend.conftest import NOON
from tests.headend.fake_meters import demo_site

TOML = """
name = "Mill Lane"
timezone = "Europe/Vienna"
stations = [{id = "t1", name = "T1", rated_kva = 400}]
feeders = [{id = "f1", name = "F1", station = "t1"}]
[[points]]
id = "p1"
name = "Number 1"
kind = "household"
station = "t1"
feeder = "f1"
[points.meter]
serial = "123"
model = "mt372"
url = "dlms://10.0.0.7:4059"
channels = [{id = "a_import", name = "A+", obis = "1-0:1.8.0", unit = "Wh"}]
[[points.meter.associations]]
client_sap = 1
mechanism = "hls_gmac"
encryption_key = "000102030405060708090A0B0C0D0E0F"
authentication_key = "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"
"""


def test_a_site_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(TOML)
    site = read_site(path)
    association = site.points[0].meter.associations[0]
    assert association.encryption_key == bytes(range(16))
    assert "0102" not in repr(site)
    assert "x00" not in repr(site)


def test_a_site_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    path.write_text(
        "id,name,kind,station,feeder,serial,model,url,mechanism,encryption_key\n"
        "p1,One,household,t,f,1,mt372,dlms://10.0.0.1:4059,hls_gmac,"
        "000102030405060708090A0B0C0D0E0F\n"
        "p2,Two,business,t,f,2,mt372,dlms://10.0.0.2:4059,none,\n"
    )
    site = read_site(path)
    assert [p.id for p in site.points] == ["p1", "p2"]
    assert site.points[0].meter.associations[0].ciphered


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('kind = "household"', 'kind = "castle"'), "castle"),
        (('feeder = "f1"\n[points', 'feeder = "f9"\n[points'), "f9"),
        (('url = "dlms://10.0.0.7:4059"', 'url = "10.0.0.7"'), "dlms://HOST"),
        (("0C0D0E0F", "0C0D0E"), "16 or 32 octets"),
        (("000102", "zz0102"), "hexadecimal"),
        (('unit = "Wh"', 'unit = "Wh", colour = "red"'), "colour"),
        (('obis = "1-0:1.8.0"', 'obis = "one"'), "OBIS"),
        (('"Europe/Vienna"', '"Europe/Vienna"\npoints = 3'), "site.toml"),
        (('name = "Mill Lane"', "name = "), "site.toml"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(TOML.replace(*change))
    with pytest.raises(DescriptionError, match=message) as caught:
        read_site(path)
    assert "\n" not in str(caught.value).strip()


def test_a_shared_key_is_refused(tmp_path: Path) -> None:
    site = demo_site(2)
    first = site.points[0].meter.associations
    second = replace(site.points[1], meter=replace(site.points[1].meter, associations=first))
    with pytest.raises(DescriptionError, match="same encryption key"):
        replace(site, points=(site.points[0], second))
    database = Database.in_file(tmp_path / "store.sqlite")
    inventory = Inventory(database, Sealer(b"k" * 32))
    inventory.load(replace(site, points=site.points[:1]), NOON)
    with pytest.raises(DescriptionError, match="already that of another meter"):
        inventory.load(replace(site, points=(second,)), NOON)
    assert list(inventory.points) == ["p-001"]
    database.close()


def test_keys_are_sealed_and_come_back(tmp_path: Path) -> None:
    database = Database.in_file(tmp_path / "store.sqlite")
    inventory = Inventory(database, Sealer.from_file(tmp_path / "key"))
    association = AssociationDescription(
        encryption_key=b"UNIQUE-KEY-OCTET", authentication_key=b"OTHER--KEY-OCTET",
        password=b"PASS-PHRASE-OCTS",
    )  # fmt: skip
    site = demo_site(1)
    point = replace(site.points[0], meter=replace(
        site.points[0].meter, associations=(association,)))  # fmt: skip
    inventory.load(replace(site, points=(point,)), NOON)
    meter = inventory.points["p-001"].meter
    opened = inventory.secrets_of(meter)
    assert opened.encryption_key == b"UNIQUE-KEY-OCTET"
    assert opened.password == b"PASS-PHRASE-OCTS"
    assert "KEY" not in repr(opened) + repr(meter) + repr(association)
    database.close()
    stored = b"".join(p.read_bytes() for p in tmp_path.glob("store.sqlite*"))
    for secret in (b"UNIQUE-KEY-OCTET", b"OTHER--KEY-OCTET", b"PASS-PHRASE-OCTS"):
        assert secret not in stored
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    other = Inventory(Database.in_file(tmp_path / "store.sqlite"), Sealer(b"z" * 32))
    other.refresh()
    with pytest.raises(SealError, match="key file"):
        other.secrets_of(other.points["p-001"].meter)
    other._database.close()


def test_loading_again_changes_names_and_keeps_readings(tmp_path: Path) -> None:
    database = Database.in_file(tmp_path / "store.sqlite")
    inventory = Inventory(database, Sealer(b"k" * 32))
    site = demo_site(2)
    inventory.load(site, NOON)
    ids = [c.id for c in inventory.points["p-001"].meter.channels]
    renamed = replace(site.points[0], name="New name")
    inventory.load(replace(site, points=(renamed, site.points[1])), NOON)
    assert inventory.points["p-001"].name == "New name"
    assert [c.id for c in inventory.points["p-001"].meter.channels] == ids
    moved = replace(renamed, meter=replace(renamed.meter, serial="999"))
    with pytest.raises(DescriptionError, match="point of its own"):
        inventory.load(replace(site, points=(moved,)), NOON)
    database.close()


def test_counters_are_ahead_of_any_use(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    database = Database.in_file(path)
    counters = StoredCounters(database)
    first = counters.reserve("a", 100)
    assert first == 1
    assert counters.reserve("a", 100) == 101
    counters.advance("b", 5000)
    assert counters.reserve("b", 10) == 5000
    counters.advance("b", 17)
    assert counters.reserve("b", 10) == 5010
    counters.accept("a", 77)
    counters.accept("a", 12)
    assert counters.lowest("a") == 77
    counters.flush()
    database.close()
    # as after a crash: whatever was reserved is given up
    again = StoredCounters(Database.in_file(path))
    assert again.reserve("a", 1) >= 201
    assert again.reserve("a", 1) <= 2 * AHEAD
    assert again.reserve("b", 1) >= 5020
    assert again.lowest("a") == 77
    again.advance("c", 2**32 - 3)
    with pytest.raises(CountersExhausted, match="replace the encryption key"):
        again.reserve("c", 10)
    again._database.close()


def test_migrations_give_the_schema(tmp_path: Path) -> None:
    database = Database.in_file(tmp_path / "store.sqlite")
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    database.close()


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Database.in_file(path).close()
    with sa.create_engine(f"sqlite:///{path}").begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version"):
        Database.in_file(path)


def test_one_failing_change_takes_no_other_with_it(tmp_path: Path) -> None:
    database = Database.in_file(tmp_path / "store.sqlite")

    def good(n: int) -> object:
        return database.submit(
            lambda c: c.execute(sa.insert(schema.site), [{"key": f"k{n}", "value": "v"}]).rowcount
        )

    def bad(connection: sa.Connection) -> None:
        connection.execute(sa.insert(schema.site), [{"key": "k1", "value": "again"}])

    futures = [good(1), good(2), database.submit(bad), good(3)]
    outcomes = [f.exception() is None for f in futures]  # type: ignore[attr-defined]
    assert outcomes == [True, True, False, True]
    rows = database.read_now(lambda c: {r.key for r in c.execute(sa.select(schema.site))})
    assert {"k1", "k2", "k3"} <= rows
    database.close()
    with pytest.raises(StoreError, match="closed"):
        database.submit(bad)


def test_every_event_of_every_model_has_a_meaning() -> None:
    names = {name for m in MODELS.values() for log in m.logs for name in log.codes}
    assert names | set(EVENTS) <= set(MEANINGS)
    for name, text in EVENTS.items():
        assert MEANINGS[name].text == text


def test_site_json_round(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps({"name": "x", "stations": [], "feeders": [], "points": []}))
    assert read_site(path).points == ()
    with pytest.raises(DescriptionError, match="cannot read"):
        read_site(tmp_path / "none.json")


def test_a_sub_meter_is_read_through_its_parent(tmp_path: Path) -> None:
    site = demo_site(8)
    parent, water = site.points[0], site.points[7]
    assert water.parent == parent.id
    behind = replace(
        water,
        meter=replace(water.meter, url=parent.meter.url, associations=parent.meter.associations),
    )
    database = Database.in_file(tmp_path / "store.sqlite")
    inventory = Inventory(database, Sealer(b"k" * 32))
    inventory.load(replace(site, points=(*site.points[:7], behind)), NOON)
    meter = inventory.points[water.id].meter
    assert inventory.answering(meter) is inventory.points[parent.id].meter
    assert inventory.secrets_of(meter).encryption_key == b""
    database.close()


def test_a_key_whose_numbers_are_used_up_is_a_refusal_in_words(tmp_path: Path) -> None:
    """The conversation tells it like everything that a request of ours cannot be."""
    database = Database.in_file(tmp_path / "store.sqlite")
    counters = StoredCounters(database)
    keys, title = KeySet(0, bytes(range(16)), bytes(range(16, 32))), b"BLY\0\0\0\0\1"
    counters.advance(counter_name("send", title, key_fingerprint(keys.unicast)), 2**32 - 3)
    context = SecurityContext(title, keys, InvocationCounters(counters), bytes)
    with pytest.raises(LocalProtocolError, match="replace the encryption key"):
        context.protect(b"\xc0\x01\xc1", Protection.BOTH)
    database.close()
