"""What is left in English on a page of the portal in another language."""

from __future__ import annotations

import re
from typing import Final

from playwright.sync_api import Page

from tests.headend.test_sentences import entries

NAMES: Final = re.compile(
    r"\w+ (household|water|farm|works|workshop)(, roof)?|Bakery|Feeder \d|Transformer \d|English"
    r"|Terminal|Scroll"
)
"""What people of the site have called so."""
TELLTALE: Final = re.compile(
    r"\b(the|of|and|with|not|for|this|that|was|are|has|no|meter|energy|power|voltage|current"
    r"|reading|missing|failed|done|ago|last|between|read|supply|time|clock|keys|command)\b",
    re.IGNORECASE,
)
"""Words that neither German nor Hungarian has, or only as parts of others."""
GERMAN: Final = frozenset(("was", "last", "not"))
"""Telltale words that German has, too."""
TEXTS: Final = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) found.push(walker.currentNode.textContent);
  for (const name of ['title', 'aria-label', 'placeholder', 'alt'])
    for (const one of document.querySelectorAll(`[${name}]`)) found.push(one.getAttribute(name));
  return found.map((text) => text.trim()).filter(Boolean);
}"""


def english_of(page: Page, language: str) -> set[str]:
    """The texts of the page that are English: messages of the English table, or telltale words."""
    english, other = entries("en.ts"), entries(f"{language}.ts")
    untranslated = {text for key, text in english.items() if text != other[key]}
    untranslated -= set(other.values())  # a word of both, in another place
    found = set()
    for text in page.evaluate(TEXTS):
        plain = NAMES.sub("", text)
        words = {word.lower() for word in TELLTALE.findall(plain)}
        if language == "de":
            words -= GERMAN
        if words or plain in untranslated:
            found.add(text)
    return found
