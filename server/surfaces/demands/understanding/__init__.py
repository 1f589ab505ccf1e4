"""The rule-based reader: what a demand asks for, in Chinese and English, and checks of what a model answers about it.

Pure. Everything outside takes the names of this module; `reader.py` is the place to begin."""

from server.surfaces.demands.understanding.lexicon import CONCEPTS
from server.surfaces.demands.understanding.llm_answers import (
    Unusable,
    check_numbers,
    merged_requirements,
    merged_understanding,
    parse_reading,
    plain_text,
)
from server.surfaces.demands.understanding.reader import Language, Understanding, plain_words, understand
from server.surfaces.demands.understanding.requirements import MAX_BUDGET, MAX_PEOPLE, Requirements, read_requirements
from server.surfaces.demands.understanding.words import IS_HAN, find_terms, find_words, fold, normalise

__all__ = [
    "CONCEPTS",
    "IS_HAN",
    "MAX_BUDGET",
    "MAX_PEOPLE",
    "Language",
    "Requirements",
    "Understanding",
    "Unusable",
    "check_numbers",
    "find_terms",
    "find_words",
    "fold",
    "merged_requirements",
    "merged_understanding",
    "normalise",
    "parse_reading",
    "plain_text",
    "plain_words",
    "read_requirements",
    "understand",
]
