"""The writer when no model is set up: a heading, the request, and the notice that no model has written, in the request's
language. Pure: the same request always gives the same text, at once."""

import re
from collections.abc import AsyncGenerator

from server.surfaces.generations.prompts import Brief, cut, heading_of
from server.surfaces.generations.state import TEMPLATE

_TITLE_CHARACTERS = 100
_REQUEST_CHARACTERS = 2_000
_NOTICES = {
    "en": "[No language model is set up, so this text has not been written.]",
    "zh": "【尚未配置语言模型，因此还没有写出正文。】",
}


class TemplateWriter:
    """Writes one agent's text from its brief. It has the form of a model; it does not use the messages for one."""

    name = TEMPLATE
    is_degraded = True

    def __init__(self, agent: str, brief: Brief) -> None:
        self._agent = agent
        self._brief = brief

    async def stream(self, system: str, user: str) -> AsyncGenerator[str, None]:
        """The text, paragraph by paragraph."""
        for piece in re.split(r"(?<=\n\n)", template_text(self._agent, self._brief)):
            yield piece


def template_text(agent: str, brief: Brief) -> str:
    """The text of an agent, never empty."""
    language = "zh" if brief.language == "zh" else "en"
    title = cut(" ".join(brief.prompt.split()), _TITLE_CHARACTERS)
    heading = f"# {heading_of(agent, language)}: {title}"
    return "\n\n".join([heading, cut(brief.prompt.strip(), _REQUEST_CHARACTERS), _NOTICES[language]])
