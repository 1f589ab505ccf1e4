"""How many people, how much money and when: what a demand in Chinese or English says in numbers.

`read_requirements` is pure, takes time in proportion to the text, and prefers silence: what is unclear,
absurd or already past is left out. Dates are read first, then the budget, then people, and what was read is
taken out of the text, so that no number counts twice. Every repetition in a pattern is bounded."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache

import msgspec

from server.surfaces.demands.understanding.words import fold, normalise

MAX_PEOPLE = 1_000_000
MAX_BUDGET = 1e12

_SATURDAY = 5


class Requirements(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a demand requires; None where it does not say. `budget` is for everything, `date` is YYYY-MM-DD."""

    people: int | None = None
    budget: float | None = None
    currency: str | None = None
    date: str | None = None


def read_requirements(text: str, today: date) -> Requirements:
    """The requirements that a text states. Never fails; `today` resolves "next Friday" and dates without a year."""
    text = normalise(text.replace("，", ", ").replace("：", ": "))
    folded = _BETWEEN.sub(r"\1  -  ", fold(text))
    day, folded = _read_date(text, folded, today)
    budget, currency, folded = _read_budget(folded)
    return Requirements(_read_people(folded), budget, currency, day.isoformat() if day else None)


def _blank(text: str, start: int, end: int) -> str:
    """The text with a span that nothing reads across."""
    return text[:start] + "\n" * (end - start) + text[end:]


# Numbers.

_HAN_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1_000, "万": 10_000, "亿": 100_000_000}
_HAN = "零〇一二两三四五六七八九十百千万亿"
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    *("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
_ENGLISH = {word: place if place <= 20 else (place - 18) * 10 for place, word in enumerate(_WORDS)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 1_000_000}
_FACTORS = {**_HAN_UNITS, **_SCALES, "k": 1_000, "w": 10_000}

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:\.[0-9]{1,6})?"
_FACTOR = r"(?:[kw](?![a-z])| ?[十百千万亿](?:[0-9]{1,4}[百千])?| (?:dozen|hundred|thousand|million)(?![a-z]))"
_WORD = "(?:" + "|".join([*sorted(_ENGLISH, key=len, reverse=True), *_SCALES]) + ")"
_SPELLED = rf"(?:(?:half )?an? {_WORD}|{_WORD})(?:(?: and |[ -]){_WORD}){{0,7}}(?![a-z])"
_NUMBER = rf"(?:{_DIGITS}{_FACTOR}?(?!:?[0-9]|\.[0-9]| ?[%十百千万亿])|[{_HAN}]{{1,15}}(?![{_HAN}几])|{_SPELLED})"
# A number does not begin inside another one, a word, a time, a fraction, a negative number or an ordinal.
_START = rf"(?<![0-9a-z.#%+\-{_HAN}几数第])(?<![0-9][:/,])(?<![0-9] )"
_RANGE = r" {0,2}(?:[-–—~到至]|to|or) {0,2}"
_BETWEEN = re.compile(r"(?<=between )([^\n]{1,24}?) and ")

_digits = re.compile(r"([0-9.]+) ?(.*)")


def _value(text: str | None) -> float | None:
    """The value of what `_NUMBER` found; None when it is not one number."""
    if not text:
        return None
    if not text[0].isdigit() or not text[0].isascii():
        return _han_value(text) if text[0] in _HAN else _english_value(text)
    match = _digits.fullmatch(text.replace(",", ""))
    if match is None:
        return None
    plain, factor = match.groups()
    _, _, decimals = plain.partition(".")
    if len(decimals) == 3 and not factor:
        return None  # 3.000 is three or three thousand
    value = float(plain)
    if factor:
        value *= _FACTORS[factor if factor.isascii() else factor[0]]
        if len(factor) > 1 and not factor.isascii():  # 3万5千
            value += float(factor[1:-1]) * _HAN_UNITS[factor[-1]]
    return value


