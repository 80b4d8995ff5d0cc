"""How the command line explains itself: help with examples, and one sentence for every slip.

Typer's parser finds the slip (an unknown option, a value out of its range); this module says it in
the same words as every other error: what is wrong, and what to try.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Final

from typer import TyperException
from typer.core import TyperGroup

from blathy.cli.verbs import FAMILIES, URL, URL_OPTIONS, VERBS

METAVARS: Final[dict[object, str]] = {
    Path: "PATH", int: "N", float: "X", str: "TEXT", list[str]: "TEXT", list[int]: "N",
}  # fmt: skip


class VerbGroup(TyperGroup):
    """The verbs by what they are for, and a near miss answered with the verb that was meant."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - not ours
        """The list of verbs, family by family."""
        for family in FAMILIES:
            with formatter.section(family):
                formatter.write_dl(
                    [(name, verb.says) for name, verb in VERBS.items() if verb.family == family]
                )


def prepared(command: Any, path: str = "blathy") -> Any:
    """The command with plain words for its values and with its examples, and all below it."""
    command.rich_markup_mode = None
    for param in command.params:
        _name_value(param)
        _say_plainly(param)
    examples = VERBS[path.removeprefix("blathy ")].examples if path[7:] in VERBS else ()
    if examples:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  blathy {line}" for line in examples)
        if any(param.help == URL for param in command.params):
            command.epilog += f"\n\n\b\n{URL_OPTIONS}"
    for name, below in getattr(command, "commands", {}).items():
        prepared(below, f"{path} {name}")
    return command


def _kind(param: Any) -> Any:
    return param.type_descriptor.annotation


def _name_value(param: Any) -> None:
    if param.param_type_name == "argument":
        param.metavar = param.metavar or param.name.upper()
        param.display_type_rich = _untyped
    elif param.metavar is None and not param.is_flag:
        param.metavar = METAVARS.get(_kind(param))


def _say_plainly(param: Any) -> None:
    """Usage lines of URL, [FILE] and OBIS...; help texts that end in (1 to 370, default 30)."""
    written = param.get_help_record

    def record(ctx: Any) -> tuple[str, str] | None:
        found = written(ctx)
        return None if found is None else (found[0], f"{param.help or ''}{_notes(param)}")

    param.get_help_record = record
    if param.param_type_name == "argument":
        many = "..." if param.nargs != 1 else ""
        param.get_usage_pieces = lambda _ctx: [
            f"{param.metavar}{many}" if param.required else f"[{param.metavar}{many}]"
        ]


def _notes(param: Any) -> str:
    """Range and default of a parameter, where they say something."""
    low, high, default = getattr(param, "min", None), getattr(param, "max", None), param.default
    notes = []
    if low is not None and high is not None:
        notes.append(f"{low} to {high}")
    elif low is not None or high is not None:
        notes.append(f"from {low} up" if high is None else f"up to {high}")
    if default is True and param.secondary_opts:
        notes.append(f"default {param.opts[-1]}")
    elif default and not isinstance(default, bool | list | tuple) and not callable(default):
        notes.append(f"default {getattr(default, 'value', default)}")
    if param.required and param.param_type_name == "option":
        notes.append("needed")
    return f" ({', '.join(notes)})" if notes else ""


def _untyped(ctx: Any) -> None:
    """No type behind an argument: its help says what it is."""
    assert ctx is not None


def sentence(error: TyperException, arguments: Sequence[str] = ()) -> str:
    """What is wrong with the command line and what to try, in one sentence."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else _path_of(arguments)
    look = f"see `{path} --help`"
    option = getattr(error, "option_name", None)
    if hasattr(error, "possibilities"):
        return _unknown_option(str(option), path, ctx, look)
    if type(error).__name__ == "MissingParameter":
        cut = any("://" in word and "?" in word and "&" not in word for word in arguments)
        quote = ", and put a URL with & in it in quotes" if cut else ""
        return f"`{path}` needs {_called(error)}; {look} for what it is{quote}"
    if hasattr(error, "param_hint"):
        return _bad_value(error, arguments, look)
    if option is not None and "requires an argument" in error.message:
        return f"{option} needs a value after it; {look}"
    if match := re.match(r"Option '(.+?)' does not take a value", error.message):
        return f"{match[1]} takes no value, write it alone; {look}"
    if match := re.match(r"No such command '(.*?)'", error.message):
        return _unknown_verb(match[1], path, ctx, look)
    if match := re.match(r"Got unexpected extra argument(?:\(s\)|s)? \((.+)\)", error.message):
        return f"`{path}` cannot use {match[1]!r}; {look} for what it takes"
    if error.message == "Missing command.":
        return f"`{path}` needs a verb; {look} for the list"
    return f"{error.format_message().rstrip('.')}; {look}"


def _path_of(arguments: Sequence[str]) -> str:
    """The verb as far as it is known, where the parser does not say which it was at."""
    words = [name for name in VERBS if list(arguments[: name.count(" ") + 1]) == name.split()]
    return f"blathy {max(words, key=len)}" if words else "blathy"


def _near(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}? " if found else ""


def _unknown_option(option: str, path: str, ctx: Any, look: str) -> str:
    known = [name for one in ctx.command.params for name in one.opts if name.startswith("--")]
    hint = _near(option, [*known, "--help"])
    if ctx.parent is None:
        return f"`blathy` has no option {option}; {hint or 'a verb comes first, '}{look}"
    return f"`{path}` has no option {option}; {hint}{look[0].upper() if hint else 's'}{look[1:]}"


def _unknown_verb(word: str, path: str, ctx: Any, look: str) -> str:
    top = [name for name, verb in VERBS.items() if verb.family]
    hint = _near(word, top if ctx.parent is None else ctx.command.commands)
    verb = f"`{path}` has no verb {word!r}; {hint}"
    return f"{verb}{look[0].upper() if hint else 's'}{look[1:]} for the list"


def _called(error: Any) -> str:
    """The name of the parameter as it is written."""
    param = error.param
    if param is None:
        return str(error.param_hint)
    name: str = param.opts[-1] if param.param_type_name == "option" else param.metavar
    return name


def _bad_value(error: Any, arguments: Sequence[str], look: str) -> str:
    param, name = error.param, _called(error)
    wanted = _wanted(param) if param is not None else ""
    if not wanted:
        return f"{name}: {error.message.rstrip('.')}; {look}"
    given = _given(param, arguments)
    return f"{name} takes {wanted}{f', not {given!r}' if given else ''}; {look}"


def _given(param: Any, arguments: Sequence[str]) -> str:
    """What was written for an option, or nothing where it cannot be told."""
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in param.opts:
            return value if equals else "".join(arguments[number + 1 : number + 2])
    return ""


def _wanted(param: Any) -> str:
    kind = _kind(param)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(choice.value) for choice in kind)
    number = {int: "a whole number", float: "a number"}.get(kind, "")
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    if low is not None and high is not None:
        return f"{number} from {low} to {high}"
    if low is not None:
        return f"{number} from {low} up"
    return f"{number} up to {high}" if high is not None else number
