"""Which module holds which verb, what the verb is for, and how it is used.

A verb below another verb (`model show`) has no family of its own. A module registers its commands
on `cli.app.app` when imported; only the one that is called is, so that `blathy --version` stays
quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final

TOWN: Final = "The town and its control centre"
READ: Final = "Read a meter, ours or not"
RUN: Final = "Meters in software"
MEASURE: Final = "Measure and test"
LOOK: Final = "Look inside"
FAMILIES: Final = (TOWN, READ, RUN, MEASURE, LOOK)
URL: Final = "dlms://HOST:4059?client=16&auth=none, dlms+hdlc://, dlms+udp:// or serial:///dev/…."
URL_OPTIONS: Final = """\
Options of the URL, after ? and joined by & (quote it for the shell):
  client, server       addresses: 16 the public client, 1 most often management
  auth                 none, lls, hls2 to hls7 (hls5: GMAC)
  password             of lls, or the secret of hls2, 3, 4, 6: text or 0x hex
  ek, ak, bk, kek      encryption, authentication, broadcast, master key in hex
  suite, protect       0, 1, 2; none, auth, enc, both, signed, signed-inside
  title, meter_title   system titles, 16 hex digits
  ic                   invocation counter to begin with; off: do not ask for it
  physical             lower HDLC address, most often 17 or of the serial number
  address_size         octets of HDLC addresses: 1, 2, 4
  frame, window        of HDLC: octets in a frame, frames in a window
  baud, mode           of serial ports; mode=e signs on by IEC 62056-21
  timeout, source      seconds to wait for an answer; our own address
  cache                off: learn the meter anew
  sn, pre, user, pdu   1: short names; 1: no AARQ; user id; largest APDU
  dedicated, general   1: a dedicated key; 1: general-glo-ciphering
  key                  general-ciphering: identified, wrapped, one-pass, static
  acse_version         1: old meters ask for it
  signing_key, agreement_key, meter_signing_key, meter_agreement_key
Secrets may be @FILE or env:NAME."""
_METER: Final = '"dlms://127.0.0.1:4059?client=16&auth=none"'
_MANAGER: Final = '"dlms://127.0.0.1:4059?client=1&auth=lls&password=…"'


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: its module, its family in the list, and command lines that show its use."""

    module: str
    family: str
    examples: tuple[str, ...] = ()