def _han_value(text: str) -> float | None:
    """The value of Chinese numerals: 一万二 is 12,000, 三五 at most five, other digits side by side are no number."""
    total, section, digit, unit = 0, 0, None, 1
    for character in text:
        if character in "零〇":
            if digit is not None:
                return None
            unit = 1
        elif character in _HAN_DIGITS:
            if digit is not None and _HAN_DIGITS[character] - digit not in (1, 2):
                return None
            digit = _HAN_DIGITS[character]
        else:
            unit = _HAN_UNITS[character]
            if unit >= 10_000:
                total, section = (total + (section + (digit or 0) or 1)) * unit, 0
            else:
                section += (1 if digit is None else digit) * unit
            digit = None
            unit //= 10
    return float(total + section + (digit or 0) * unit) or None


def _english_value(text: str) -> float | None:
    """The value of number words, "two hundred and fifty"; None when they are several numbers."""
    total, current, is_half = 0, 0, False
    for word in re.split(r"[ -]", text):
        if word in _ENGLISH:
            value = _ENGLISH[word]
            if current % (100 if value >= 10 else 10) or (value < 10 and current % 100 == 10):
                return None
            current += value
        elif word in ("hundred", "dozen"):
            if current >= 100:
                return None
            current = (current or 1) * _SCALES[word]
        elif word in _SCALES:
            total, current = total + (current or 1) * _SCALES[word], 0
        else:
            is_half |= word == "half"
    return (total + current) / (2 if is_half else 1) or None


def _larger(match: re.Match[str]) -> float | None:
    """The larger end of a range, or the only number; None when one of them is none."""
    values = [_value(match[group]) for group in ("n", "m") if match[group]]
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _before(folded: str, position: int, characters: int = 24) -> str:
    return folded[max(0, position - characters) : position]


# Dates.

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)(?![a-z])\.?"
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = r"(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)(?![a-z])"
_YEAR = r"(?:19|20)[0-9]{2}"
_HAN_SMALL = "[0-9]{1,2}|[一二三四五六七八九十]{1,3}"

_ISO = re.compile(rf"(?<![0-9./-])(?P<y>{_YEAR})([-/.])(?P<m>[0-9]{{1,2}})\2(?P<d>[0-9]{{1,2}})(?![0-9])")
_ZH = re.compile(
    rf"(?:(?P<y>{_YEAR}) ?年 ?|(?P<next>明年) ?|今年 ?)?(?<![0-9一二三四五六七八九十])(?P<m>{_HAN_SMALL}) ?月 ?"
    rf"(?P<d>{_HAN_SMALL}) ?(?:日|号)"
)
_ZH_MONTH = re.compile(rf"(?P<next>下个?)?(?:本|这个)?月 ?(?P<d>{_HAN_SMALL}) ?(?:日|号)")
_EN = re.compile(
    rf"(?<![a-z])(?:(?P<name>{_MONTH}) ?(?:the )?(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![0-9a-z:])"
    rf"|(?<![0-9.:/-])(?P<d2>[0-9]{{1,2}})(?:st|nd|rd|th)? ?(?:of )?(?P<name2>{_MONTH}))(?:,? (?P<y>{_YEAR})(?![0-9]))?"
)
_WEEKDAY = re.compile(
    rf"(?<![a-z])(?:(?P<which>this|next|coming|last|every|each) )?(?:(?P<day>{_DAY})|(?P<weekend>weekend)(?![a-z]))"
    r"(?P<after> next week(?![a-z]))?"
)
_ZH_WEEKDAY = re.compile(
    r"(?P<which>下下个?|下个?|上个?|本|这个?|每个?)?(?:(?:周|星期|礼拜)(?P<day>[一二三四五六日天])|周(?P<weekend>末))"
)
_NEAR = re.compile(
    r"(?P<three>大后天)|(?P<two>后天|the day after tomorrow|day after tomorrow)"
    r"|(?P<one>明天|明晚|明早|(?<![a-z])tomorrow(?![a-z]))|(?P<zero>今天|今晚|(?<![a-z])(?:today|tonight)(?![a-z]))"
)
_NOT = re.compile(r"(?:not|except|avoid|instead of|除了?|不要|不是|不在|不行|避开)(?: (?:on|for|next|this))? ?$")


