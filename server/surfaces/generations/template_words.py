"""The fixed sentences of the template writer, in Chinese and English, and the words by which it sees what a request says.
Pure."""

import re
from typing import NamedTuple


class Words(NamedTuple):
    """The sentences of one language. `needs`, `questions` and `patterns` have the same keys: what a text has to know."""

    asked: str
    points: str
    given: str
    follows: str
    open: str
    nothing_open: str
    audience: str
    no_audience: str
    readers_ask: str
    reader_questions: tuple[str, ...]
    tone_advice: str
    notice: str
    opening: str
    section: str
    closing: str
    improve: str
    say_more: str
    advice: tuple[str, ...]
    goal: str
    not_said: str
    message: str
    outline: str
    begin_with: str
    end_with: str
    needs: dict[str, str]
    questions: dict[str, str]
    patterns: dict[str, re.Pattern[str]]


WORDS = {
    "en": Words(
        asked="What is asked for: {}.",
        points="What the request says:",
        given="What came with it:",
        follows="It follows an earlier request: {}",
        open="What is still open:",
        nothing_open="Readers, length, tone and time are all named.",
        audience="The request names its readers: {}.",
        no_audience="The request does not say who will read this. Decide that first: it settles tone and length.",
        readers_ask="Readers will ask:",
        reader_questions=("What is this about, in one sentence?", "Why does it matter to me?", "What should I do next?"),
        tone_advice="Write as you would speak to one of them: friendly, in their words, without explaining what they know.",
        notice="[An outline from a template. No language model is set up, so nobody has written this text yet.]",
        opening="Begin with the one thing to remember about: {}.",
        section="Two or three sentences with one example.",
        closing="End with what the reader should do next, and by when.",
        improve="To make it better:",
        say_more="Answer this in the request: {}",
        advice=(
            "Put the most important sentence first, and leave out whatever does not support it.",
            "Give every claim a number, a name or an example.",
            "Read it aloud: shorten every sentence that needs a second breath.",
        ),
        goal="Goal",
        not_said="not said",
        message="Main message: {}.",
        outline="In this order:",
        begin_with="Say in one sentence what it is about: {}",
        end_with="Say what the reader should do next",
        needs={"audience": "Readers", "length": "Length", "tone": "Tone", "time": "Time"},
        questions={
            "audience": "Who will read it?",
            "length": "How long may it be?",
            "tone": "Which tone suits it?",
            "time": "By when, or about which time?",
        },
        patterns={
            "audience": re.compile(
                r"\b(?:for|to) (?:(?:our|my|the|a|an|new|young|all) )*[a-z-]*"
                r"(?:customers?|users?|readers?|students?|children|kids|parents?|teams?|colleagues?|friends?|developers?|"
                r"engineers?|beginners?|guests?|members?|visitors?|investors?|managers?|people|boss|audience|public)\b",
                re.IGNORECASE,
            ),
            "length": re.compile(
                r"\b[0-9][0-9,]* ?(?:words?|characters?|pages?|sentences?|lines?|paragraphs?|minutes?)\b"
                r"|\b(?:short|brief|long|detailed)\b",
                re.IGNORECASE,
            ),
            "tone": re.compile(
                r"\b(?:friendly|formal|informal|casual|funny|serious|warm|professional|polite|cheerful|plain|playful)\b",
                re.IGNORECASE,
            ),
            "time": re.compile(
                r"\b(?:today|tomorrow|tonight|(?:this|next) (?:week|month|year|spring|summer|autumn|winter)|"
                r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|[0-9]{4}(?:-[0-9]{2}-[0-9]{2})?|by [0-9][0-9:]*(?: ?[ap]m)?)\b",
                re.IGNORECASE,
            ),
        },
    ),
    "zh": Words(
        asked="需要的是：{}。",
        points="请求中提到：",
        given="随请求提供的信息：",
        follows="这是对之前请求的延续：{}",
        open="尚不清楚：",
        nothing_open="读者、篇幅、语气和时间都已说明。",
        audience="请求提到了读者：{}。",
        no_audience="请求没有说明给谁看。请先确定读者，语气和篇幅由此决定。",
        readers_ask="读者会问：",
        reader_questions=("一句话说，这是关于什么的？", "这与我有什么关系？", "接下来我该做什么？"),
        tone_advice="像当面交谈那样写：友好，用他们的词语，不解释他们已经知道的事。",
        notice="【这是模板给出的提纲。尚未配置语言模型，正文还没有人写。】",
        opening="开头先写最值得记住的一点：{}。",
        section="用两三句话展开，并举一个例子。",
        closing="结尾写明读者接下来做什么、何时做。",
        improve="可以这样改进：",
        say_more="在请求中补充：{}",
        advice=(
            "把最重要的一句放在最前面，删去不支持它的内容。",
            "每个观点都配一个数字、名字或例子。",
            "读出声来：一口气读不完的句子都改短。",
        ),
        goal="目标",
        not_said="未说明",
        message="核心信息：{}。",
        outline="按以下顺序：",
        begin_with="用一句话说明主题：{}",
        end_with="说明读者接下来该做什么",
        needs={"audience": "读者", "length": "篇幅", "tone": "语气", "time": "时间"},
        questions={
            "audience": "给谁看？",
            "length": "篇幅多长？",
            "tone": "适合什么语气？",
            "time": "何时需要，或关于什么时间？",
        },
        patterns={
            "audience": re.compile(
                r"(?:给|为|面向|针对|写给|对)[^，。！？；\s]{0,12}?"
                r"(?:客户|用户|读者|学生|孩子|儿童|家长|团队|同事|朋友|开发者|工程师|新手|初学者|嘉宾|会员|游客|投资人|老板|领导|大众)"
            ),
            "length": re.compile(r"[0-9一二两三四五六七八九十百千]+ ?(?:个)?(?:字|页|句|段|行|分钟)|简短|简洁|详细|长篇|短文"),
            "tone": re.compile(r"友好|正式|轻松|幽默|严肃|温暖|专业|礼貌|活泼|亲切|平实"),
            "time": re.compile(
                r"今天|明天|今晚|(?:本|这|下)(?:周|个?月|季度)|今年|明年|周[一二三四五六日末]|[0-9]{4}年|[0-9]{1,2}月(?:[0-9]{1,2}[日号])?"
            ),
        },
    ),
}
