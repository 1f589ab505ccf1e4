"""The local reader: which capabilities a text asks for, in which language, how sure, and in which words."""

import pytest

from server.surfaces.demands.understanding import lexicon
from server.surfaces.demands.understanding.reader import plain_words, understand
from server.surfaces.demands.understanding.words import find_terms, fold, normalise
from tests.support import assert_linear


def wanted(text):
    """The canonical capabilities of a text."""
    return [capability for capability, _ in understand(text).capabilities]


class TestCapabilities:
    """Which capabilities are asked for."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "需要场地、技术分享嘉宾和活动策划",
                [("venue", "场地"), ("technical_talk", "技术分享嘉宾"), ("event_planning", "活动策划")],
            ),
            pytest.param(
                "find me a venue, a speaker and a photographer for Saturday",
                [("venue", "venue"), ("speaker", "speaker"), ("photography", "photographer")],
                id="English list",
            ),
            pytest.param("需要一个 speaker 和 venue，周六", [("speaker", "speaker"), ("venue", "venue")], id="both languages"),
            pytest.param("请DJ和MC来暖场", [("music", "DJ"), ("host_mc", "MC")], id="Latin words inside Chinese"),
            pytest.param("Ｖｅｎｕｅ　ａｎｄ 摄影！", [("venue", "Venue"), ("photography", "摄影")], id="full width"),
            pytest.param("需要場地和攝影師", [("venue", "場地"), ("photography", "攝影師")], id="traditional"),
            pytest.param("PHOTOGRAPHERS wanted", [("photography", "PHOTOGRAPHERS")], id="case and plural"),
            pytest.param("someone translated it", [("translation", "translated")], id="past form"),
            pytest.param("who can bake?", [("baking", "bake")], id="verb"),
            pytest.param("a photographer's price", [("photography", "photographer's")], id="possessive"),
            pytest.param("we need a host", [("host_mc", "host")], id="article is not shown"),
            pytest.param("技术分享", [("technical_talk", "技术分享")], id="longest: not just sharing"),
            pytest.param("婚礼主持", [("host_mc", "婚礼主持")], id="longest Chinese"),
            pytest.param("video-editing please", [("videography", "video-editing")], id="hyphen"),
            pytest.param("app开发，3D打印", [("web_development", "app开发"), ("prototyping", "3D打印")], id="mixed terms"),
            pytest.param("场\u200b地", [("venue", "场地")], id="invisible character inside"),
            pytest.param("场地 venue 会议室", [("venue", "场地")], id="once, as first said"),
            pytest.param("a café chef", [("catering", "chef")], id="accents"),
        ],
    )
    def test_a_capability_is_found_with_the_term_as_it_was_said(self, text, expected):
        """Canonical name and term, by first mention."""
        assert list(understand(text).capabilities) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("I care about my scarf", [], id="no car in care or scarf"),
            pytest.param("carpet, busy, vetting, printed-circuit: hostel", ["printing", "accommodation"], id="whole words"),
            pytest.param("a bluetooth speaker", [], id="a speaker that does not speak"),
            pytest.param("买个保险柜", [], id="a safe is no insurance"),
            pytest.param("of course", [], id="of course is no course"),
            pytest.param("syntax", [], id="no tax in syntax"),
            pytest.param("场  地", [], id="a blank separates"),
            pytest.param("xapp开发", [], id="a Latin word is not cut"),
        ],
    )
    def test_what_only_looks_like_a_term_is_not_one(self, text, expected):
        """Words are whole, and longer expressions hide shorter ones."""
        assert wanted(text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("需要场地，不需要摄影", ["venue"], id="zh plain"),
            pytest.param("不需要摄影和餐饮，只要场地", ["venue"], id="zh list"),
            pytest.param("不需要摄影、餐饮或音乐；需要场地", ["venue"], id="zh enumeration"),
            pytest.param("摄影不需要，餐饮需要", ["catering"], id="zh negation after"),
            pytest.param("场地、餐饮都不用了，需要翻译", ["translation"], id="zh list before"),
            pytest.param("需要场地但不需要餐饮", ["venue"], id="zh contrast"),
            pytest.param("场地已经订好了，需要摄影师", ["photography"], id="zh already there"),
            pytest.param("我们已经有场地，还需要主持人", ["host_mc"], id="zh have already"),
            pytest.param("不用找摄影师，找个司机", ["transport"], id="zh need not look for"),
            pytest.param("不要求摄影", [], id="zh does not ask for"),
            pytest.param("不仅需要场地，还需要餐饮", ["venue", "catering"], id="zh not only"),
            pytest.param("需不需要摄影还没定", ["photography"], id="zh undecided counts"),
            pytest.param("我們不需要攝影", [], id="zh traditional"),
            pytest.param("No catering needed, just a venue", ["venue"], id="en no"),
            pytest.param("a wedding without a photographer", [], id="en without"),
            pytest.param("a party without a band and a singer", [], id="en without, list with articles"),
            pytest.param("a venue without catering and a photographer", ["venue", "photography"], id="en and a"),
            pytest.param("no catering, photography or decoration; a DJ", ["music"], id="en list with or"),
            pytest.param("We don't need a photographer, videographer, or caterer.", [], id="en Oxford comma"),
            pytest.param("we do not need catering but need a venue", ["venue"], id="en contrast"),
            pytest.param("we need a venue and catering is not needed", ["venue"], id="en negation after"),
            pytest.param("We already have a venue but need a photographer", ["photography"], id="en already have"),
            pytest.param("the venue is already booked. find a DJ", ["music"], id="en already booked"),
            pytest.param("no need to hire a photographer", [], id="en no need to"),
            pytest.param("I don’t want to hire a driver", [], id="en curly apostrophe"),
            pytest.param("not looking for a lawyer", [], id="en not looking for"),
            pytest.param("a florist instead of a caterer", ["floristry"], id="en instead of"),
            pytest.param("not only a venue but also a speaker", ["venue", "speaker"], id="en not only"),
            pytest.param("we have no venue yet", ["venue"], id="en a lack is a need"),
            pytest.param("no problem, a venue please", ["venue"], id="en no problem"),
            pytest.param("I can't do it without a lawyer", ["legal"], id="en cannot without"),
            pytest.param("no, no, no! a venue", ["venue"], id="en exclamations"),
        ],
    )
    def test_what_is_ruled_out_or_there_already_is_left_out(self, text, expected):
        """Negation covers its clause and no more."""
        assert wanted(text) == expected

    def test_every_term_is_read_as_its_own_concept(self):
        """No term of the lexicon belongs to two concepts, is hidden by another one, or is read as grammar."""
        for name, concept in lexicon.CONCEPTS.items():
            for term in [*concept.zh.split("|"), *concept.en.split("|"), *filter(None, concept.verbs.split("|"))]:
                folded = fold(normalise(term))
                assert folded == term, term
                assert [(found.concept, found.end) for found in find_terms(folded)] == [(name, len(term))], term
                assert wanted(f"我们需要{term}。" if not term.isascii() else f"we need {term} soon") == [name], term


class TestPlainWords:
    """Words outside the lexicon."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("需要一个", [], id="zh stop words"),
            pytest.param("请帮我找一位合适的人，下周六在上海，预算三千元", [], id="zh when, where, how much"),
            pytest.param("can you find us somebody in London next Friday?", [], id="en stop words"),
            pytest.param("I need 3 beekeepers", ["beekeep"], id="stem"),
            pytest.param("找一个养蜂人", ["养蜂", "蜂人"], id="two-character words"),
            pytest.param("这是在养蜂的", ["养蜂"], id="grammar is cut off"),
            pytest.param("我要茶", ["要茶", "茶"], id="one character alone"),
            pytest.param("场地和养蜂", ["养蜂"], id="outside the terms"),
            pytest.param("不需要养蜂，需要古琴", ["古琴"], id="zh negated"),
            pytest.param("no beekeeper, a blacksmith", ["blacksmith"], id="en negated"),
            pytest.param("ищу пасечника", ["ищу", "пасечника"], id="another script"),
            pytest.param('" * NEAR( OR AND NOT', [], id="query syntax is grammar or nothing"),
        ],
    )
    def test_words_outside_the_lexicon_are_kept_without_stop_words(self, text, expected):
        """What is searched by plain words tells a trade, not a time or a place."""
        assert [token for token, _ in plain_words(text)] == expected

    def test_stop_words_are_written_in_the_form_that_is_compared(self):
        """Data in another case or script would never match."""
        for word in (*lexicon.STOP_WORDS_EN, *lexicon.STOP_WORDS_ZH):
            assert fold(normalise(word)) == word