def _read_date(text: str, folded: str, today: date) -> tuple[date | None, str]:
    """The date that a text names, and the text without any dates. Dates come before weekdays, weekdays before tomorrow."""
    found: date | None = None
    spans: list[tuple[int, int]] = []
    for reading in (_calendar_dates, _weekdays, _near_days):
        for span, day in reading(text, folded, today):
            spans.append(span)
            if found is None and day is not None and not _NOT.search(_before(folded, span[0], 12)):
                found = day
    characters = list(folded)
    for start, end in spans:
        characters[start:end] = "\n" * (end - start)
    return found, "".join(characters)


_Found = tuple[tuple[int, int], date | None]


def _calendar_dates(text: str, folded: str, today: date) -> Iterator[_Found]:
    """Dates with a month, by their place in the text."""
    found: list[_Found] = [
        (match.span(), _on(today, int(match["m"]), int(match["d"]), int(match["y"]))) for match in _ISO.finditer(folded)
    ]
    for match in _ZH.finditer(folded):
        year = int(match["y"]) if match["y"] else today.year + 1 if match["next"] else None
        found.append((match.span(), _on(today, _small(match["m"]), _small(match["d"]), year)))
    for match in _ZH_MONTH.finditer(folded):
        if match[0][0] == "月":
            continue
        month = today.month % 12 + 1 if match["next"] else today.month
        year = today.year + (month < today.month)
        found.append((match.span(), _on(today, month, _small(match["d"]), year)))
    for match in _EN.finditer(folded):
        name = match["name"] or match["name2"]
        if name in ("may", "mar", "march") and text[match.start("name" if match["name"] else "name2")].islower():
            continue  # "we may 5", "march 5 km"
        month = _MONTHS.index(name[:3]) + 1
        found.append((match.span(), _on(today, month, int(match["d"] or match["d2"]), int(match["y"]) if match["y"] else None)))
    yield from sorted(found, key=lambda item: item[0])


def _small(text: str) -> int:
    return int(_value(text) or 0)


def _on(today: date, month: int, day: int, year: int | None) -> date | None:
    """A day of the calendar, the next one when no year is named; None when there is none or it is past."""
    years = (year,) if year is not None else range(today.year, today.year + 5)  # five for 29 February
    for each in years:
        try:
            named = date(each, month, day)
        except ValueError:
            continue
        if named >= today:
            return named
    return None


def _weekdays(text: str, folded: str, today: date) -> Iterator[_Found]:
    found: list[_Found] = []
    for match in _WEEKDAY.finditer(folded):
        name = match["day"]
        if name and len(name) <= 5 and text[match.start("day")].islower():
            continue  # "sat down in the sun"
        weekday = _DAYS.index(name[:3]) if name else _SATURDAY
        which = "next" if match["after"] else match["which"]
        found.append((match.span(), _weekday(today, weekday, which or "", is_weekend=not name)))
    for match in _ZH_WEEKDAY.finditer(folded):
        weekday = min("一二三四五六日天".index(match["day"]), 6) if match["day"] else _SATURDAY
        found.append((match.span(), _weekday(today, weekday, match["which"] or "", is_weekend=not match["day"])))
    yield from sorted(found, key=lambda item: item[0])


def _weekday(today: date, weekday: int, which: str, *, is_weekend: bool) -> date | None:
    """A day of this week, of the next one (weeks begin on Monday), or the next one strictly after today."""
    if which in ("every", "each", "last") or which.startswith(("每", "上")):
        return None
    days = weekday - today.weekday()  # in this week
    if which == "next" or which.startswith("下"):
        days += 14 if which.startswith("下下") else 7
    elif is_weekend and today.weekday() > _SATURDAY:
        days = 0  # it is Sunday: the weekend is on
    elif which in ("this", "coming") or which.startswith(("本", "这")) or is_weekend:
        days += 7 if days < 0 else 0
    else:
        days += 7 if days <= 0 else 0
    return _later(today, days)


