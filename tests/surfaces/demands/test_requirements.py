"""People, money and dates in a demand: what is read, what is left out, and that nothing takes long."""

from datetime import date

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.surfaces.demands.understanding.requirements import MAX_BUDGET, MAX_PEOPLE, Requirements, read_requirements
from tests.support import assert_linear

TODAY = date(2026, 11, 18)  # a Wednesday


def read(text, today=TODAY):
    """What is read, without what is absent."""
    return msgspec.to_builtins(read_requirements(text, today))


def table(**cases):
    """Parameters (text, expected) with the text as id."""
    return [
        pytest.param(text, expected, id=f"{kind}: {text}") for kind, rows in cases.items() for text, expected in rows.items()
    ]


class TestPeople:
    """How many come."""

    @pytest.mark.parametrize(
        ("text", "people"),
        table(
            realistic={
                "a dinner for 80 people": 80,
                "年会80人": 80,
                "八十人的聚餐": 80,
                "thirty guests": 30,
                "30-40 people": 40,
                "30 to 40 people": 40,
                "between 30 and 40 people": 40,
                "80到100人": 100,
                "80人到100人": 100,
                "a meetup, about 30": 30,
                "lunch for about 30, vegan": 30,
                "a 40-person workshop": 40,
                "a 120-seat hall": 120,
                "50 人的技术分享会": 50,
                "人数：80": 80,
                "参会人数大约为120": 120,
                "一百二十位来宾": 120,
                "两百多人": 200,
                "80+ attendees": 80,
                "80余人": 80,
                "1,200 participants": 1200,
                "2k attendees": 2000,
                "1.5万人": 15_000,
                "3千5百人": 3500,
                "一万二千人": 12_000,
                "two hundred and fifty guests": 250,
                "twenty-five kids": 25,
                "a hundred people": 100,
                "a dozen friends": 12,
                "half a dozen friends": 6,
                "three thousand visitors": 3000,
                "80 invited guests": 80,
                "there will be 12 of us": 12,
                "an audience of 200": 200,
                "a party of about 12": 12,
                "dinner for 12 on Friday": 12,
                "a venue for 45.": 45,
                "no more than 80 people": 80,
                "不超过80人": 80,
                "找50人的场地": 50,
                "make it 80 people": 80,
                "８０人": 80,
                "三四十人": 40,
                "二十五個人": 25,
            },
            edge={
                "1 person": 1,
                "for one person": 1,
                "1,000,000 people": 1_000_000,
                "our company of 2000 employees wants a room for 12 people": 12,
                "30 people, 5 of us vegan": 30,
                "80人，预算5000，800元订金": 80,
                "预算5000,800人": 800,
                "2000人": 2000,
                "for 2000 people": 2000,
                "at least 80 people": 80,
                "on 5 December 60 guests": 60,
            },
            malformed={
                "0人": None,
                "0 people": None,
                "zero guests": None,
                "-5 people": None,
                "1,000,001 people": None,
                "2.5 people": None,
                "30.5人": None,
                "9" * 40 + "人": None,
                "二〇二六人": None,
                "twenty thirty people": None,
                "five ten people": None,
                "一千亿人": None,
            },
            something_else={
                "in 2026 people meet online": None,
                "room 301 people": None,
                "in suite 12 guests may rest": None,
                "call 138 0013 8000 people": None,
                "call 13800138000": None,
                "3D printing": None,
                "3d打印": None,
                "open 24 hours": None,
                "for 30 minutes": None,
                "about 30 minutes": None,
                "a budget of about 3000": None,
                "$80 people": None,
                "50% people": None,
                "5-7-2030 people": None,
                "at 7 people arrive": None,
                "7:30 guests arrive": None,
                "1/20 people": None,
                "500人民币": None,
                "一位讲人工智能的嘉宾": None,
                "找两个人帮忙搬家": None,
                "两个人帮忙": None,
                "we hire 3 people": None,
                "two people to help us move": None,
                "三人间": None,
                "50 guest rooms": None,
                "three guest speakers": None,
                "one waiter per 10 people": None,
                "每10人一桌": None,
                "第80人": None,
                "几十人": None,
                "数百人": None,
                "十几人": None,
                "一个人": None,
                "not 80 people": None,
                "the building for 3 companies": None,
                "someone people like": None,
                "b80人": None,
            },
        ),
    )
    def test_the_number_of_people_is_read_and_other_numbers_are_not(self, text, people):
        """The larger end of a range; nothing where it is unclear."""
        assert read(text).get("people") == people