VERBS: Final[dict[str, Verb]] = {
    "up": Verb(
        "blathy.cli.up",
        TOWN,
        (
            "up",
            "up --points 12 --days 7 --data /tmp/small --port 8080",
            "up --config site.toml --data site",
        ),
    ),
    "town": Verb("blathy.cli.town", TOWN, ("town", "town --data /tmp/small --keys", "town --json")),
    "alarms": Verb("blathy.cli.operate", TOWN, ("alarms --user demo --password demo --follow",)),
    "clock": Verb(
        "blathy.cli.operate",
        TOWN,
        ("clock --user demo --password demo", "clock --group all --yes --token …"),
    ),
    "keys": Verb(
        "blathy.cli.operate",
        TOWN,
        (
            "keys f1-01 --token …",
            "keys f1-01 --change encryption --change authentication --token …",
        ),
    ),
    "order": Verb(
        "blathy.cli.operate",
        TOWN,
        ("order f1-01 limit power_w=5000 --token …", "order f1-01 credit energy_wh=10000 --yes"),
    ),
    "read": Verb(
        "blathy.cli.read",
        READ,
        (
            f"read {_METER} 0-0:1.0.0 0-0:96.1.0",
            'read "dlms://127.1.1.1:4059?client=2&auth=lls" 1-0:1.8.0 --password env:PASSWORD',
            'read "serial:///dev/ttyUSB0?client=1&auth=hls5" 1-0:1.8.0 --keys keys.toml',
            'read "dlms://…" 1-0:1.7.0 1-0:32.7.0 --every 5 --json',
        ),
    ),
    "profile": Verb(
        "blathy.cli.profile",
        READ,
        (
            'profile "dlms://127.1.1.1:4059?client=2&auth=lls&password=…" 1-0:99.1.0 --from -7d',
            'profile "dlms://…" 1-0:99.1.0 --from 2026-10 --to 2026-11 --csv > october.csv',
            'profile "dlms://…" 1-0:99.1.0 --from yesterday --plot',
        ),
    ),
    "write": Verb(
        "blathy.cli.write",
        READ,
        (
            f"write {_MANAGER} 0-0:1.0.0/time_zone -60",
            'write "dlms://…" 1-0:0.4.2 raw:20 --yes',
        ),
    ),
    "call": Verb(
        "blathy.cli.write",
        READ,
        (
            f"call {_MANAGER} 0-0:1.0.0 list",
            f"call {_MANAGER} 0-0:1.0.0 shift_time 2",
            f"call {_MANAGER} 0-0:96.3.10 remote_disconnect --yes",
        ),
    ),
    "time": Verb(
        "blathy.cli.meter_time", READ, (f"time {_METER}", f"time {_MANAGER} --set now --yes")
    ),
    "firmware": Verb("blathy.cli.firmware", READ, (f"firmware {_MANAGER} new.bin --yes",)),
    "scan": Verb(
        "blathy.cli.scan",
        READ,
        ("scan dlms://127.0.0.1:4059", "scan serial:///dev/ttyUSB0 --physical 16-20 --clients 16"),
    ),
    "objects": Verb("blathy.cli.objects", READ, (f"objects {_METER}", f"objects {_METER} --json")),
    "readout": Verb(
        "blathy.cli.readout",
        READ,
        ("readout iec62056-21://127.0.0.1:4060", "readout serial:///dev/ttyUSB0"),
    ),
    "clone": Verb("blathy.cli.clone", READ, (f"clone {_METER} --output my-meter.json",)),
    "listen": Verb("blathy.cli.listen", READ, ("listen --port 4061", "listen --udp --json")),
    "answer": Verb(
        "blathy.cli.answer",
        READ,
        (
            'answer "dlms://127.0.0.1:4059?client=1&auth=hls5" 1-0:1.8.0 --keys keys.toml',
            'answer "dlms://192.0.2.1:4059?client=16" --outside --json',
        ),
    ),
    "token": Verb(
        "blathy.cli.token",
        READ,
        (
            'token "dlms://127.0.0.1:4059?client=1&auth=hls5&kek=@kek.hex" 5000 --keys keys.toml',
            'token "dlms://…" 5000 --enter',
        ),
    ),
    "meter": Verb("blathy.cli.meter", RUN),
    "meter run": Verb(
        "blathy.cli.meter",
        "",
        ("meter run mt372 --port dlms-tcp:127.0.0.1:4059", "meter run my-meter.json"),
    ),
    "model": Verb("blathy.cli.model", RUN),
    "model list": Verb("blathy.cli.model", "", ("model list", "model list --json")),
    "model show": Verb("blathy.cli.model", "", ("model show esox", "model show mt372 --no-rows")),
    "measure": Verb("blathy.cli.measure", MEASURE, ("measure recording.cfg --html report.html",)),
    "type-test": Verb("blathy.cli.type_test", MEASURE, ("type-test esox --html report.html",)),
    "en50160": Verb(
        "blathy.cli.en50160",
        MEASURE,
        ("en50160 week.csv --html report.html", "en50160 f1-head --user demo --password demo"),
    ),
    "explain": Verb(
        "blathy.cli.explain",
        LOOK,
        (
            "explain C0018100010000600100FF0200",
            "explain talk.pcap --ek @ek.hex --ak @ak.hex",
        ),
    ),
    "record": Verb(
        "blathy.cli.record", LOOK, ("record 127.0.0.1:4059 talk.txt --listen 127.0.0.1:4060",)
    ),
    "replay": Verb(
        "blathy.cli.record", LOOK, ("replay talk.txt", "replay talk.txt --against 127.0.0.1:4059")
    ),
    "requirements": Verb("blathy.cli.requirements", LOOK, ("requirements --only open",)),
    "doctor": Verb("blathy.cli.doctor", LOOK, ("doctor --quiet",)),
}


def load_verbs(arguments: list[str]) -> None:
    """Import the module of the verb in `arguments`, or all of them (for the list of `--help`)."""
    asked = next((VERBS[word] for word in arguments[:1] if word in VERBS), None)
    if asked is None and arguments[:1] == ["--version"]:
        return
    modules = (asked.module,) if asked else dict.fromkeys(verb.module for verb in VERBS.values())
    for name in modules:
        import_module(name)