def _near_days(text: str, folded: str, today: date) -> Iterator[_Found]:
    """Tomorrow and the like; today comes last, because it often dates the demand itself."""
    days = {"three": 3, "two": 2, "one": 1, "zero": 0}
    found = [(match.span(), days[match.lastgroup or "zero"]) for match in _NEAR.finditer(folded)]
    for span, ahead in sorted(found, key=lambda item: not item[1]):
        yield span, _later(today, ahead)


def _later(today: date, days: int) -> date | None:
    try:
        return today + timedelta(days=days)
    except OverflowError:
        return None


# Money.

# Currencies that are known, and those that would be taken for another one.
_CURRENCIES = {
    "USD": r"us\$|us dollars?|usd|dollars?|bucks|\$|美元|美金|美刀",
    "EUR": r"eur|euros?|€|欧元",
    "GBP": r"gbp|pounds?(?: sterling)?|quid|£|英镑",
    "JPY": r"jpy|yen|円|日元|日币",
    "CNY": r"cny|rmb|yuan|¥|人民币|元(?![旦素宵首])|圆|圓|块(?:钱|(?=[\s,.;!?。、;以内左每的]|$))",
}
_OTHERS = (
    r"(?:hk|nt|au?|ca?|s|nz|r)\$|hkd|twd|aud|cad|sgd|krw|inr|chf|[₹₩₽฿]|[港澳台加新韩卢泰]元|港币|台币|加币|韩币|泰铢|卢布|法郎"
)
_MONEY_BEFORE = r"us\$|\$|€|£|¥|(?:rmb|cny|usd|eur|gbp|jpy)(?![a-z])|人民币|美元|欧元|英镑|日元"
_AFTER = "(?:" + "|".join(f"(?:{pattern})" for pattern in _CURRENCIES.values()) + ")(?![a-z])"
_MONEY = (
    rf"(?:(?<![a-z-])(?P<before>(?:{_OTHERS}|{_MONEY_BEFORE})) ?(?=[0-9])|{_START}(?<![$€£¥]))(?P<n>{_NUMBER})"
    rf"(?:(?: ?{_AFTER})?{_RANGE}(?:(?:{_MONEY_BEFORE}) ?)?(?P<m>{_NUMBER}))?"
    rf"(?: ?(?:(?P<other>{_OTHERS})|(?P<after>{_AFTER})))?"
)
_FILLER = (
    r"(?: ?(?:of|is|are|around|about|roughly|approximately|up to|at most|max(?:imum)?|under|below|within|total|the|we have"
    r"|[:=~,]|方面|我们|差不多|大约|大概|约|在|为|是|有|只有|总共|共|不超过|控制在|最多|上限|总额|额度|金额))"
)
_BUDGET = r"(?:budget(?: for (?:the|this|our|my|all) ?[a-z]{0,16})?|预算|经费)"
_UPPER = (
    r"(?<![a-z])(?:under|below|up to|at most|no more than|not more than|less than|within|max(?:imum)?(?: of)?|不超过|不高于"
    r"|不多于|低于|少于|最多|控制在)"
)
# What a number is followed by when it counts something else than money.
_COUNTS = (
    r"(?!-[a-z]| ?(?:个|人|位|名|份|桌|分|小时|天|周|月|年|点|号|米|平|公里|次|场|岁|people|persons?|guests|attendees"
    r"|participants|seats|hours?|minutes?|mins?|days?|weeks?|months?|years?|km|kg|m|miles?|sqm|am|pm|words|pages|copies)(?![a-z]))"
)
_FOLLOWED = (
    r"(?= ?(?:$|[;!?)\n。、]|[.,](?![0-9])|(?:on|in|at|with|and|or|for|next|this|near|by|from|to|please|total|all|max|left"
    r"|in total|的|左右|以内|以下|之内|上下)(?![a-z])))"
)


