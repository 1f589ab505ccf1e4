"""Known terms and plain words in a text: normalising, folding, finding; `grammar.py` says which are wanted.

Positions are the same in a normalised text and in its folded form, so a term can be shown as it was written."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

from server.surfaces.demands.understanding import lexicon

_MAX_TERM_WORDS = 6

INVISIBLE = dict.fromkeys((0x00AD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_SPACES = re.compile(r"[^\S\n]+")
_HAN = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff"
IS_HAN = re.compile(f"[{_HAN}]")
# Any letters and digits but Han; an apostrophe joins ("don't"), everything else separates.
UNIT = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+(?:'[^\W\d_{_HAN}]+)?|[^\w\s.,;:!?、。()'\"%&/+-]+")


class Term(NamedTuple):
    """A known term, its span [start, end) in the normalised text, and its concept; None hides the span."""

    concept: str | None
    start: int
    end: int


class Word(NamedTuple):
    """A word that no concept covers: its index token and its span [start, end) in the normalised text."""

    token: str
    start: int
    end: int


def normalise(text: str) -> str:
    """NFKC (full-width to half-width), without invisible characters, runs of blanks as one, line ends kept."""
    text = unicodedata.normalize("NFKC", text.translate(INVISIBLE)).replace("’", "'").replace("‘", "'")
    return _SPACES.sub(" ", text).strip()


def fold(text: str) -> str:
    """The searchable form of a normalised text, of equal length: lower case, no accents, simplified Chinese."""
    return "".join(map(_fold_character, text))


@cache
def _traditional() -> dict[str, str]:
    return {pair[0]: pair[1] for pair in lexicon.TRADITIONAL.split()}


@lru_cache(maxsize=16_384)
def _fold_character(character: str) -> str:
    plain = unicodedata.normalize("NFD", character)
    if len(plain) > 1 and all("̀" <= mark <= "ͯ" for mark in plain[1:]):
        character = plain[0]
    lower = character.lower()
    return _traditional().get(character, lower if len(lower) == 1 else character)


class _Terms(NamedTuple):
    english: dict[str, str | None]  # words joined by one blank
    chinese: dict[str, list[tuple[str, str | None]]]  # by first character, longest first


@cache
def _terms() -> _Terms:
    """All terms with their derived forms. Chinese ones may contain Latin letters (3d打印)."""
    english: dict[str, str | None] = {}
    chinese: dict[str, str | None] = {}
    for name, concept in lexicon.CONCEPTS.items():
        for term in concept.en.split("|"):
            english.update(dict.fromkeys(_plurals(term), name))
        for verb in filter(None, concept.verbs.split("|")):
            english.update(dict.fromkeys(_conjugate(verb), name))
        chinese.update(dict.fromkeys(concept.zh.split("|"), name))
    for term in lexicon.NOT_TERMS.split("|"):
        if IS_HAN.search(term):
            chinese[term] = None
        else:
            english.update(dict.fromkeys(_plurals(term)))
    by_first: dict[str, list[tuple[str, str | None]]] = {}
    for term in sorted(chinese, key=len, reverse=True):
        if term.isascii():
            english[term] = chinese[term]
        else:
            by_first.setdefault(term[0], []).append((term, chinese[term]))
    return _Terms(english, by_first)


def _plurals(term: str) -> tuple[str, ...]:
    """A term and its regular plurals."""
    if term.endswith("y") and term[-2] not in "aeiou":
        return (term, term[:-1] + "ies")
    if term.endswith(("s", "x", "ch", "sh")):
        return (term, term + "es")
    return (term, term + "s")


def _conjugate(verb: str) -> tuple[str, ...]:
    """A verb and its forms."""
    if verb in lexicon.VERB_FORMS:
        return (verb, *lexicon.VERB_FORMS[verb])
    stem = verb[:-1] if verb.endswith("e") else verb
    return (verb, verb + "s", stem + "ing", stem + "ed")


def find_terms(folded: str) -> list[Term]:
    """The terms of a folded text from left to right, the longest at every place; English only as whole words."""
    english, chinese = _terms()
    units = [(match.start(), match.end()) for match in UNIT.finditer(folded)]
    found: list[Term] = []
    free_from = 0
    for index, (start, end) in enumerate(units):
        if end <= free_from:
            continue
        terms = list(_chinese_terms(folded, max(start, free_from), end, chinese))
        if not terms and start >= free_from and (term := _english_term(folded, units, index, english)):
            terms = [term]
        found += terms
        if terms:
            free_from = terms[-1].end
    return found


def _chinese_terms(folded: str, start: int, end: int, chinese: dict[str, list[tuple[str, str | None]]]) -> Iterator[Term]:
    """Terms that begin in a run; in a Latin run only at its first character, as "app开发" does."""
    position = start
    is_han = bool(IS_HAN.match(folded[start]))
    while position < end:
        for term, concept in chinese.get(folded[position], ()):
            stop = position + len(term)
            if folded.startswith(term, position) and not (term[-1].isascii() and _is_latin(folded, stop)):
                yield Term(concept, position, stop)
                position = stop - 1
                break
        if not is_han:
            return
        position += 1


def _is_latin(folded: str, position: int) -> bool:
    return position < len(folded) and folded[position].isascii() and folded[position].isalnum()


def _english_term(folded: str, units: list[tuple[int, int]], index: int, english: dict[str, str | None]) -> Term | None:
    """The longest term of whole words that begins at a unit; a blank or hyphen may stand between its words."""
    start, end = units[index]
    words, best = "", None
    for unit_start, unit_end in units[index : index + _MAX_TERM_WORDS]:
        if words and folded[end:unit_start] not in (" ", "-"):
            break
        end = unit_end
        words = f"{words} {folded[unit_start:end]}".strip()
        for form in (words, words.removesuffix("'s")):
            if form in english:
                best = Term(english[form], start, end)
                break
    return best


# Plain words, for what the lexicon does not know.


@cache
def _stop_phrases() -> re.Pattern[str]:
    phrases = "|".join(sorted(lexicon.STOP_WORDS_ZH, key=len, reverse=True))
    return re.compile(
        r"[0-9一二三四五六七八九十百千万两几多]{1,8}"
        r"[个位名人场次天家份张件辆台支只瓶束套组年月日号点时分元块岁]|" + phrases
    )


def find_words(folded: str, covered: Iterable[tuple[int, int]]) -> list[Word]:
    """Index tokens of a folded text outside the covered spans: stems of words, two-character words of Chinese.

    Stop words and numbers give nothing. A single Chinese character counts when it stands alone."""
    blanked = list(folded)
    for start, end in (*covered, *(match.span() for match in _stop_phrases().finditer(folded))):
        blanked[start:end] = "\n" * (end - start)
    words: list[Word] = []
    for match in UNIT.finditer("".join(blanked)):
        unit = match[0]
        if IS_HAN.match(unit):
            words += _bigrams(unit, match.start())
        elif unit[0].isalnum() and not _is_stop_word(unit):
            words.append(Word(stem(unit), match.start(), match.end()))
    return words


def _is_stop_word(word: str) -> bool:
    plain = word.removesuffix("'s")
    return len(plain) < 2 or plain.isdigit() or plain in lexicon.STOP_WORDS_EN or "'" in plain


def _bigrams(run: str, offset: int) -> Iterator[Word]:
    for index in range(len(run) - 1):
        pair = run[index : index + 2]
        if not (set(pair) & lexicon.GRAMMAR_ZH or set(pair) <= lexicon.LIGHT_ZH):
            yield Word(pair, offset + index, offset + index + 2)
    for index, character in enumerate(run):
        stands_alone = all(peer in lexicon.LIGHT_ZH for peer in run[max(0, index - 1) : index] + run[index + 1 : index + 2])
        if character not in lexicon.LIGHT_ZH and stands_alone:
            yield Word(character, offset + index, offset + index + 1)


def stem(word: str) -> str:
    """A word without its plural and the commonest suffixes, so that a beekeeper is found by beekeeping."""
    word = word.removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("ses", "xes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for suffix in ("ing", "er", "ed"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 5:
            return word[: -len(suffix)]
    return word