class TestBudget:
    """How much there is to spend."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        table(
            realistic={
                "budget 5000": (5000, None),
                "Budget: 5,000 USD": (5000, "USD"),
                "under $5,000": (5000, "USD"),
                "my budget is about 3k": (3000, None),
                "budget for the event is 1.5k": (1500, None),
                "5k": (5000, None),
                "a 5k budget": (5000, None),
                "预算5000元": (5000, "CNY"),
                "5000元预算": (5000, "CNY"),
                "预算三万元": (30_000, "CNY"),
                "预算大约在三万左右": (30_000, None),
                "预算：八千": (8000, None),
                "一万元以内": (10_000, "CNY"),
                "5000以内": (5000, None),
                "不超过一万": (10_000, None),
                "一万二以内": (12_000, None),
                "¥3000": (3000, "CNY"),
                "￥３０００": (3000, "CNY"),
                "3万": (30_000, None),
                "3万5千元": (35_000, "CNY"),
                "预算3w": (30_000, None),
                "3000块钱": (3000, "CNY"),
                "500块左右": (500, "CNY"),
                "500人民币": (500, "CNY"),
                "人民币 500": (500, "CNY"),
                "rmb 3000": (3000, "CNY"),
                "3000 yuan": (3000, "CNY"),
                "500美元": (500, "USD"),
                "US$500": (500, "USD"),
                "1,250.50 dollars": (1250.5, "USD"),
                "5000$": (5000, "USD"),
                "€300-400": (400, "EUR"),
                "300 euros": (300, "EUR"),
                "£250": (250, "GBP"),
                "two hundred pounds": (200, "GBP"),
                "5万日元": (50_000, "JPY"),
                "5000円": (5000, "JPY"),
                "between $3,000 and $5,000": (5000, "USD"),
                "3000元到5000元": (5000, "CNY"),
                "预算3-5万": (50_000, None),
                "at most 3000 please": (3000, None),
                "half a million dollars": (500_000, "USD"),
                "budget of 2 thousand": (2000, None),
            },
            edge={
                "tickets at $20, budget $5000": (5000, "USD"),
                "budget 5000 for 80 people": (5000, None),
                "budget 5000 and 30 people": (5000, None),
                "budget 1,000,000,000,000": (1e12, None),
                "$0.5": (0.5, "USD"),
                "within 100": (100, None),
                "3月5日 3000元": (3000, "CNY"),
            },
            malformed={
                "budget 0": None,
                "budget -500": None,
                "-$500": None,
                "budget 1,000,000,000,001": None,
                "budget " + "9" * 400: None,
                "$" + "9" * 30: None,
                "budget 3.000": None,
                "budget twenty thirty": None,
                "预算二三〇元": None,
                "预算1万5": None,
                "budget": None,
            },
            something_else={
                "$50 per person": None,
                "budget $50 per person": None,
                "a per person budget of $50": None,
                "人均200元": None,
                "每人100元": None,
                "人均预算200元": None,
                "100元/人": None,
                "200元一位": None,
                "5000港元": None,
                "HK$500": None,
                "预算5000港币": None,
                "under 50": None,
                "within 500 m": None,
                "within 500 metres": None,
                "under 300 people": None,
                "不超过300人": None,
                "in under 300 minutes": None,
                "最多100人": None,
                "预算80人": None,
                "a 5k run": None,
                "5kg": None,
                "3万人": None,
                "12元旦": None,
                "3块屏幕": None,
                "2026": None,
                "call 13800138000": None,
                "100%": None,
                "3D": None,
            },
        ),
    )
    def test_a_budget_is_read_with_its_currency_and_other_amounts_are_not(self, text, expected):
        """For everything together; a price for each person is none."""
        found = read(text)
        assert (found.get("budget"), found.get("currency")) == (expected or (None, None))


class TestDate:
    """When."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        table(
            realistic={
                "on 2026-12-05": "2026-12-05",
                "2026/12/5": "2026-12-05",
                "2026年12月5日": "2026-12-05",
                "12月5日": "2026-12-05",
                "12 月 5 号": "2026-12-05",
                "十二月五日": "2026-12-05",
                "明年3月5日": "2027-03-05",
                "今年12月5日": "2026-12-05",
                "下个月5号": "2026-12-05",
                "本月20日": "2026-11-20",
                "Dec 5": "2026-12-05",
                "december 5th, 2026": "2026-12-05",
                "5 December": "2026-12-05",
                "the 5th of December": "2026-12-05",
                "Sept. 3": "2027-09-03",
                "May 5": "2027-05-05",
                "Saturday": "2026-11-21",
                "on Sat, please": "2026-11-21",
                "next Saturday": "2026-11-28",
                "Saturday next week": "2026-11-28",
                "this Saturday": "2026-11-21",
                "this weekend": "2026-11-21",
                "周末": "2026-11-21",
                "next weekend": "2026-11-28",
                "tomorrow": "2026-11-19",
                "the day after tomorrow": "2026-11-20",
                "tonight": "2026-11-18",
                "周六": "2026-11-21",
                "星期日": "2026-11-22",
                "禮拜天": "2026-11-22",
                "下周六": "2026-11-28",
                "下下周一": "2026-11-30",
                "这周五": "2026-11-20",
                "下周末": "2026-11-28",
                "明天": "2026-11-19",
                "后天": "2026-11-20",
                "大后天": "2026-11-21",
                "１２月５日": "2026-12-05",
            },
            edge={
                "Wednesday": "2026-11-25",
                "周三": "2026-11-25",
                "this Wednesday": "2026-11-18",
                "本周一": "2026-11-23",
                "11月18日": "2026-11-18",
                "11月17日": "2027-11-17",
                "February 29": "2028-02-29",
                "2028-02-29": "2028-02-29",
                "Saturday 5 December": "2026-12-05",
                "今天想问一下，明天要摄影师": "2026-11-19",
                "tomorrow or Saturday": "2026-11-21",
                "not on Saturday but Sunday": "2026-11-22",
                "不要周六，周日可以": "2026-11-22",
                "12月5日或12月6日": "2026-12-05",
            },
            malformed={
                "2026-02-30": None,
                "2026-13-01": None,
                "13月5日": None,
                "12月32日": None,
                "2月30日": None,
                "Dec 0": None,
                "Dec 45": None,
                "2020-01-01": None,
                "1999年12月5日": None,
                "2026-12-051": None,
                "12026-12-05": None,
            },
            something_else={
                "every Saturday": None,
                "Saturdays": None,
                "每周六": None,
                "上周六": None,
                "last Friday": None,
                "we may 5 at most": None,
                "march 5 km": None,
                "sat in the sun": None,
                "12/5": None,
                "5号会议室": None,
                "Dec 2026": None,
                "version 3.10.2026.1": None,
                "saturdaynight": None,
                "周年庆": None,
                "一周": None,
            },
        ),
    )
    def test_a_date_is_read_and_what_only_looks_like_one_is_not(self, text, expected):
        """As YYYY-MM-DD, never in the past."""
        assert read(text).get("date") == expected

    @pytest.mark.parametrize("today", [date(2026, 11, day) for day in range(16, 23)])
    def test_a_bare_weekday_is_the_next_one_strictly_after_today(self, today):
        """On every day of the week; "next" and 下 mean the week after this one, which begins on Monday."""
        week = today.isocalendar()[:2]
        names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
        for number, (english, chinese) in enumerate(zip(names, "一二三四五六日", strict=True), 1):
            bare, following = (date.fromisoformat(read(text, today)["date"]) for text in (english, f"next {english}"))
            assert bare.isoweekday() == following.isoweekday() == number
            assert 1 <= (bare - today).days <= 7
            assert following.isocalendar()[:2] == (week[0], week[1] + 1)
            assert read(f"周{chinese}", today) == {"date": bare.isoformat()}
            assert read(f"下周{chinese}", today) == {"date": following.isoformat()}

    def test_this_weekend_on_a_sunday_is_today(self):
        """It is still on."""
        assert read("this weekend", date(2026, 11, 22)) == {"date": "2026-11-22"}
        assert read("周末", date(2026, 11, 21)) == {"date": "2026-11-21"}

    def test_a_month_without_a_year_at_the_end_of_the_year_is_the_next_ones(self):
        """Also 下个月 in December."""
        assert read("1月3日", date(2026, 12, 30)) == {"date": "2027-01-03"}
        assert read("下个月3号", date(2026, 12, 30)) == {"date": "2027-01-03"}

    def test_the_end_of_the_calendar_is_no_error(self):
        """A date that cannot be counted is left out."""
        for text in ("tomorrow", "next Monday", "Dec 5", "明年3月5日", "下个月5号"):
            assert read(text, date.max) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("下周六想在北京办一场 50 人的技术分享会，需要场地、投影和一位讲人工智能的嘉宾", {"people": 50, "date": "2026-11-28"}),
        pytest.param("公司年会需要活动策划和摄影，预算三万元，地点在上海", {"budget": 30_000.0, "currency": "CNY"}, id="party"),
        pytest.param(
            "I need a venue for a 40-person workshop next Friday, with catering and a speaker on databases",
            {"people": 40, "date": "2026-11-27"},
            id="workshop",
        ),
        pytest.param(
            "Wedding on 5 Dec 2026 for about 120 guests in Room 301, under €15,000, call 0049 170 1234567 after 7pm",
            {"people": 120, "budget": 15_000.0, "currency": "EUR", "date": "2026-12-05"},
            id="everything at once",
        ),
        pytest.param(
            "12月5日（周六）14:00，3号楼301室，80人，预算5万元，联系电话13800138000",
            {"people": 80, "budget": 50_000.0, "currency": "CNY", "date": "2026-12-05"},
            id="everything at once in Chinese",
        ),
        pytest.param("Looking for someone to translate our product site", {}, id="nothing"),
        pytest.param("", {}, id="empty"),
        pytest.param("🎉\ud800\x00", {}, id="odd characters"),
    ],
)
def test_a_whole_demand_is_read(text, expected):
    """Each number counts once."""
    assert read(text) == expected


