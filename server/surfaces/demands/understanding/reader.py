"""The local reader: what a demand in Chinese or English asks for, without a model and without the network.

`understand` finds the capabilities that are wanted (not those that are ruled out or already there), the
language, a one-line summary and a confidence. `plain_words` gives the words that no concept covers, for the
full-text search of `matching.py`. Both are deterministic and take time in proportion to the text. The words
are in `lexicon.py`.

Confidence:

- `high`: a capability was found, there is one for every 40 words that were not understood, and at most half
  of the words are noise (no vowel, longer than 24 letters, letters mixed with digits, or a run of symbols);
- `medium`: a capability was found, but it may be lost in the rest;
- `low`: no capability was found."""

import re
from functools import cache
from typing import Literal

import msgspec

from server.surfaces.demands.understanding import lexicon
from server.surfaces.demands.understanding.grammar import wanted
from server.surfaces.demands.understanding.words import (
    INVISIBLE,
    IS_HAN,
    UNIT,
    Term,
    Word,
    find_terms,
    find_words,
    fold,
    normalise,
)

Language = Literal["zh", "en"]
Confidence = Literal["high", "medium", "low"]

_SUMMARY_CHARACTERS = 120
_WORDS_PER_CAPABILITY = 40
_LONGEST_WORD = 24


class Understanding(msgspec.Struct, frozen=True):
    """A demand as it was read; `capabilities` are (canonical name, term as written), by first mention."""

    surface_demand: str
    capabilities: tuple[tuple[str, str], ...]
    confidence: Confidence
    language: Language


def understand(raw_input: str) -> Understanding:
    """Read a demand. Never fails and never gives an empty `surface_demand`, whatever the text is."""
    text = normalise(raw_input)
    kept = wanted(text)
    first: dict[str, str] = {}
    for item in kept:
        if isinstance(item, Term) and item.concept:
            first.setdefault(item.concept, re.sub(r"^(?:a|the) (?=host)", "", text[item.start : item.end], flags=re.I))
    return Understanding(
        surface_demand=summarise(raw_input),
        capabilities=tuple(first.items()),
        confidence=_confidence(text, len(first)),
        language=_language(text),
    )


def plain_words(raw_input: str) -> list[tuple[str, str]]:
    """The wanted words outside every concept, as (index token, word as written), each token once, in order."""
    text = normalise(raw_input)
    words: dict[str, str] = {}
    for item in wanted(text):
        if isinstance(item, Word):
            words.setdefault(item.token, text[item.start : item.end])
    return list(words.items())


def _language(text: str) -> Language:
    """Chinese when there are at least as many Chinese characters as words in other scripts."""
    chinese = len(IS_HAN.findall(text))
    others = sum(1 for match in UNIT.finditer(text) if match[0][0].isalpha() and not IS_HAN.match(match[0]))
    return "zh" if chinese and chinese >= others else "en"


def _confidence(text: str, capabilities: int) -> Confidence:
    if not capabilities:
        return "low"
    folded = fold(text)
    units = [match[0] for match in UNIT.finditer(folded)]
    words = sum(1 if not IS_HAN.match(unit) else (len(unit) + 1) // 2 for unit in units)
    noise = sum(map(_noise, units))
    unknown = (
        len({(word.token) for word in find_words(folded, [(term.start, term.end) for term in find_terms(folded)])}) + noise
    )
    if noise * 2 > words or unknown > capabilities * _WORDS_PER_CAPABILITY:
        return "medium"
    return "high"


def _noise(unit: str) -> int:
    """How many words of noise a unit is; 0 for what may be a word."""
    if IS_HAN.match(unit):
        return 0
    if not unit[0].isalnum():
        return len(unit)
    if not unit.isascii() or unit.isdigit():
        return 0
    is_mixed = len(unit) > 5 and not unit.isalpha() and not unit[:-2].isdigit() and "'" not in unit
    is_mute = len(unit) > 4 and not set(unit) & set("aeiouy")
    return max(1, len(unit) // 6) if is_mixed or is_mute or len(unit) > _LONGEST_WORD else 0


@cache
def _leading() -> re.Pattern[str]:
    chinese, english = lexicon.LEADING_FILLER
    return re.compile(rf"(?:(?:{chinese})|(?:{english})(?![a-z0-9]))[\s,，。.!！~～、:：]*", re.IGNORECASE)


@cache
def _trailing() -> re.Pattern[str]:
    chinese, english = lexicon.TRAILING_FILLER
    return re.compile(rf"(?:(?:{chinese})|(?<![a-z0-9])(?:{english}))$", re.IGNORECASE)


def summarise(raw_input: str) -> str:
    """One line of at most 120 characters without greetings and politeness; a cut is at a boundary and shows `…`."""
    line = " ".join(raw_input.translate(INVISIBLE).split())
    text = line
    for _ in range(6):
        match = _leading().match(text)
        if match is None:
            break
        text = text[match.end() :]
    if len(text) <= _SUMMARY_CHARACTERS + 40:  # a longer one is cut, and its end with it
        for _ in range(3):
            text = text.rstrip(" ,，。.!！?？~～;；、")
            shorter = text[:-30] + _trailing().sub("", text[-30:])
            if shorter == text:
                break
            text = shorter
    text = text.strip() or line or "…"
    return text if len(text) <= _SUMMARY_CHARACTERS else _cut(text)


def _cut(text: str) -> str:
    """The beginning of a text, up to the best boundary within the limit, and `…`."""
    head = text[: _SUMMARY_CHARACTERS - 1]
    for boundary, shortest in (("。.!！?？;；", 40), (",，、 ", 60)):
        position = max(head.rfind(mark) for mark in boundary)
        if position >= shortest:
            return head[:position].rstrip() + "…"
    return head + "…"
