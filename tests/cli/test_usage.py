"""What is typed wrongly gets one sentence with what to try; the help of every verb reads well."""

from __future__ import annotations

import fcntl
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blathy.cli.verbs import URL_OPTIONS, VERBS
from blathy.client import address
from blathy.client.address import AddressError, parse_address
from tests.cli.in_process import blathy

WRONG = 2


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "raed",
            "`blathy` has no verb 'raed'; did you mean read? See `blathy --help`",
        ),
        ("model shwo", "did you mean show? See `blathy model --help`"),
        ("zzz", "`blathy` has no verb 'zzz'; see `blathy --help` for the list"),
        ("--vesion", "`blathy` has no option --vesion; did you mean --version?"),
        ("up --sed 3", "`blathy up` has no option --sed; did you mean --seed?"),
        ("up --days 0", "--days takes a whole number from 1 to 370, not '0'"),
        ("up --days=x", "--days takes a whole number from 1 to 370, not 'x'"),
        ("up --points 3", "--points takes a whole number from 12 to 1000, not '3'"),
        ("up --port", "--port needs a value after it; see `blathy up --help`"),
        ("up --headless=3", "--headless takes no value, write it alone"),
        ("up now", "`blathy up` cannot use 'now'"),
        ("up --config /nowhere.toml", "there is no file /nowhere.toml"),
        ("read", "`blathy read` needs URL; see `blathy read --help`"),
        ("model show", "`blathy model show` needs NAME"),
        ("measure x --nominal-u high", "--nominal-u takes a number, not 'high'"),
        ("requirements --only x", "--only takes one of proved, failed, open, not 'x'"),
        ("listen --ek zz", "--ek is not written in hex"),
        ("listen --ek 1234", "the encryption key has 2 octets; suite 0 needs 16"),
        ("listen --key zz", "--key names no meter; write TITLE=EK:AK"),
        ("meter run mt372 --zone Mars/X", "'Mars/X' is not a time zone"),
        ("meter run mt372 --layout x", "has no load profile 'x'; it has one alone"),
    ],
)
def test_a_slip_is_one_sentence_with_what_to_try(typed: str, says: str) -> None:
    done = blathy(*typed.split())
    assert done.status == WRONG
    assert says in done.err
    assert done.err.startswith("blathy: ")
    assert done.err.count("\n") == 1
    assert done.out == ""


@pytest.mark.parametrize("verb", [*VERBS])
def test_every_verb_explains_itself_with_examples(verb: str) -> None:
    done = blathy(*verb.split(), "--help")
    assert done.status == 0
    assert f"Usage: blathy {verb}" in done.out
    for example in VERBS[verb].examples:
        assert f"blathy {example}" in done.out
    assert not any(sign in done.out for sign in ("\x1b", "╭", "<str>", "<bool>"))


@pytest.mark.parametrize("verb", ["explain", "listen", "read", "record", "replay"])
def test_the_values_of_options_have_names(verb: str) -> None:
    assert "TEXT" not in blathy(verb, "--help").out


@pytest.mark.parametrize("verb", ["explain", "listen", "read"])
def test_verbs_with_keys_name_their_values_alike(verb: str) -> None:
    shown = blathy(verb, "--help").out
    for option in ("--ek KEY", "--ak KEY", "--keys FILE", "--password SECRET"):
        assert f"\n  {option} " in shown
    assert re.search(r"--ek KEY +Encryption key", shown)


def test_the_help_lists_every_option_that_a_url_may_have() -> None:
    listed = set(re.findall(r"\w+", " ".join(line[:23] for line in URL_OPTIONS.splitlines()[1:])))
    listed |= set(re.findall(r"\w+_key\b", URL_OPTIONS))
    with pytest.raises(AddressError) as caught:
        parse_address("dlms://meter?nonsense=1")
    assert "nonsense" in str(caught.value)
    names = re.findall(r'"(\w+)"', inspect.getsource(address))
    taken = {name for name in names if _is_option(name)}
    assert taken <= listed
    assert {"client", "auth", "ek", "ic", "mode", "signing_key", "acse_version"} <= taken


def _is_option(name: str) -> bool:
    """Whether a URL may have it, whatever its value."""
    try:
        parse_address(f"dlms://meter?{name}=zz")
    except AddressError as error:
        return "is not known" not in error.message
    return True


def test_the_list_of_verbs_names_every_one_with_what_it_does() -> None:
    for arguments in ((), ("--help",)):
        done = blathy(*arguments)
        assert done.status == 0
        for verb, found in VERBS.items():
            assert (f"\n  {verb} " in done.out) == bool(found.family), verb


@pytest.mark.parametrize("verb", [name for name, found in VERBS.items() if found.family])
def test_the_list_says_of_a_verb_what_its_own_help_says(verb: str) -> None:
    shown = " ".join(blathy(verb, "--help").out.split())
    assert f" {VERBS[verb].says} " in f"{shown} "


def test_a_directory_in_use_is_named_with_who_uses_it(tmp_path: Path) -> None:
    with (tmp_path / "blathy.lock").open("a+") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = blathy("up", "--headless", "--data", tmp_path)
    assert done.status == WRONG
    assert "in use by another `blathy up` (process 4711); stop that one" in done.err


def test_who_has_read_enough_of_an_output_sees_no_traceback() -> None:
    line = f"{sys.executable} -c 'from blathy.cli import main; main()' model show esox | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=240, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