@cache
def _money() -> tuple[re.Pattern[str], ...]:
    """The patterns of a budget, the surest first."""
    return (
        re.compile(rf"{_BUDGET}{_FILLER}{{0,5}} ?{_MONEY}{_COUNTS}"),
        re.compile(rf"{_MONEY} ?(?:的|total )?{_BUDGET}"),
        re.compile(rf"{_UPPER} ?{_MONEY}{_COUNTS}{_FOLLOWED}"),
        re.compile(rf"{_MONEY} ?(?:以内|以下|之内|封顶)"),
        re.compile(rf"{_MONEY}{_COUNTS}"),
    )


_UNIT_BEFORE = re.compile(
    r"(?:每|人均|单价|per |each )(?:个|位|人|桌|小时|天|场|次|person|head|guest)?(?:人|的)? ?(?:预算|费用|budget)?"
    r" ?(?:大约|约|是|为|of|is|[:,])? ?$"
)
_UNIT_AFTER = re.compile(
    r" ?(?:/|每|一(?:个?人|位|桌|小时|天|次|场)|per |each(?![a-z])|apiece|a (?:head|person|day)|an hour|p\.?p\b)"
)
_HAS_FACTOR = re.compile(r"[0-9.] ?(?:[kw]|[千万亿])|万|million")
_ENDS = re.compile(_FOLLOWED)
_SMALLEST_BARE = 100  # "under 50" may be anything


def _read_budget(folded: str) -> tuple[float | None, str | None, str]:
    """The budget for everything, its currency, and the text without it. A price for each is no budget."""
    for place, pattern in enumerate(_money()):
        for match in pattern.finditer(folded):
            start, end = match.start("before") if match["before"] else match.start("n"), match.end()
            if match["other"] or re.match(_OTHERS, match["before"] or ""):
                continue
            named = match["before"] or match["after"]
            is_money = named is not None or bool(_HAS_FACTOR.search(match[0]))
            value = _larger(match)
            if value is None or not 0 < value <= MAX_BUDGET:
                continue
            if place in (2, 3) and not is_money and value < _SMALLEST_BARE:
                continue
            if place == 4 and named is None and not (is_money and _ENDS.match(folded, end)):
                continue
            if _UNIT_BEFORE.search(_before(folded, start)) or _UNIT_AFTER.match(folded, end):
                continue
            return value, _currency(named), _blank(folded, start, end)
    return None, None, folded


def _currency(named: str | None) -> str | None:
    if named is None:
        return None
    return next((code for code, pattern in _CURRENCIES.items() if re.match(pattern, named)), None)


# People.

_PEOPLE_ZH = (
    r"(?:人(?![民均间工才物像偶机行脸事员力体])|来宾|宾客|客人|嘉宾人数|观众|听众|参会者|与会者|参加者|学员|学生|同学|同事"
    r"|员工|小朋友|孩子|大人)"
)
_PEOPLE_EN = (
    r"(?:people|persons|guests|attendees|participants|visitors|pax|heads|students|pupils|employees|colleagues|coworkers"
    r"|kids|children|adults|friends|delegates|members|seats|spectators|listeners|of us)(?![a-z'])"
)
_KIND_EN = (
    r"(?!for |of |in |to |at |and |or |per |by |on |with |hours? |days? |weeks? |minutes? |dollars? |euros? )[a-z]{2,12} "
)
_ABOUT = r"(?:(?:about|around|roughly|approximately|approx\.?|up to|some|maybe|max\.?|maximum) )?"
_THING = (
    r"(?:venue|room|hall|space|place|lunch|dinner|breakfast|brunch|buffet|catering|food|meals?|party|wedding|conference|meetup"
    r"|workshop|event|meeting|table|tables|seats|seating|drinks|snacks|celebration)"
)


