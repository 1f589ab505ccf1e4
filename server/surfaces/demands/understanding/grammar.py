"""Which of the terms and words of a demand are wanted: negations, lists and contrasts, clause by clause.

"No music or food, but a venue" wants a venue; "场地已经订好了，摄影不需要" wants neither.
What is uncertain counts as wanted: an agent too many can decline, a missing agent is never invited."""

import re
from functools import cache
from typing import NamedTuple

from server.surfaces.demands.understanding import lexicon
from server.surfaces.demands.understanding.words import Term, Word, find_terms, find_words, fold

_LIST_MARKS = 4  # words of a member of a list, at most


class _Mark(NamedTuple):
    start: int
    end: int
    kind: str
    item: Term | Word | None = None


class _Clause(NamedTuple):
    marks: list[_Mark]
    end: int  # exclusive, in the text
    ends_with: str  # "comma", "stop" or "contrast"


_LATIN = r"(?<![a-z0-9'])(?:{})(?![a-z0-9])"


@cache
def _marks() -> re.Pattern[str]:
    def group(name: str, patterns: tuple[str, ...]) -> str:
        branches = [_LATIN.format(part) if re.match(r"[(a-z]", part) else f"(?:{part})" for part in patterns]
        return f"(?P<{name}>{'|'.join(branches)})"

    return re.compile(
        "|".join(
            (
                group("neutral", lexicon.NEUTRAL),
                group("post", lexicon.POST_NEGATIONS),
                group("negation", lexicon.NEGATIONS),
                group("request", lexicon.REQUESTS),
                group("contrast", lexicon.CONTRASTS),
                group("either", lexicon.OR_WORDS),
                group("both", lexicon.AND_WORDS),
                r"(?P<comma>[,()])",
                r"(?P<stop>[!?;。\n…]|\.(?!\d))",
            )
        )
    )


_ARTICLE = re.compile(r" ?(?:a|an|any|the|some|one|two|three|also|then) ")
_BETWEEN = re.compile(r" ?(?:to|you to|us to|再|去|另外|额外|专门)? ?")  # "no need to | hire"
_PARTICLES = re.compile(r"[\s了的啦吧呢哦呀好到完过在\"'。]*")


def wanted(text: str) -> list[Term | Word]:
    """The wanted terms and plain words of a normalised text, in order, without those ruled out."""
    folded = fold(text)
    terms = find_terms(folded)
    grammar = _grammar(folded, terms)
    spans = [(term.start, term.end) for term in terms] + [(mark.start, mark.end) for mark in grammar]
    items: list[Term | Word] = [*terms, *find_words(folded, spans)]
    marks = grammar + [_Mark(item.start, item.end, "item", item) for item in items]
    marks.sort(key=lambda mark: mark.start)
    clauses = [_Clause([], 0, "stop")]
    for mark in marks:
        if mark.kind in ("comma", "stop", "contrast"):
            clauses[-1] = clauses[-1]._replace(end=mark.start, ends_with=mark.kind)
            clauses.append(_Clause([], 0, "stop"))
        else:
            clauses[-1].marks.append(mark)
    clauses[-1] = clauses[-1]._replace(end=len(folded))
    kept: list[Term | Word] = []
    is_negated = False
    for clause, in_list in zip(clauses, _alternatives(clauses), strict=True):
        wishes, is_negated = _read_clause(folded, clause, is_negated=is_negated and in_list)
        kept += wishes
        is_negated = is_negated and clause.ends_with == "comma"
    return kept


def _alternatives(clauses: list[_Clause]) -> list[bool]:
    """For every clause, whether it belongs to a list that ends with "or", as in "no music, dance, or food"."""
    answers: list[bool] = []
    goes_on = False
    for clause in reversed(clauses):
        kinds = {mark.kind for mark in clause.marks}
        is_bare = "item" in kinds and not kinds & {"request", "negation", "post"} and len(clause.marks) <= _LIST_MARKS
        goes_on = is_bare and ("either" in kinds or (clause.ends_with == "comma" and goes_on))
        answers.append(goes_on)
    return answers[::-1]


def _grammar(folded: str, terms: list[Term]) -> list[_Mark]:
    """The grammatical marks outside the terms."""
    covered = bytearray(len(folded) + 1)
    for term in terms:
        covered[term.start : term.end] = b"\1" * (term.end - term.start)
    return [
        _Mark(match.start(), match.end(), match.lastgroup or "neutral")
        for match in _marks().finditer(folded)
        if not covered[match.start()]
    ]


def _read_clause(folded: str, clause: _Clause, *, is_negated: bool) -> tuple[list[Term | Word], bool]:
    """The wanted items of one clause, and whether it ends negated.

    A negation covers what follows it until a request, or until "and" with an article ("no music and a
    band"), unless what it negates has an article as well ("without a band and a singer"). At the end it
    covers what stands before."""
    wishes: list[_Mark] = []
    scope_start = 0  # where a negation at the end of the clause begins to count
    negation_end = 0
    had_request = negates_article = False
    for mark in clause.marks:
        if mark.kind == "item":
            if not is_negated:
                wishes.append(mark)
        elif mark.kind == "request":
            if is_negated and _BETWEEN.fullmatch(folded, negation_end, mark.start):
                negation_end = mark.end
                continue
            is_negated, had_request, scope_start = False, True, len(wishes)
        elif mark.kind == "both":
            if had_request:
                scope_start = len(wishes)
            if is_negated and not negates_article and _ARTICLE.match(folded, mark.end):
                is_negated = False
        elif mark.kind == "post" or (mark.kind == "negation" and _PARTICLES.fullmatch(folded, mark.end, clause.end)):
            del wishes[scope_start:]
            is_negated = False
        elif mark.kind == "negation":
            is_negated, negation_end = True, mark.end
            negates_article = bool(_ARTICLE.match(folded, mark.end))
    items = [mark.item for mark in wishes if mark.item and not (isinstance(mark.item, Term) and mark.item.concept is None)]
    return items, is_negated