PIECES = (
    "80|0|-5|3.5|1,000|9999999999999999|八十|万|thirty|half a|people|人|budget|预算|$|元|¥|k|under|以内|Saturday|下周|周六|12月"
    "|5日|Dec |5|-|to|到|for|about|per|每|每人|2026-12-05|next |not |, |，| |.|\n|:|%|：|人数|０|②|½|\ud800|İ|大后天|明年|月"
)


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES.split("|")), max_size=14).map("".join), st.dates())
@example("明年2月29日", date(9998, 12, 31))
@example("half a hundred people", TODAY)
def test_any_text_is_read_within_the_bounds(text, today):
    """Never fails; what is there is possible, and the same again."""
    found = read_requirements(text, today)
    assert found.people is None or 1 <= found.people <= MAX_PEOPLE
    assert isinstance(found.people, int | None)
    assert found.budget is None or 0 < found.budget <= MAX_BUDGET
    assert found.currency in (None, "CNY", "USD", "EUR", "GBP", "JPY")
    assert found.currency is None or found.budget is not None
    assert found.date is None or date.fromisoformat(found.date) >= today
    assert read_requirements(text, today) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=Requirements) == found


HOSTILE = (
    "9|1,000,|1.1.|一|百|3千|one |one and |half |budget |预算大约|budget for the |between |between 5 and |$1|¥1 每人|1 人|1-"
    "|12月|dec |dec 5 |next |sat |下|每周六|not on Saturday |人数:|party for |for about |at most |$5 per person |5000元每人"
    "|3万人 |two people to help |per 10 people |room 5 people |5k |1，000，| |\n|\u3000|2026-|İ|🎉"
)


@pytest.mark.parametrize("unit", HOSTILE.split("|"))
def test_hostile_text_is_read_in_linear_work(unit):
    """Four times the text takes about four times the steps."""
    assert_linear(lambda text: read_requirements(text, TODAY), unit)


@pytest.mark.parametrize("unit", HOSTILE.split("|"))
def test_the_longest_hostile_text_is_read(unit):
    """10,000 characters of anything come to an end, also inside regular expressions, where steps cannot be counted."""
    assert read_requirements((unit * 10_000)[:10_000], TODAY) is not None
