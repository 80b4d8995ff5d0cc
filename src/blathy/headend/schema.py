"""The one SQL schema of the control centre, for SQLite and PostgreSQL alike.

Times are whole UTC seconds (`_at`, `slot_utc`), days are proleptic ordinals of the point's local
day, values are integers in the channel's unit times 10^scaler. What a user sees as text is plain
text; JSON columns hold small documents. Migrations under `migrations/` bring a store of any
released version here; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata: Final = MetaData(naming_convention=NAMING)
_ID: Final = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's rowid needs INTEGER


site = Table(
    "site",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

station = Table(
    "station",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("rated_kva", Integer, nullable=False),
)

feeder = Table(
    "feeder",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("station_id", String(64), ForeignKey("station.id"), nullable=False),
)

point = Table(
    "point",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("medium", String(32), nullable=False),
    Column("station_id", String(64), ForeignKey("station.id"), nullable=False),
    Column("feeder_id", String(64), ForeignKey("feeder.id"), nullable=False, index=True),
    Column("timezone", String(64), nullable=False),
    Column("parent_id", String(64), ForeignKey("point.id")),
    Column("protected", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
)

point_group = Table(
    "point_group",
    metadata,
    Column("point_id", String(64), ForeignKey("point.id"), primary_key=True),
    Column("group_name", String(64), primary_key=True),
)

meter = Table(
    "meter",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("serial", String(64), nullable=False, unique=True),
    Column("point_id", String(64), ForeignKey("point.id"), nullable=False, unique=True),
    Column("model", String(32), nullable=False),
    Column("manufacturer", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("client_sap", Integer, nullable=False),
    Column("server_sap", Integer, nullable=False),
    Column("mechanism", String(16), nullable=False),
    Column("ciphered", Boolean, nullable=False),
    Column("suite", SmallInteger, nullable=False),
    Column("system_title", String(16), nullable=False),
    Column("firmware", Text, nullable=False),
    Column("installed_at", BigInteger),
    Column("logs", Text, nullable=False),
    # ok, new, silent or quarantined: as the last conversations left it
    Column("state", String(16), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_answer_at", BigInteger),
    Column("last_error_kind", String(16)),
    Column("last_error_text", Text),
    Column("last_error_words", Text),  # code and values of the sentence (sentence.py), as JSON
    Column("last_error_at", BigInteger),
    Column("clock_offset_s", Integer),
)

meter_key = Table(
    "meter_key",
    metadata,
    Column("meter_id", _ID, ForeignKey("meter.id"), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    # HMAC under the key file, so that a key shared by two meters is refused unseen; random for
    # passwords, which may be equal
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    # the mark of what the site description said last: only another description replaces a key
    # that was changed since
    Column("described", String(64)),
)

# keys that a meter is being told: tried beside the ones in force until one of them is confirmed
pending_key = Table(
    "pending_key",
    metadata,
    Column("meter_id", _ID, ForeignKey("meter.id"), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("change_id", String(32), nullable=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    # stored: the meter knows nothing of it; sent: it may have it
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("user_name", String(64), nullable=False),
)

invocation_counter = Table(
    "invocation_counter",
    metadata,
    Column("name", String(128), primary_key=True),
    # every value below has been used or given up; never lowered
    Column("reserved", BigInteger, nullable=False),
)

channel = Table(
    "channel",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("meter_id", _ID, ForeignKey("meter.id"), nullable=False),
    Column("slug", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("obis", String(32), nullable=False),
    Column("attribute", SmallInteger, nullable=False),
    Column("column_index", SmallInteger, nullable=False),
    Column("profile", String(32), nullable=False),
    Column("unit", String(16), nullable=False),
    Column("scaler", SmallInteger, nullable=False),
    Column("step_s", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("cumulative", Boolean, nullable=False),
    Column("position", SmallInteger, nullable=False),
    # no reading before this moment is expected: where collection began
    Column("since_utc", BigInteger),
    UniqueConstraint("meter_id", "slug"),
)

reading_slot = Table(
    "reading_slot",
    metadata,
    Column("channel_id", _ID, ForeignKey("channel.id"), primary_key=True),
    Column("slot_utc", BigInteger, primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

reading_day = Table(
    "reading_day",
    metadata,
    Column("channel_id", _ID, ForeignKey("channel.id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    # 1 is raw, as the meter sent it: slots are added, never changed. Higher ones replace slots
    # and say why.
    Column("version", Integer, primary_key=True),
    Column("start_utc", BigInteger, nullable=False),
    Column("slots", SmallInteger, nullable=False),
    Column("received", SmallInteger, nullable=False),
    Column("first", BigInteger),
    Column("payload", LargeBinary, nullable=False),
    Column("status", LargeBinary, nullable=False),
    Column("sources", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("provenance", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("ix_reading_day_day", reading_day.c.day, reading_day.c.channel_id)

reading_revision = Table(
    "reading_revision",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("channel_id", _ID, ForeignKey("channel.id"), nullable=False),
    Column("slot_utc", BigInteger, nullable=False),
    Column("kept", BigInteger, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    UniqueConstraint("channel_id", "slot_utc", "value", "status"),
)

register_snapshot = Table(
    "register_snapshot",
    metadata,
    Column("meter_id", _ID, ForeignKey("meter.id"), primary_key=True),
    Column("obis", String(32), primary_key=True),
    Column("at", BigInteger, primary_key=True),
    Column("mantissa", BigInteger, nullable=False),
    Column("scaler", SmallInteger, nullable=False),
    Column("unit", String(16), nullable=False),
    sqlite_with_rowid=False,
)

event = Table(
    "event",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("point_id", String(64), ForeignKey("point.id"), nullable=False),
    Column("log", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("name", String(64), nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("group_name", String(16), nullable=False),
    Column("code", Integer, nullable=False),
    Column("phase", SmallInteger),
    Column("value", BigInteger),
    # the n-th of its kind in the same second of the same log
    Column("occurrence", SmallInteger, nullable=False),
    Column("location", Text),
    Column("acknowledged_by", String(64)),
    Column("acknowledged_at", BigInteger),
    # when the meter told it by itself; null where it was only found in a log
    Column("pushed_at", BigInteger),
    # the time that the push itself carried: the same push sent again is known by it
    Column("push_clock", BigInteger),
    # 1: another row tells of the same event (the meter keeps it in two logs); kept, not shown
    Column("twin", SmallInteger, nullable=False, server_default="0"),
    UniqueConstraint("point_id", "log", "at", "code", "occurrence"),
    Index("ix_event_at", "at"),
    Index("ix_event_point_id_at", "point_id", "at"),
)

# which invocation counters of a meter's pushes are spent: the highest, and which of the numbers
# below it (bit 0 is the next lower one)
push_counter = Table(
    "push_counter",
    metadata,
    Column("meter_id", _ID, ForeignKey("meter.id"), primary_key=True),
    Column("key_id", String(32), primary_key=True),
    Column("highest", BigInteger, nullable=False),
    Column("below", BigInteger, nullable=False),
)

push_message = Table(
    "push_message",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("meter_id", _ID, ForeignKey("meter.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("source", String(64), nullable=False),
    Column("transport", String(8), nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("detail_words", Text),  # code and values of the sentence (sentence.py), as JSON
    Column("events", Integer, nullable=False),
    Column("readings", Integer, nullable=False),
    Index("ix_push_message_meter_id_id", "meter_id", "id"),
)

# the bits of a meter's alarm registers that have been dealt with
alarm_register = Table(
    "alarm_register",
    metadata,
    Column("meter_id", _ID, ForeignKey("meter.id"), primary_key=True),
    Column("obis", String(32), primary_key=True),
    Column("bits", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

clock_record = Table(
    "clock_record",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("meter_id", _ID, ForeignKey("meter.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("action", String(8), nullable=False),
    # seconds that the meter's clock was ahead; `after` only where it was corrected
    Column("before_s", Integer, nullable=False),
    Column("after_s", Integer),
    Column("user_name", String(64), nullable=False),
    Index("ix_clock_record_meter_id_at", "meter_id", "at"),
)

credit_sale = Table(
    "credit_sale",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("point_id", String(64), ForeignKey("point.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("user_name", String(64), nullable=False),
    Column("energy_wh", Integer, nullable=False),
    # started, sold, failed (the meter has it not), uncertain (nobody knows yet)
    Column("state", String(16), nullable=False),
    # the account before, so that an uncertain sale can be found out
    Column("before_wh", BigInteger),
    Column("detail", Text, nullable=False),
    Index("ix_credit_sale_point_id_at", "point_id", "at"),
)

job = Table(
    "job",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("title", Text, nullable=False),
    Column("title_words", Text),  # code and values of the sentence (sentence.py), as JSON
    Column("state", String(16), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("message", Text, nullable=False),
    Column("message_words", Text),
    Column("result", Text),
    Column("user_name", String(64), nullable=False),
    Column("point_id", String(64)),
    Index("ix_job_started_at", "started_at"),
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("meter_id", _ID, ForeignKey("meter.id"), nullable=False),
    Column("task", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Index("ix_conversation_at", "at"),
)

schedule_run = Table(
    "schedule_run",
    metadata,
    Column("group_name", String(64), primary_key=True),
    Column("task", String(32), primary_key=True),
    Column("last_run_at", BigInteger, nullable=False),
    Column("ok", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
)

user_account = Table(
    "user_account",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("point_id", String(64), ForeignKey("point.id")),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_login_at", BigInteger),
)

login_session = Table(
    "login_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_name", String(64), ForeignKey("user_account.name"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("user_name", String(64), ForeignKey("user_account.name"), nullable=False),
    Column("title", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("user_name", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