class TestLanguageAndConfidence:
    """In which language, and how sure."""

    @pytest.mark.parametrize(
        ("text", "language"),
        [
            pytest.param("需要场地", "zh", id="zh"),
            pytest.param("a venue", "en", id="en"),
            pytest.param("需要一个 speaker 和 venue", "zh", id="zh with English words"),
            pytest.param("a place for our 年会 with a speaker", "en", id="en with a Chinese word"),
            pytest.param("🎉🎉", "en", id="neither"),
        ],
    )
    def test_the_language_is_that_of_most_words(self, text, language):
        """Chinese or English; English when it is neither."""
        assert understand(text).language == language

    @pytest.mark.parametrize(
        ("text", "confidence"),
        [
            pytest.param("需要场地", "high", id="one capability"),
            pytest.param("我们公司下个月在杭州举办一场两百人的开发者大会，需要场地和摄影", "high", id="a long sentence"),
            pytest.param("xkcdqrtz zzzzrtk qwrtpsdf venue", "medium", id="mostly noise"),
            pytest.param(
                "venue " + " ".join(f"blacksmith{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(60)),
                "medium",
                id="lost in the rest",
            ),
            pytest.param("!!!###$$$ 场地 @@@^^^", "medium", id="symbols"),
            pytest.param("养蜂人", "low", id="unknown trade"),
            pytest.param("不需要摄影", "low", id="nothing wanted"),
            pytest.param("🎉", "low", id="emoji"),
        ],
    )
    def test_confidence_follows_the_documented_rule(self, text, confidence):
        """High with a capability in a readable text, medium in noise, low without one."""
        assert understand(text).confidence == confidence


class TestSummary:
    """The demand in one line."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("请帮我找一位摄影师，谢谢！", "找一位摄影师", id="zh politeness"),
            pytest.param("你好，我想请你帮我找一个场地", "找一个场地", id="zh greeting"),
            pytest.param("Hi there! Could you please help me find a venue? Thanks!", "find a venue", id="en politeness"),
            pytest.param("I would like to book a venue.", "book a venue", id="en would like"),
            pytest.param("I'd like a venue", "a venue", id="en I'd like"),
            pytest.param("  需要\n\n场地  和\t摄影 ", "需要 场地 和 摄影", id="white space"),
            pytest.param("Please", "Please", id="nothing but politeness"),
            pytest.param("谢谢", "谢谢", id="nothing but thanks"),
            pytest.param("!!!", "!!!", id="nothing but marks"),
            pytest.param("", "…", id="nothing"),
            pytest.param("Software for pleasehold", "Software for pleasehold", id="words are whole"),
            pytest.param("请客吃饭", "请客吃饭", id="treating is not asking"),
            pytest.param("\u202eevil\u202c venue", "evil venue", id="direction marks are dropped"),
        ],
    )
    def test_the_summary_is_what_is_asked_without_politeness(self, text, expected):
        """One clean line, never empty."""
        assert understand(text).surface_demand == expected

    @pytest.mark.parametrize(
        ("text", "ending"),
        [
            pytest.param("需要场地和摄影。" * 40, "摄影…", id="at a sentence"),
            pytest.param("we need a venue with a stage and " * 10, "…", id="at a word"),
            pytest.param("场" * 500, "场…", id="without a boundary"),
        ],
    )
    def test_a_long_text_is_cut_at_a_boundary(self, text, ending):
        """At most 120 characters, and the cut shows."""
        summary = understand(text).surface_demand
        assert 40 <= len(summary) <= 120
        assert summary.endswith(ending)
        assert text.startswith(summary[:-1])
        assert not summary[:-1].endswith(" ")


HOSTILE = (
    "不需要|已经|场|请|一|，|a |a-|no | not|without|plan a |no a,|thanks |technical |9|.|'|、|İ|🎉|(|\"|請|"
    "|don't |e\u0301|\u3000|is not|有没有|3个|taken care of |x,or "
)


@pytest.mark.parametrize("unit", HOSTILE.split("|"))
def test_hostile_text_is_read_in_linear_work(unit):
    """Four times the text takes about four times the steps."""
    assert_linear(lambda text: (understand(text), plain_words(text)), unit)


@pytest.mark.parametrize("unit", HOSTILE.split("|"))
def test_the_longest_hostile_text_is_read(unit):
    """10,000 characters of anything come to an end, also inside regular expressions, where steps cannot be counted."""
    text = (unit * 10_000)[:10_000]
    assert understand(text).surface_demand is not None
    plain_words(text)


def test_reading_is_deterministic():
    """The same text is read the same way every time."""
    text = "找 venue、摄影，不要餐饮, plus a lawyer"
    assert understand(text) == understand(text)