_NO_TIME = r"(?! ?(?:minutes?|mins?|hours?|days?|weeks?|months?|dollars?|euros?|%)(?![a-z]))"
_SPAN = rf"{_START}(?<![$€£¥])(?P<n>{_NUMBER})(?:\+|多|余)?(?:个?人)?(?:{_RANGE}(?P<m>{_NUMBER}))?(?:\+|多|余)?"


@cache
def _people() -> tuple[tuple[re.Pattern[str], ...], ...]:
    """The patterns of a number of people: first with a word for people, then without."""
    for_what = rf"(?<![a-z])(?:(?:party|group|audience|crowd|class|team|gathering) of|{_THING} for)"
    opening = r"(?:(?:^|[,.;:!?(\n]) ?|(?<![a-z])(?:for|with|of|expect|expecting|invite|inviting|are|attendance) )"
    return (
        (
            re.compile(rf"{_SPAN} ?(?:个|位|名)?(?:左右)? ?{_PEOPLE_ZH}"),
            re.compile(
                rf"{_SPAN}(?: or so)?(?: (?:{_KIND_EN})?{_PEOPLE_EN}|-(?:person|people|seat|guest)(?![a-z])| person(?![a-z]))"
            ),
        ),
        (
            re.compile(rf"人数(?: ?(?:大约|大概|约|为|是|在|有|[:,])){{0,4}} ?{_SPAN}"),
            re.compile(rf"{for_what} {_ABOUT}{_SPAN}{_FOLLOWED}"),
            re.compile(rf"{opening}(?:about|around|roughly|approximately) {_SPAN}{_NO_TIME}{_FOLLOWED}"),
        ),
    )


_STAFF = re.compile(r"(?:找|招|招聘|雇|派|聘|hire|recruit|find|looking for)(?:来|了|到)? ?$")
_NOT_PEOPLE = re.compile(
    r"(?:room|suite|hall|floor|level|no\.?|number|gate|platform|building|unit|flat|apartment|bus|line|route|flight|section"
    r"|chapter|page|version|per|each|every|not|每|不是|第)(?: ?#)? ?$"
)
_WORK = re.compile(
    r"(?:来|去)?(?:帮|搬|干|打扫|值班)| (?:to|who can|that can) (?:help|carry|work|serve|assist|clean|lift|set up)(?![a-z])"
)
_IN_YEAR = re.compile(r"(?<![a-z])(?:in|since|until|by|year|early|late|mid) ?$")
_AT = re.compile(r"(?<![a-z])at ?$")
_FOR = re.compile(r"(?<![a-z])for (?:about |around |up to )?$")


def _read_people(folded: str) -> int | None:
    """How many people come: the first number that is "for" them, else the first one."""
    for patterns in _people():
        found = sorted(
            (match for pattern in patterns for match in pattern.finditer(folded)), key=lambda match: match.start("n")
        )
        counted = [(match, people) for match in found if (people := _people_of(folded, match)) is not None]
        if counted:
            return next((people for match, people in counted if _FOR.search(_before(folded, match.start("n")))), counted[0][1])
    return None


def _people_of(folded: str, match: re.Match[str]) -> int | None:
    """The number of people of a match; None when it counts something else."""
    value = _larger(match)
    if value is None or value != int(value) or not 1 <= value <= MAX_PEOPLE:
        return None
    before = _before(folded, match.start("n"))
    if _NOT_PEOPLE.search(before) or _WORK.match(folded, match.end()):
        return None
    if _STAFF.search(before) and not folded.startswith("的", match.end()):
        return None
    if 1_900 <= value <= 2_100 and match["n"].isdigit() and _IN_YEAR.search(before):
        return None
    if value <= 24 and _AT.search(before):
        return None
    is_for = _FOR.search(before) is not None
    return None if value == 1 and not (is_for or match["n"] == "1") else int(value)
