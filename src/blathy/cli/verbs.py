"""Which module holds which verb, what the verb is for, and how it is used.

A verb below another verb (`model show`) has no family of its own. A module registers its commands
on `cli.app.app` when imported; only the one that is called is, so that every verb starts quickly.
The list of `blathy --help` is made of this table alone.
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
    """A verb: its module, its family in the list and what stands there, and command lines that show
    its use."""

    module: str
    family: str
    says: str
    examples: tuple[str, ...] = ()


VERBS: Final[dict[str, Verb]] = {
    "up": Verb(
        "blathy.cli.up",
        TOWN,
        "Start the town (or a site) with its meters, control centre and portal.",
        (
            "up",
            "up --points 12 --days 7 --data /tmp/small --port 8080",
            "up --config site.toml --data site",
        ),
    ),
    "town": Verb(
        "blathy.cli.town",
        TOWN,
        "List the meters of a town: address, model, and the URL that `blathy read` takes.",
        ("town", "town --data /tmp/small --keys", "town --json"),
    ),
    "alarms": Verb(
        "blathy.cli.operate",
        TOWN,
        "Show the latest alarms, and with --follow each new one the moment a meter sends it.",
        ("alarms --user demo --password demo --follow",),
    ),
    "clock": Verb(
        "blathy.cli.operate",
        TOWN,
        "Show how far the meters' clocks are off, or correct them by rule.",
        ("clock --user demo --password demo", "clock --group all --yes --token …"),
    ),
    "keys": Verb(
        "blathy.cli.operate",
        TOWN,
        "Show when the keys of a meter were changed, or change them; a key itself is never shown.",
        (
            "keys f1-01 --token …",
            "keys f1-01 --change encryption --change authentication --token …",
        ),
    ),
    "order": Verb(
        "blathy.cli.operate",
        TOWN,
        "Switch, limit or sell to a place; asked twice, audited, read back from the meter.",
        ("order f1-01 limit power_w=5000 --token …", "order f1-01 credit energy_wh=10000 --yes"),
    ),
    "read": Verb(
        "blathy.cli.read",
        READ,
        "Read values of a meter.",
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
        "Read a profile between two times.",
        (
            'profile "dlms://127.1.1.1:4059?client=2&auth=lls&password=…" 1-0:99.1.0 --from -7d',
            'profile "dlms://…" 1-0:99.1.0 --from 2026-10 --to 2026-11 --csv > october.csv',
            'profile "dlms://…" 1-0:99.1.0 --from yesterday --plot',
        ),
    ),
    "write": Verb(
        "blathy.cli.write",
        READ,
        "Write a value; shows the one that it replaces and what the meter holds then.",
        (
            f"write {_MANAGER} 0-0:1.0.0/time_zone -60",
            'write "dlms://…" 1-0:0.4.2 raw:20 --yes',
        ),
    ),
    "call": Verb(
        "blathy.cli.write",
        READ,
        "Run a method of an object; print what it returns.",
        (
            f"call {_MANAGER} 0-0:1.0.0 list",
            f"call {_MANAGER} 0-0:1.0.0 shift_time 2",
            f"call {_MANAGER} 0-0:96.3.10 remote_disconnect --yes",
        ),
    ),
    "time": Verb(
        "blathy.cli.meter_time",
        READ,
        "Show a meter's clock and how far it is from this machine's; set it.",
        (f"time {_METER}", f"time {_MANAGER} --set now --yes"),
    ),
    "firmware": Verb(
        "blathy.cli.firmware",
        READ,
        "Transfer a firmware image, let the meter verify it and activate it.",
        (f"firmware {_MANAGER} new.bin --yes",),
    ),
    "scan": Verb(
        "blathy.cli.scan",
        READ,
        "Find the addresses that one meter answers to; no password or key is tried.",
        ("scan dlms://127.0.0.1:4059", "scan serial:///dev/ttyUSB0 --physical 16-20 --clients 16"),
    ),
    "objects": Verb(
        "blathy.cli.objects",
        READ,
        "List the objects of a meter: class, OBIS code, meaning and rights.",
        (f"objects {_METER}", f"objects {_METER} --json"),
    ),
    "readout": Verb(
        "blathy.cli.readout",
        READ,
        "Read the readout table of a meter with a text interface.",
        ("readout iec62056-21://127.0.0.1:4060", "readout serial:///dev/ttyUSB0"),
    ),
    "clone": Verb(
        "blathy.cli.clone",
        READ,
        "Read every object and every readable attribute of a meter into a file.",
        (f"clone {_METER} --output my-meter.json",),
    ),
    "listen": Verb(
        "blathy.cli.listen",
        READ,
        "Show what meters push, until Ctrl-C.",
        ("listen --port 4061", "listen --udp --json"),
    ),
    "answer": Verb(
        "blathy.cli.answer",
        READ,
        "Answer meters that call home, and read each, until Ctrl-C.",
        (
            'answer "dlms://127.0.0.1:4059?client=1&auth=hls5" 1-0:1.8.0 --keys keys.toml',
            'answer "dlms://192.0.2.1:4059?client=16" --outside --json',
        ),
    ),
    "token": Verb(
        "blathy.cli.token",
        READ,
        "Make a credit token for a meter, authenticated with its master key (`kek` in the URL).",
        (
            'token "dlms://127.0.0.1:4059?client=1&auth=hls5&kek=@kek.hex" 5000 --keys keys.toml',
            'token "dlms://…" 5000 --enter',
        ),
    ),
    "meter": Verb("blathy.cli.meter", RUN, "Run one meter."),
    "meter run": Verb(
        "blathy.cli.meter",
        "",
        "",
        ("meter run mt372 --port dlms-tcp:127.0.0.1:4059", "meter run my-meter.json"),
    ),
    "model": Verb("blathy.cli.model", RUN, "The meters of the data sheets."),
    "model list": Verb("blathy.cli.model", "", "", ("model list", "model list --json")),
    "model show": Verb(
        "blathy.cli.model", "", "", ("model show esox", "model show mt372 --no-rows")
    ),
    "measure": Verb(
        "blathy.cli.measure",
        MEASURE,
        "Measure a recording: U, I, P, Q, S, energies, harmonics, unbalance, flicker, events.",
        ("measure recording.cfg --html report.html",),
    ),
    "type-test": Verb(
        "blathy.cli.type_test",
        MEASURE,
        "Every load point and influence quantity of the model's classes against the limits.",
        ("type-test esox --html report.html",),
    ),
    "en50160": Verb(
        "blathy.cli.en50160",
        MEASURE,
        "Hold a week of voltage against EN 50160 (low voltage).",
        ("en50160 week.csv --html report.html", "en50160 f1-head --user demo --password demo"),
    ),
    "explain": Verb(
        "blathy.cli.explain",
        LOOK,
        "Show HDLC, wrapper, M-Bus and xDLMS octets as a tree with names and units.",
        (
            "explain C0018100010000600100FF0200",
            "explain talk.pcap --ek @ek.hex --ak @ak.hex",
        ),
    ),
    "record": Verb(
        "blathy.cli.record",
        LOOK,
        "Stand between a client and a meter and write down what they say, until Ctrl-C.",
        ("record 127.0.0.1:4059 talk.txt --listen 127.0.0.1:4060",),
    ),
    "replay": Verb(
        "blathy.cli.record",
        LOOK,
        "Give a recorded conversation back, as the meter (until Ctrl-C) or to a meter.",
        ("replay talk.txt", "replay talk.txt --against 127.0.0.1:4059"),
    ),
    "requirements": Verb(
        "blathy.cli.requirements",
        LOOK,
        "Show which promises of the data sheets the last test run proved.",
        ("requirements --only open",),
    ),
    "doctor": Verb(
        "blathy.cli.doctor",
        LOOK,
        "Look at this machine: what is missing, and what to do.",
        ("doctor --quiet",),
    ),
}


def load_verbs(arguments: list[str]) -> None:
    """Import the module of the verb in `arguments`; where there is none, nothing is needed."""
    for word in arguments[:1]:
        if word in VERBS:
            import_module(VERBS[word].module)
