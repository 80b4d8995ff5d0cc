"""Every sentence that the API can tell has its code, and the portal has that code in every language
that is not English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from blathy.headend.access.roles import Role
from blathy.headend.collection.collector import SCHEDULES
from blathy.headend.collection.conversation import ClockAction, Outcome
from blathy.headend.collection.dlms import SWITCH_STATES
from blathy.headend.inventory.description import MEDIA
from blathy.headend.inventory.keyring import PURPOSES
from blathy.headend.inventory.registry import MeterStanding
from blathy.headend.operations.commands import CONSEQUENCES
from blathy.headend.operations.vocabulary import MEANINGS
from blathy.headend.readings.rules import RULES
from blathy.headend.readings.series import QUALITY, SOURCE_NAMES
from blathy.headend.sentence import EMPTY, ExplainedError, Sentence, with_code
from blathy.models import MODELS

ROOT: Final = Path(__file__).resolve().parents[2]
HEADEND: Final = ROOT / "src" / "blathy" / "headend"
MESSAGES: Final = ROOT / "portal" / "src" / "messages"
LANGUAGES: Final = ("de", "hu")
WAYS: Final = ("failure", "advice")
"""Prefixes of what a failed conversation is called, and of what to try."""
MAKERS: Final = frozenset(
    (
        "Sentence", "ExplainedError", "ApiProblem", "AccessError", "ConversationError",
        "CommandRefused", "TransformerRefused", "QueryError", "ExportUnavailable",
    )
)  # fmt: skip
CODE: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+|broken|busy|places|reading|talking")
HOLE: Final = re.compile(r"\{(\w+)(?::([\w.-]+))?\}")
ENTRY: Final = re.compile(
    r"^  '?([\w. -]+)'?: (?:'((?:[^'\\]|\\.)*)'|\"([^\"]*)\"),$", re.MULTILINE
)


def entries(name: str) -> dict[str, str]:
    """The table of a messages file, as it is written."""
    found = ENTRY.findall((MESSAGES / name).read_text())
    return {key: (single or double).replace("\\'", "'") for key, single, double in found}


class Made(NamedTuple):
    """A sentence as the code makes it."""

    code: str
    template: str
    names: frozenset[str]
    """Of its values."""
    remedied: bool
    place: str


def made() -> Iterator[Made]:
    """Every sentence that the control centre makes."""
    for path in sorted(HEADEND.rglob("*.py")):
        if path.name == "sentence.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "id", "")
            if not isinstance(node, ast.Call) or name not in MAKERS:
                continue
            texts = [a.value if isinstance(a, ast.Constant) else None for a in node.args]
            place = f"{path.name}:{node.lineno}"
            if texts[0] == "":
                continue  # a name, not a sentence
            first = next(
                (n for n, t in enumerate(texts) if isinstance(t, str) and CODE.fullmatch(t)), None
            )
            assert first is not None, f"{place}: the code is written where the sentence is made"
            template = texts[first + 1]
            assert isinstance(template, str), f"{place}: the sentence is a template, no f-string"
            given = {k.arg for k in node.keywords if k.arg} | {n for n, _ in HOLE.findall(template)}
            remedied = len(texts) > first + 2
            yield Made(str(texts[first]), template, frozenset(given), remedied, place)


@pytest.fixture(scope="module")
def told() -> dict[str, frozenset[str]]:
    """Code -> names of its values, of every sentence; remedies under their own codes."""
    templates: dict[str, str] = {}
    found: dict[str, frozenset[str]] = {}
    for one in made():
        said = templates.setdefault(one.code, one.template)
        assert said == one.template, f"{one.place}: {one.code} says two things"
        found[one.code] = one.names | found.get(one.code, frozenset())
        if one.remedied:
            found[f"{one.code}.remedy"] = found[one.code]
    assert len(found) > 100
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_of_the_api_is_said_in_every_language(
    told: dict[str, frozenset[str]], language: str
) -> None:
    said, messages = entries(f"sentences.{language}.ts"), entries(f"{language}.ts")
    words = {f"{way}.{o.value}" for o in Outcome if o is not Outcome.OK for way in WAYS}
    assert set(said) == set(told) | words
    for code, text in said.items():
        assert text
        for name, prefix in HOLE.findall(text):
            assert name in told[code], f"{code}: {{{name}}} is no value of it"
            assert not prefix or any(key.startswith(f"{prefix}.") for key in (*said, *messages))


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_every_event_is_named_in_every_language(language: str) -> None:
    messages = entries(f"{language}.ts")
    assert {f"event.{name}" for name in MEANINGS} <= set(messages)
    groups = {meaning.group for meaning in MEANINGS.values()}
    severities = {meaning.severity for meaning in MEANINGS.values()}
    assert {f"group.{name}" for name in groups} <= set(messages)
    assert {f"severity.{name}" for name in severities} <= set(messages)


def test_a_sentence_is_its_english_with_code_and_values_beside_it() -> None:
    told = Sentence("too-far", "{point} is {offset_s} s off.", point="Bakery {1}", offset_s=70)
    assert with_code("text", told) == {
        "text": "Bakery {1} is 70 s off.",
        "text_code": "too-far",
        "text_values": {"point": "Bakery {1}", "offset_s": 70},
    }
    again = Sentence.restored(str(told), told.kept())
    assert with_code("text", again) == with_code("text", told)
    assert with_code("text", Sentence.restored("Of an older store.", None)) == {
        "text": "Of an older store.", "text_code": None, "text_values": {},
    }  # fmt: skip


def test_an_error_has_one_code_for_what_is_wrong_and_what_to_try() -> None:
    error = ExplainedError(
        "no-button", "There is no {button}.", "Use {able}.", button="a", able="b"
    )
    assert (str(error), error.detail, error.remedy) == (
        "There is no a. Use b.", "There is no a.", "Use b.",
    )  # fmt: skip
    assert (error.code, error.remedy.code) == ("no-button", "no-button.remedy")
    assert error.whole.code == "no-button"
    assert ExplainedError("alone", "It is so.").remedy is EMPTY


def words_of_the_api() -> dict[str, set[str]]:
    """Prefix of messages -> the words that the API may say there."""
    lamps = {led.label for model in MODELS.values() for led in model.leds}
    buttons = {t.label for model in MODELS.values() for t in model.terminals if t.kind == "button"}
    printed = {re.sub(r" \d+$", "", label).lower() for label in lamps | buttons if "/" not in label}
    lists = {one.name for m in MODELS.values() if m.display for one in m.display.lists}
    code = "".join(path.read_text() for path in HEADEND.rglob("*.py"))
    return {
        "state": {standing.value for standing in MeterStanding},
        "quality": set(QUALITY),
        "source": set(SOURCE_NAMES.values()),
        "outcome": {outcome.value for outcome in Outcome},
        "medium": set(MEDIA),
        "role": {role.value for role in Role},
        "command": set(CONSEQUENCES),
        "purpose": set(PURPOSES),
        "keychange": {"started", "sent", "done", "withdrawn", "refused"},
        "clock.did": {action.value for action in ClockAction} | {"check"},
        "clock.do": {action.value for action in ClockAction} | {"unknown"},
        "control": set(SWITCH_STATES),
        "task": {schedule.task for schedule in SCHEDULES} | {"all"},
        "severity": {row.severity for row in RULES},
        "display": lists | {"rendered", "registers"},
        "front": printed,
        "audit": set(re.findall(r'"((?:session|user|token|clock|key|ct)\.[a-z]+)"', code)),
    }


@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_every_word_of_the_api_is_in_every_language(language: str) -> None:
    messages = entries(f"{language}.ts")
    wanted = {f"{prefix}.{word}" for prefix, words in words_of_the_api().items() for word in words}
    assert wanted - set(messages) == set()
