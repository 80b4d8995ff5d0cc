"""Sentences for people, each with a code: English for whoever reads the API, the code for who
translates it.

A sentence is made once, where it is known, of a template with named holes. Beside a field `text`
of a document `with_code` puts `text_code` and `text_values`: the portal says the same in other
languages, and a program need not compare English. A code never changes its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Self

Value = str | int | float


class Sentence(str):
    """The English text; `code` names its template, `values` are what fills the holes.

    Without values the text is the template itself, for tables of sentences: fill one with `of`.
    """

    __slots__ = ("code", "template", "values")
    code: str
    template: str
    values: Mapping[str, Value]

    def __new__(cls, code: str, template: str, /, **values: Value) -> Self:
        made = super().__new__(cls, template.format(**values) if values else template)
        made.code, made.template, made.values = code, template, values
        return made

    def of(self, /, **values: Value) -> Sentence:
        """The same sentence with its holes filled."""
        return Sentence(self.code, self.template, **values)

    def kept(self) -> str:
        """Code and values as text for a column of the store, beside the sentence itself."""
        return json.dumps({"code": self.code, "values": dict(self.values)})

    @classmethod
    def restored(cls, text: str, kept: str | None) -> Sentence:
        """What was written with `kept`; without it a sentence that only English readers have."""
        told: dict[str, Any] = json.loads(kept) if kept else {"code": "", "values": {}}
        made = Sentence(told["code"], text)
        made.values = told["values"]
        return made


EMPTY: Final = Sentence("", "")


def with_code(field: str, sentence: Sentence) -> dict[str, Any]:
    """A sentence as three fields of a document; the code is null where there is none."""
    return {
        field: str(sentence),
        f"{field}_code": sentence.code or None,
        f"{field}_values": dict(sentence.values),
    }


class ExplainedError(Exception):
    """An error that people are told: `detail` says what is wrong, `remedy` what to try.

    One code for both; the remedy's is the code with `.remedy` behind it.
    """

    def __init__(self, code: str, detail: str, remedy: str = "", /, **values: Value) -> None:
        self.detail = Sentence(code, detail, **values)
        self.remedy = Sentence(f"{code}.remedy", remedy, **values) if remedy else EMPTY
        self.whole = Sentence(code, f"{detail} {remedy}".strip(), **values)
        """Both in one, under the code of the detail."""
        super().__init__(str(self.whole))

    @property
    def code(self) -> str:
        return self.detail.code

    @property
    def values(self) -> Mapping[str, Value]:
        return self.detail.values
