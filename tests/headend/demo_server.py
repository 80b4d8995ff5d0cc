"""A small seeded site behind the real API's routes, for work on the portal.

    .venv/bin/python -m tests.headend.demo_server      then http://127.0.0.1:8765, demo / demo
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

ZONE = ZoneInfo("Europe/Budapest")
DAYS = 40
STARTED = time.time()
PEAK_W = {"household": 3200, "business": 9000, "farm": 6500, "workshop": 18000, "industry": 140000}
POINTS: dict[str, dict[str, Any]] = {}
JOBS: dict[str, dict[str, Any]] = {}
CONFIRM: dict[str, dict[str, Any]] = {}
PRESSED: dict[str, int] = {}
SESSIONS: dict[str, dict[str, str]] = {}
counter = itertools.count(1)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _point(
    key: str, name: str, kind: str, model: str, maker: str, model_name: str, feeder: int, **more: Any
) -> None:
    n = len(POINTS) + 1
    station = 1 if feeder <= 2 else 2
    three = model not in {"mpta-1", "k162m"}
    medium = more.pop("medium", "electricity")
    if medium == "electricity":
        channels = [
            ("a_import", "A+ energy", "1-0:1.8.0", "Wh", "energy"),
            ("a_export", "A− energy", "1-0:2.8.0", "Wh", "energy"),
            ("r_plus", "R+ energy", "1-0:3.8.0", "varh", "energy"),
            ("u_l1", "Voltage L1", "1-0:32.7.0", "V", "instant"),
        ]
    else:
        channels = [("volume", "Volume", "8-1:1.0.0" if medium == "water" else "6-1:2.0.0", "m³", "energy")]
        if medium == "heat":
            channels.append(("heat", "Heat energy", "6-1:1.0.0", "Wh", "energy"))
    POINTS[key] = {
        "id": key,
        "name": name,
        "address": f"Fő utca {n * 3}, Blathyfalva",
        "kind": kind,
        "medium": medium,
        "station": {"id": f"tr-{station}", "name": f"Transformer {station}"},
        "feeder": {"id": f"fd-{feeder}", "name": f"Feeder {feeder}"},
        "timezone": "Europe/Budapest",
        "meter": {
            "serial": f"{61200000 + n * 137}",
            "model": model,
            "model_name": model_name,
            "manufacturer": maker,
            "host": f"127.1.0.{n}",
            "port": 4059,
            "client": 1,
            "firmware": "1.4.2",
            "system_title": f"424C540000{n:06X}",
            "installed_at": "2025-03-02T09:00:00Z",
            "phases": 3 if three else 1,
            "rated": "3×230/400 V, 5(85) A" if three else "230 V, 5(85) A",
        },
        "state": more.pop("state", "ok"),
        "last_answer_at": iso(STARTED - 3),
        "last_error": more.pop("last_error", None),
        "channels": [
            {"id": c, "name": t, "obis": o, "unit": u, "step_s": 900, "kind": k} for c, t, o, u, k in channels
        ],
        "capabilities": ["registers", "profile", "events", "clock"]
        + (["live", "display"] if medium == "electricity" else [])
        + (["disconnect"] if kind == "household" and medium == "electricity" else [])
        + (["relay"] if model == "mt372" else []),
        "parent": more.pop("parent", None),
        "_seed": n,
        "_pv": more.pop("pv", False),
    }


_point("p-001", "Kovács household", "household", "mt372", "Iskraemeco", "MT372", 1)
_point("p-002", "Szabó household, roof", "household", "omnipower", "Kamstrup", "OMNIPOWER", 1, pv=True)
_point("p-003", "Bakery", "business", "k382m", "Kamstrup", "382M", 1)
_point("p-004", "Nagy household", "household", "k162m", "Kamstrup", "162M", 2, state="silent",
       last_error={"kind": "timeout", "text": "The meter did not answer within 5 s; check its line.",
                   "at": iso(STARTED - 7000)})  # fmt: skip
_point("p-005", "Dairy farm", "farm", "mpta-3", "Iskraemeco", "MPTA-3", 3)
_point("p-006", "Joinery workshop", "workshop", "esox", "smartESOX", "smartESOX P", 3)
_point("p-007", "Pump works", "industry", "esox", "smartESOX", "smartESOX P", 4)
_point("p-008", "Kovács water", "water", "mt372", "Sontex", "M-Bus water meter", 1,
       medium="water", parent="p-001")  # fmt: skip


def power_w(point: dict[str, Any], at: float) -> float:
    """Seeded and smooth: a daily shape, a weekly one, wiggles."""
    local = datetime.fromtimestamp(at, ZONE)
    h = local.hour + local.minute / 60 + local.second / 3600
    s = point["_seed"]
    peak = PEAK_W.get(point["kind"], 0)
    morning = math.exp(-((h - 7 - s * 0.1) ** 2) / 3)
    evening = math.exp(-((h - 19 + s * 0.1) ** 2) / 6)
    noon = math.exp(-((h - 12.5) ** 2) / 10)
    shape = 0.12 + (0.5 * morning + 0.8 * evening if peak < 5000 else 0.3 * morning + 0.8 * noon)
    if local.weekday() >= 5 and peak >= 5000:
        shape *= 0.3
    wiggle = 1 + 0.15 * math.sin(at / 37 + s) + 0.1 * math.sin(at / 311 + 2 * s)
    load = peak * shape * wiggle * (0.9 + 0.1 * math.sin(at / 86400 * 1.7 + s))
    if point["_pv"]:
        load -= 4800 * max(0.0, math.cos((h - 12.7) / 5.2 * math.pi / 2)) ** 1.5 if 7.5 < h < 17.9 else 0
    return load


def energy_wh(point: dict[str, Any], channel: str, start: float, step: float) -> float:
    if channel == "volume":
        h = datetime.fromtimestamp(start, ZONE).hour
        return round(0.004 + 0.02 * math.exp(-((h - 7) ** 2) / 4), 3) * step / 900
    mean = sum(power_w(point, start + step * (k + 0.5) / 4) for k in range(4)) / 4
    if channel == "a_import":
        return round(max(mean, 0) * step / 3600)
    if channel == "a_export":
        return round(max(-mean, 0) * step / 3600)
    if channel == "r_plus":
        return round(abs(mean) * 0.32 * step / 3600)
    return round(231 + 3 * math.sin(start / 9000) - mean / 4000, 1)


def missing(point: dict[str, Any], start: float) -> bool:
    if point["id"] == "p-004" and start > STARTED - 7200:
        return True
    day = int(start // 86400)
    return point["_seed"] == 3 and day % 11 == 4 and 36 <= (start % 86400) // 900 < 44


def live(point: dict[str, Any]) -> dict[str, Any]:
    at = time.time()
    p = power_w(point, at)
    values: list[dict[str, Any]] = []

    def add(obis: str, name: str, phase: int, quantity: str, value: float, unit: str, n: int) -> None:
        values.append({"obis": obis, "name": name, "phase": phase, "quantity": quantity,
                       "value": round(value, n), "unit": unit})  # fmt: skip

    phases = [1, 2, 3] if point["meter"]["phases"] == 3 else [1]
    share = {1: 0.5, 2: 0.3, 3: 0.2} if len(phases) == 3 else {1: 1.0}
    q = abs(p) * (0.75 if point["kind"] in {"workshop", "industry"} else 0.3)
    for k in phases:
        u = 231 + 1.5 * math.sin(at / 17 + k) - p * share[k] / 3000
        pk, qk = p * share[k], q * share[k]
        sk = math.hypot(pk, qk)
        add(f"1-0:{k * 20 + 12}.7.0", f"Voltage L{k}", k, "u", u, "V", 1)
        add(f"1-0:{k * 20 + 11}.7.0", f"Current L{k}", k, "i", sk / u, "A", 2)
        add(f"1-0:{k * 20 + 1}.7.0", f"Active power L{k}", k, "p", pk, "W", 0)
        add(f"1-0:{k * 20 + 3}.7.0", f"Reactive power L{k}", k, "q", qk, "var", 0)
        add(f"1-0:{k * 20 + 13}.7.0", f"Power factor L{k}", k, "pf", pk / sk if sk else 1, "", 3)
        add(f"1-0:81.7.{(k - 1) * 10}", f"Angle U{k}", k, "angle_u", 120 * (k - 1), "°", 1)
        phi = math.degrees(math.atan2(qk, pk))
        add(f"1-0:81.7.{k + 3}", f"Angle I{k}", k, "angle_i", (120 * (k - 1) + phi) % 360, "°", 1)
    s = math.hypot(p, q)
    add("1-0:16.7.0", "Active power", 0, "p", p, "W", 0)
    add("1-0:131.7.0", "Reactive power", 0, "q", q, "var", 0)
    add("1-0:9.7.0", "Apparent power", 0, "s", s, "VA", 0)
    add("1-0:13.7.0", "Power factor", 0, "pf", p / s if s else 1, "", 3)
    add("1-0:14.7.0", "Frequency", 0, "f", 50 + 0.02 * math.sin(at / 23), "Hz", 2)
    return {"at": iso(at), "values": values}


def register_wh(point: dict[str, Any], channel: str, at: float) -> float:
    base = 1_000_000 * point["_seed"]
    per_day = sum(energy_wh(point, channel, at - at % 86400 - 86400 + k * 3600, 3600) for k in range(24))
    return base + per_day * (at - 1_750_000_000) / 86400


def registers(point: dict[str, Any]) -> dict[str, Any]:
    at = time.time()
    if point["medium"] != "electricity":
        rows = [{"obis": "8-1:1.0.0", "name": "Volume", "value": "00412.318", "unit": "m³",
                 "tariff": 0, "digits": 8}]  # fmt: skip
        return {"at": iso(at), "rows": rows}
    rows = []
    for obis, name, channel in (
        ("1-0:1.8.0", "Active energy import", "a_import"),
        ("1-0:1.8.1", "Active energy import, tariff 1", "a_import"),
        ("1-0:1.8.2", "Active energy import, tariff 2", "a_import"),
        ("1-0:2.8.0", "Active energy export", "a_export"),
        ("1-0:3.8.0", "Reactive energy import", "r_plus"),
    ):
        tariff = int(obis[-1])
        wh = register_wh(point, channel, at) * {0: 1, 1: 0.7, 2: 0.3}[tariff]
        unit = "kvarh" if channel == "r_plus" else "kWh"
        rows.append({"obis": obis, "name": name, "value": f"{wh / 1000:010.3f}", "unit": unit,
                     "tariff": tariff, "digits": 9})  # fmt: skip
    rows.append({"obis": "1-0:1.6.0", "name": "Maximum demand import", "value": "02.418", "unit": "kW",
                 "tariff": 0, "digits": 5, "at": iso(at - at % 86400 - 19800)})  # fmt: skip
    return {"at": iso(at), "rows": rows}


def display(point: dict[str, Any]) -> dict[str, Any]:
    at = time.time()
    rows = registers(point)["rows"]
    index = (int(at // 6) + PRESSED.get(point["id"], 0)) % len(rows)
    row = rows[index]
    p = power_w(point, at)
    labels = ["L1", "L2", "L3", "T1", "T2", "+A", "-A", "+R", "BAT", "COV", "REL"]
    night = datetime.fromtimestamp(at, ZONE).hour in {22, 23, 0, 1, 2, 3, 4, 5}
    on = {"L1", "T2" if night else "T1", "-A" if p < 0 else "+A", "+R"}
    on |= {"L2", "L3"} if point["meter"]["phases"] == 3 else set()
    return {
        "at": iso(at),
        "mode": "manual" if PRESSED.get(point["id"]) else "automatic",
        "code": row["obis"].split(":")[1],
        "value": row["value"],
        "unit": row["unit"],
        "digits": 9,
        "decimals": 3,
        "annunciators": [{"id": a, "label": a, "on": a in on} for a in labels],
        "leds": [
            {"id": "pulse", "label": "1000 imp/kWh", "state": "pulsing" if abs(p) > 20 else "lit"},
            {"id": "breaker", "label": "Supply", "state": "lit"},
        ],
        "buttons": [{"id": "scroll", "label": "Scroll"}, {"id": "reset", "label": "Reset"}],
        "list": {"name": "automatic", "index": index, "length": len(rows)},
    }


EVENT_KINDS = [
    ("sag_start", "Voltage sag began", "warning", "voltage", 76, 1, 187.4),
    ("power_down", "Power failed", "alarm", "supply", 1, None, None),
    ("power_up", "Power returned", "info", "supply", 2, None, None),
    ("terminal_cover_opened", "Terminal cover opened", "alarm", "tamper", 40, None, None),
    ("magnet_start", "Magnetic field detected", "alarm", "tamper", 42, None, None),
    ("overcurrent_start", "Current limit exceeded", "warning", "current", 91, 2, 41.2),
    ("clock_adjusted_new", "Clock set (new time)", "info", "clock", 5, None, None),
    ("low_credit", "Credit low", "warning", "payment", 60, None, None),
]


def _events() -> list[dict[str, Any]]:
    rng = random.Random(7)
    made = []
    names = [p for p in POINTS.values() if p["medium"] == "electricity"]
    for n in range(160):
        name, text, severity, group, code, phase, value = rng.choice(EVENT_KINDS)
        point = rng.choice(names)
        at = STARTED - rng.random() * DAYS * 86400
        made.append({
            "id": f"ev-{n}", "at": iso(at), "received_at": iso(at + 40),
            "point": {"id": point["id"], "name": point["name"]}, "name": name, "text": text,
            "severity": severity, "group": group, "code": code, "phase": phase, "value": value,
            "location": None,
        })  # fmt: skip
    point = POINTS["p-003"]
    made.append({
        "id": "ev-n", "at": iso(STARTED - 5400), "received_at": iso(STARTED - 5388),
        "point": {"id": "p-003", "name": point["name"]}, "name": "neutral_fault_start",
        "text": "Neutral conductor broken", "severity": "alarm", "group": "voltage", "code": 82,
        "phase": None, "value": 253.0,
        "location": {"station": point["station"], "feeder": point["feeder"],
                     "text": "Transformer 1, Feeder 1, between the station and Bakery"},
    })  # fmt: skip
    return sorted(made, key=lambda e: e["at"], reverse=True)


EVENTS = _events()


def public(point: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in point.items() if not k.startswith("_")}


def row_of(point: dict[str, Any]) -> dict[str, Any]:
    p = None if point["state"] == "silent" or point["medium"] != "electricity" else round(power_w(point, time.time()))
    meter = point["meter"]
    return {
        "id": point["id"], "name": point["name"], "address": point["address"], "kind": point["kind"],
        "medium": point["medium"], "feeder": point["feeder"], "station": point["station"],
        "model": meter["model"], "model_name": meter["model_name"], "serial": meter["serial"],
        "state": point["state"], "last_answer_at": point["last_answer_at"], "power_w": p,
        "energy_today_wh": None if p is None else abs(p) * 9, "alarms": 1 if point["id"] == "p-003" else 0,
        "completeness": 0.971 if point["state"] == "silent" else 1.0, "last_error": point["last_error"],
    }  # fmt: skip


def overview() -> dict[str, Any]:
    now = time.time()
    loads = {p["id"]: power_w(p, now) for p in POINTS.values() if p["medium"] == "electricity"}
    stations: dict[str, dict[str, Any]] = {}
    for k in range(1, 5):
        members = [p for p in POINTS.values() if p["feeder"]["id"] == f"fd-{k}"]
        if not members:
            continue
        own = [loads[p["id"]] for p in members if p["id"] in loads]
        st = members[0]["station"]
        entry = stations.setdefault(st["id"], {**st, "feeders": []})
        entry["feeders"].append({
            "id": f"fd-{k}", "name": f"Feeder {k}", "points": len(members),
            "load_w": round(sum(v for v in own if v > 0)), "export_w": round(-sum(v for v in own if v < 0)),
            "energy_today_wh": round(sum(abs(v) for v in own) * 9), "alarms": 1 if k == 1 else 0,
        })  # fmt: skip
    today = datetime.now(ZONE).date()
    days = [{"day": str(today - timedelta(days=d)), "ratio": 0.982 if d % 11 == 4 else 1.0} for d in range(29, -1, -1)]
    return {
        "now": iso(now),
        "load_w": round(sum(v for v in loads.values() if v > 0)),
        "export_w": round(-sum(v for v in loads.values() if v < 0)),
        "meters": {"total": len(POINTS), "reachable": len(POINTS) - 1, "silent": 1},
        "completeness": {"expected": 2688, "received": 2641, "ratio": 0.9825, "days": days},
        "stations": list(stations.values()),
        "events": EVENTS[:10],
        "jobs": list(JOBS.values())[-5:],
    }


def profile(point: dict[str, Any], channel: str, start: float, end: float, resolution: str) -> dict[str, Any]:
    spec = next(c for c in point["channels"] if c["id"] == channel)
    if resolution == "auto":
        span = end - start
        resolution = "slot" if span <= 8 * 86400 else "hour" if span <= 45 * 86400 else "day"
    edges: list[float] = []
    if resolution in {"slot", "hour"}:
        step = 900 if resolution == "slot" else 3600
        edges = [start - start % step + k * step for k in range(int((end - start) // step) + 1)]
    else:
        day: date = datetime.fromtimestamp(start, ZONE).date()
        while datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp() < end:
            if resolution == "day" or day.day == 1 or not edges:
                edges.append(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp())
            day += timedelta(days=1)
        edges.append(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp())
    slots = []
    now = time.time()
    for a, b in itertools.pairwise(edges):
        inner = [
            energy_wh(point, channel, a + k * 900, 900)
            for k in range(round((b - a) / 900))
            if a + (k + 1) * 900 <= now and a + k * 900 > STARTED - DAYS * 86400 and not missing(point, a + k * 900)
        ]
        full = len(inner) == round((b - a) / 900)
        value = (sum(inner) if spec["kind"] == "energy" else sum(inner) / len(inner)) if inner else None
        quality = "missing" if not inner else ("valid" if full else "suspect")
        if full and point["_seed"] == 5 and int(a // 86400) % 9 == 2 and a % 86400 < 14400:
            quality = "estimated"
        slots.append({
            "start": iso(a), "end": iso(b), "value": None if value is None else round(value, 3),
            "min": min(inner, default=None), "max": max(inner, default=None), "quality": quality,
            "source": None if not inner else "like-day" if quality == "estimated" else "meter",
        })  # fmt: skip
    got = [s["value"] for s in slots if s["value"] is not None]
    total = round(sum(got), 3) if spec["kind"] == "energy" else None
    first = round(register_wh(point, channel, start)) if spec["kind"] == "energy" else None
    return {
        "channel": channel, "name": spec["name"], "unit": spec["unit"], "timezone": point["timezone"],
        "resolution": resolution, "step_s": {"slot": 900, "hour": 3600}.get(resolution), "slots": slots,
        "register": {"first": first, "last": None if first is None else first + (total or 0)}, "sum": total,
    }  # fmt: skip


def problem(status: int, title: str, detail: str, remedy: str) -> JSONResponse:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "remedy": remedy}
    return JSONResponse(body, status, media_type="application/problem+json")


def job_of(kind: str, title: str, result: Any) -> dict[str, Any]:
    key = f"job-{next(counter)}"
    job = {"id": key, "kind": kind, "title": title, "state": "running", "progress": {"done": 0, "total": 5},
           "started_at": iso(time.time()), "ended_at": None, "message": "", "result": None}  # fmt: skip
    JOBS[key] = job

    async def go() -> None:
        for k in range(5):
            await asyncio.sleep(0.6)
            if job["state"] == "cancelled":
                return
            job["progress"] = {"done": k + 1, "total": 5}
        job.update(state="done", ended_at=iso(time.time()), result=result, message="done")

    job["_task"] = None
    JOBS[key] = {k: v for k, v in job.items() if k != "_task"}
    job = JOBS[key]
    background.add(asyncio.get_running_loop().create_task(go()))
    return job


background: set[asyncio.Task[None]] = set()
api = APIRouter(prefix="/api/v1")


def when(text: str | None, default: float) -> float:
    return datetime.fromisoformat(text).timestamp() if text else default


@api.post("/session", response_model=None)
async def log_in(request: Request) -> Response:
    body = await request.json()
    if (body.get("user"), body.get("password")) != ("demo", "demo"):
        return problem(401, "Not logged in", "The user name or the password is wrong.", "Try again: demo and demo.")
    sid, csrf = secrets.token_hex(8), secrets.token_hex(8)
    SESSIONS[sid] = {"user": "demo", "role": "admin", "csrf": csrf}
    answer = JSONResponse(SESSIONS[sid])
    answer.set_cookie("blathy_session", sid, httponly=True, samesite="strict")
    return answer


@api.get("/session")
async def who(request: Request) -> Any:
    return request.state.session


@api.delete("/session")
async def log_out(request: Request) -> Response:
    SESSIONS.pop(request.cookies.get("blathy_session", ""), None)
    return Response(status_code=204)


@api.get("/site")
async def site() -> Any:
    return {"name": "Blathyfalva", "timezone": "Europe/Budapest", "version": "0.1.0", "started_at": iso(STARTED),
            "now": iso(time.time()), "simulated": True, "demo_login": {"user": "demo", "password": "demo"}}  # fmt: skip


@api.get("/overview")
async def get_overview() -> Any:
    return overview()


@api.get("/points")
async def points(q: str = "", feeder: str = "", model: str = "", state: str = "", medium: str = "",
                 sort: str = "name", page: int = 1, size: int = 50) -> Any:  # fmt: skip
    rows = [row_of(p) for p in POINTS.values()]
    needle = q.lower()
    rows = [r for r in rows if needle in (r["name"] + r["id"] + r["serial"] + r["address"] + r["model_name"]).lower()]
    for key, wanted in (("model", model), ("state", state), ("medium", medium)):
        rows = [r for r in rows if not wanted or r[key] == wanted]
    rows = [r for r in rows if not feeder or r["feeder"]["id"] == feeder]
    column = sort.lstrip("-")
    rows.sort(key=lambda r: (r.get(column) is None, str(r.get(column)) if not isinstance(r.get(column), (int, float))
                             else r[column]), reverse=sort.startswith("-"))  # fmt: skip
    return {"items": rows[(page - 1) * size : page * size], "total": len(rows), "page": page, "size": size}


@api.get("/points/{key}")
async def point_page(key: str) -> Any:
    return public(POINTS[key])


@api.get("/points/{key}/live", response_model=None)
async def point_live(key: str) -> Any:
    point = POINTS[key]
    if point["state"] == "silent":
        return problem(504, "No answer", f"The meter of {point['name']} did not answer.", "Try again later.")
    return live(point)


@api.get("/points/{key}/registers")
async def point_registers(key: str) -> Any:
    return registers(POINTS[key])


@api.get("/points/{key}/display")
async def point_display(key: str) -> Any:
    return display(POINTS[key])


@api.post("/points/{key}/display/button")
async def press(key: str) -> Any:
    PRESSED[key] = PRESSED.get(key, 0) + 1
    return display(POINTS[key])


@api.get("/points/{key}/profile.csv", response_model=None)
async def profile_csv(key: str, request: Request, channel: str = "a_import", resolution: str = "auto") -> Any:
    q = request.query_params
    start, end = when(q.get("from"), time.time() - 86400), when(q.get("to"), time.time())
    data = profile(POINTS[key], channel, start, end, resolution)
    lines = [f"start,end,value_{data['unit']},quality,source"]
    lines += [f"{s['start']},{s['end']},{'' if s['value'] is None else s['value']},{s['quality']},{s['source'] or ''}"
              for s in data["slots"]]  # fmt: skip
    return PlainTextResponse("\r\n".join(lines) + "\r\n", media_type="text/csv")


@api.get("/points/{key}/profile")
async def point_profile(key: str, request: Request, channel: str = "a_import", resolution: str = "auto") -> Any:
    q = request.query_params
    start, end = when(q.get("from"), time.time() - 86400), when(q.get("to"), time.time())
    return profile(POINTS[key], channel, start, end, resolution)


def find_events(q: Any, point: str = "") -> Any:
    rows = EVENTS
    point = point or q.get("point", "")
    for wanted, key in ((q.get("severity"), "severity"), (q.get("kind"), "name")):
        rows = [e for e in rows if not wanted or e[key] in wanted.split(",")]
    rows = [e for e in rows if not point or e["point"]["id"] == point]
    feeder = q.get("feeder")
    rows = [e for e in rows if not feeder or POINTS[e["point"]["id"]]["feeder"]["id"] == feeder]
    first, last = when(q.get("from"), 0), when(q.get("to"), 1e11)
    rows = [e for e in rows if first <= when(e["at"], 0) < last]
    page, size = int(q.get("page", 1)), int(q.get("size", 50))
    return {"items": rows[(page - 1) * size : page * size], "total": len(rows), "page": page, "size": size}


@api.get("/points/{key}/events")
async def point_events(key: str, request: Request) -> Any:
    return find_events(request.query_params, key)


@api.get("/events")
async def events(request: Request) -> Any:
    return find_events(request.query_params)


@api.post("/points/{key}/read", status_code=202)
async def read(key: str, request: Request) -> Any:
    what = (await request.json()).get("what", "all")
    return job_of("read", f"Read {what} of {POINTS[key]['name']}", {"outcome": "ok", "slots": 96})


@api.post("/points/{key}/commands", response_model=None)
async def command(key: str, request: Request) -> Any:
    body = await request.json()
    point = POINTS[key]
    if not body.get("confirm"):
        token = secrets.token_hex(4)
        CONFIRM[token] = body
        consequence = {
            "disconnect": "The supply of this place is switched off. Nothing there has power until it is connected.",
            "release": "The customer may switch the supply on with the button of the meter.",
            "connect": "The supply of this place is switched on at once.",
            "set-clock": "The meter's clock is set; slots of the moment are marked.",
        }.get(body["command"], "A load relay is switched.")
        return {"confirm": token, "place": f"{point['name']}, {point['address']}", "consequence": consequence,
                "expires_at": iso(time.time() + 60)}  # fmt: skip
    if CONFIRM.pop(body["confirm"], None) is None:
        return problem(409, "Not confirmed", "This confirmation is unknown or too old.", "Ask for the command again.")
    result = {"read_back": {"output_state": body["command"] != "disconnect", "control_state": "connected"}}
    return JSONResponse(job_of("command", f"{body['command']} {point['name']}", result), 202)


@api.get("/jobs")
async def jobs() -> Any:
    return {"items": list(reversed(JOBS.values())), "total": len(JOBS)}


@api.get("/jobs/{key}")
async def job(key: str) -> Any:
    return JOBS[key]


@api.delete("/jobs/{key}")
async def cancel(key: str) -> Any:
    JOBS[key].update(state="cancelled", ended_at=iso(time.time()))
    return JOBS[key]


@api.get("/feeders/{key}")
async def feeder_page(key: str) -> Any:
    for station in overview()["stations"]:
        for feeder in station["feeders"]:
            if feeder["id"] == key:
                return {**feeder, "station": {"id": station["id"], "name": station["name"]},
                        "items": [row_of(p) for p in POINTS.values() if p["feeder"]["id"] == key]}  # fmt: skip
    raise KeyError(key)


@api.get("/feeders/{key}/balance")
async def balance(key: str, request: Request) -> Any:
    q = request.query_params
    start, end = when(q.get("from"), time.time() - 86400), when(q.get("to"), time.time())
    members = [p for p in POINTS.values() if p["feeder"]["id"] == key and p["medium"] == "electricity"]
    merged = [profile(p, "a_import", start, end, q.get("resolution", "auto")) for p in members]
    slots = []
    for group in zip(*(m["slots"] for m in merged), strict=True):
        metered = sum(s["value"] or 0 for s in group)
        loss = round(metered * 0.021)
        slots.append({"start": group[0]["start"], "end": group[0]["end"], "metered_wh": metered, "feeder_wh": metered + loss,
                      "loss_wh": loss, "complete": all(s["quality"] != "missing" for s in group)})  # fmt: skip
    return {"feeder": {"id": key, "name": f"Feeder {key[-1]}"}, "resolution": merged[0]["resolution"], "slots": slots}


@api.get("/collection")
async def collection() -> Any:
    now = time.time()
    return {
        "schedules": [
            {"group": g, "task": t, "every_s": e, "last_run_at": iso(now - e / 3), "next_run_at": iso(now + e * 2 / 3),
             "ok": 7, "failed": 1, "duration_s": 0.8}
            for g, t, e in (("all", "live", 60), ("all", "profile", 900), ("all", "registers", 86400),
                            ("all", "events", 900), ("all", "clock", 21600))
        ],
        "outcomes": {"ok": 1422, "unreachable": 0, "timeout": 31, "refused": 0, "security": 0, "protocol": 1},
        "completeness": overview()["completeness"],
        "silent": [row_of(p) for p in POINTS.values() if p["state"] == "silent"],
    }  # fmt: skip


USERS = [{"name": "demo", "role": "admin", "enabled": True, "created_at": iso(STARTED), "last_login_at": iso(STARTED),
          "point": None}]  # fmt: skip


@api.get("/users")
async def users() -> Any:
    return {"items": USERS, "total": len(USERS)}


@api.post("/users", status_code=201)
async def add_user(request: Request) -> Any:
    body = await request.json()
    USERS.append({"name": body["name"], "role": body["role"], "enabled": True, "created_at": iso(time.time()),
                  "last_login_at": None, "point": body.get("point")})  # fmt: skip
    return USERS[-1]


@api.patch("/users/{name}")
async def edit_user(name: str, request: Request) -> Any:
    body = await request.json()
    user = next(u for u in USERS if u["name"] == name)
    user.update({k: v for k, v in body.items() if k in user})
    return user


@api.get("/audit")
async def audit() -> Any:
    rows = [{"id": k, "at": iso(STARTED - k * 977), "user": "demo", "action": a, "target": "p-001", "outcome": "ok",
             "detail": {}, "hash": secrets.token_hex(32)}
            for k, a in enumerate(["session.login", "command.disconnect", "command.connect", "read.all"] * 6, 1)]  # fmt: skip
    return {"items": rows, "total": len(rows), "intact": True, "page": 1, "size": 50}


@api.get("/stream", response_model=None)
async def stream(topics: str = "overview") -> Any:
    async def produce() -> AsyncIterator[str]:
        while True:
            for topic in topics.split(","):
                word, _, key = topic.partition(":")
                if word == "overview":
                    data: Any = overview()
                elif word == "live" and key in POINTS and POINTS[key]["state"] != "silent":
                    data = {"point": key, **live(POINTS[key])}
                elif word == "jobs":
                    data = {"items": list(JOBS.values())[-10:], "total": len(JOBS)}
                elif word == "events" and random.random() < 0.05:
                    data = {**random.choice(EVENTS), "id": f"ev-x{next(counter)}", "at": iso(time.time())}
                else:
                    continue
                yield f"event: {word}\ndata: {json.dumps(data)}\n\n"
            await asyncio.sleep(1.5)

    return StreamingResponse(produce(), media_type="text/event-stream")


def make_app() -> FastAPI:
    app = FastAPI(title="blathy demo site", openapi_url="/api/openapi.json")

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        session = SESSIONS.get(request.cookies.get("blathy_session", ""))
        request.state.session = session
        path = request.url.path.removeprefix("/api/v1")
        free = path == "/site" or (path == "/session" and request.method == "POST")
        if not free and request.url.path.startswith("/api/v1"):
            if session is None:
                return problem(401, "Not logged in", "Nobody is logged in.", "Log in.")
            if request.method not in {"GET", "HEAD"} and request.headers.get("x-csrf-token") != session["csrf"]:
                return problem(403, "Refused", "The header X-CSRF-Token is missing or wrong.", "Load the page again.")
        try:
            return await call_next(request)
        except (KeyError, StopIteration):
            return problem(404, "Not found", "There is nothing of that name.", "Go back to the list.")

    app.include_router(api)
    return app


if __name__ == "__main__":
    uvicorn.run(make_app(), host="127.0.0.1", port=8765, log_level="warning")
