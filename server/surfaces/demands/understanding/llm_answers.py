"""The checks of a language model's answer: plain text of a bounded length, or the fields of a demand that was read.

Everything here is pure. An answer of another shape raises `Unusable`; nothing in it is repaired. How a reading
by the model and one by the rules become one is decided here as well: the rules are exact, so what they found wins."""

import datetime
import re
from typing import Literal, TypeVar

import msgspec

from server.surfaces.demands.understanding import lexicon
from server.surfaces.demands.understanding.reader import Confidence, Understanding, plain_words
from server.surfaces.demands.understanding.requirements import MAX_BUDGET, MAX_PEOPLE, Requirements
from server.surfaces.demands.understanding.words import INVISIBLE, IS_HAN, find_terms, find_words, fold, normalise

_SURFACE_CHARACTERS = 120
_MAX_CAPABILITIES = 30  # capabilities that an answer may name
_CAPABILITY_CHARACTERS = 100
_MAX_FREE_WORDS = 10
_LEAST_BUDGET = 0.01  # models give 0 for a missing budget

# Markup, beginnings of a turn in the chat templates in use, and what `text_writer.py` puts around the data.
_MARKUP = re.compile(
    r"</?[a-z|]|\|>|\[/?INST\]|<<SYS>>|^\s*#{2,}|^\s*(?:system|user|assistant|human)\s*[:：]|\bdraft:",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_FENCE = re.compile(r"\A```[a-z]*\s*\n(.*)\n\s*```\Z", re.DOTALL | re.IGNORECASE)
_NUMBER_WORD = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|"
    r"eighty|ninety|dozens?|hundreds?|thousands?|millions?|couple|both|half)\b"
)

_Number = TypeVar("_Number", int | None, float | None)


class Unusable(Exception):
    """Raised for an answer that cannot be used; `reason` is a code that may be logged.

    Codes: `markup`, `empty_answer`, `too_long`, `control_character`, `wrong_language`, `unknown_number`, `not_json`,
    `wrong_shape`, `no_capabilities`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ModelReading(msgspec.Struct):
    """A demand as the model read it; further fields are ignored."""

    surface_demand: str
    capabilities: list[str]
    confidence: Confidence
    people: int | None = None
    budget: float | None = None
    currency: Literal["CNY", "USD", "EUR", "GBP", "JPY"] | None = None
    date: str | None = None


_decode_reading = msgspec.json.Decoder(ModelReading).decode


def plain_text(text: str, limit: int, language: str) -> str:
    """The text on one line, without the quotes around it. Raises `Unusable` for what is not plain text of 1 to `limit`."""
    if _MARKUP.search(text):
        raise Unusable("markup")
    line = " ".join(text.translate(INVISIBLE).split())
    if line[:1] + line[-1:] in ('""', "“”", "「」") and len(line) > 1:
        line = line[1:-1].strip()
    if not any(map(str.isalnum, line)):
        raise Unusable("empty_answer")
    if len(line) > limit:
        raise Unusable("too_long")
    if not all(character.isprintable() or character == "\u200d" for character in line):  # a joiner, as in emoji
        raise Unusable("control_character")
    if language == "zh" and not IS_HAN.search(line):
        raise Unusable("wrong_language")
    return line


def check_numbers(text: str, source: str) -> None:
    """Raise `Unusable` when a text names a number that its source does not: a price, day or size that was not agreed."""
    if not _numbers(text) <= _numbers(source):
        raise Unusable("unknown_number")


def _numbers(text: str) -> set[str]:
    return {match[0].replace(",", "") for match in _NUMBER.finditer(normalise(text))}


def parse_reading(answer: str) -> ModelReading:
    """The object in an answer, also inside a code fence. Raises `Unusable` for any other shape."""
    text = answer.strip()
    if fence := _FENCE.match(text):
        text = fence[1]
    try:
        return _decode_reading(text)
    except msgspec.ValidationError:
        raise Unusable("wrong_shape") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Unusable("not_json") from None


def merged_understanding(reading: ModelReading, read: Understanding, raw_input: str) -> Understanding:
    """The model's reading, in the rules' language and without what they ruled out."""
    if "\n" in reading.surface_demand.strip():
        raise Unusable("wrong_shape")
    if len(reading.capabilities) > _MAX_CAPABILITIES or any(
        len(word) > _CAPABILITY_CHARACTERS for word in reading.capabilities
    ):
        raise Unusable("wrong_shape")
    capabilities = _capabilities(reading.capabilities, dict(read.capabilities), raw_input)
    if read.capabilities and not capabilities:
        raise Unusable("no_capabilities")
    return Understanding(
        surface_demand=plain_text(reading.surface_demand, _SURFACE_CHARACTERS, read.language),
        capabilities=capabilities,
        confidence=reading.confidence if capabilities else "low",
        language=read.language,
    )


def _capabilities(words: list[str], found: dict[str, str], raw_input: str) -> tuple[tuple[str, str], ...]:
    """(canonical name, term) for words that the lexicon knows, (folded word, word) for others that the demand itself wants.

    A concept that the demand names but the rules did not find wanted is ruled out. The term is the demand's own where the
    rules have it. Each name once, in the model's order."""
    ruled_out = {term.concept for term in find_terms(fold(normalise(raw_input)))} - set(found)
    wanted = {token for token, _ in plain_words(raw_input)}
    named: dict[str, str] = {}
    free = 0
    for text in words:
        word = plain_text(text, _CAPABILITY_CHARACTERS, "en")
        folded = fold(normalise(word))
        name = folded.replace(" ", "_").replace("-", "_")
        terms = [name] if name in lexicon.CONCEPTS else [term.concept for term in find_terms(folded) if term.concept]
        for concept in terms:
            if concept not in ruled_out:
                named.setdefault(concept, found.get(concept, word))
        tokens = {each.token for each in find_words(folded, ())}
        if not terms and tokens and tokens <= wanted and folded not in named and free < _MAX_FREE_WORDS:
            named[folded] = word
            free += 1
    return tuple(named.items())


def merged_requirements(reading: ModelReading, found: Requirements, raw_input: str, today: datetime.date) -> Requirements:
    """What the rules found, and the model's for the rest; its numbers count only where the demand has a number at all."""
    has_number = any(map(str.isnumeric, raw_input)) or bool(_NUMBER_WORD.search(raw_input.lower()))
    people = _checked(reading.people, 1, MAX_PEOPLE) if has_number else None
    budget = _checked(reading.budget, _LEAST_BUDGET, MAX_BUDGET) if has_number else None
    budget = found.budget if found.budget is not None else budget
    return Requirements(
        people=found.people if found.people is not None else people,
        budget=budget,
        currency=found.currency or (reading.currency if budget is not None else None),
        date=found.date or _date(reading.date, today),
    )


def _checked(value: _Number, least: float, most: float) -> _Number:
    """A number within its limits, or None. Raises `Unusable` outside them."""
    if value is not None and not least <= value <= most:
        raise Unusable("wrong_shape")
    return value


def _date(text: str | None, today: datetime.date) -> str | None:
    """A day from today on. Raises `Unusable` for what is no date."""
    if text is None:
        return None
    try:
        day = datetime.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise Unusable("wrong_shape") from None
    return day.isoformat() if day >= today else None
