"""One frame of a model's stream: a piece of the text, its end, or an error."""

from typing import Any

import msgspec

from server.llm.failures import ModelFailed, status_failure

_DONE = "[DONE]"
# Types of errors that the same request would meet again.
_FINAL_ERRORS = frozenset(
    {"invalid_request_error", "authentication_error", "permission_error", "not_found_error", "insufficient_quota"}
)


class _Delta(msgspec.Struct):
    content: str | None = None


class _ChunkChoice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class CompletionChunk(msgspec.Struct):
    """One frame: a piece of the text and why it is the last one, if it is."""

    choices: list[_ChunkChoice] | None = None
    error: Any = None

    @property
    def content(self) -> str:
        """The piece of the first choice; often empty, as in the frame that opens an answer."""
        return "".join(choice.delta.content or "" for choice in self._first if choice.delta is not None)

    @property
    def is_last(self) -> bool:
        """Whether this is the end of the text."""
        return any(choice.finish_reason for choice in self._first)

    @property
    def _first(self) -> list[_ChunkChoice]:
        return [choice for choice in self.choices or () if choice.index == 0]


_LAST = CompletionChunk(choices=[_ChunkChoice(finish_reason="stop")])
_decode = msgspec.json.Decoder(CompletionChunk).decode


def read_chunk(data: str) -> CompletionChunk:
    """A frame's content. Raises `ModelFailed` for an error and for what is not of the API."""
    if data.strip() == _DONE:
        return _LAST
    try:
        part = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ModelFailed("bad_answer") from None
    if part.error is not None:
        raise _stream_failure(part.error)
    return part


def _stream_failure(error: object) -> ModelFailed:
    """The failure that a server reports in the stream, where no status can be sent any more."""
    fields = error if isinstance(error, dict) else {}
    for key in ("code", "status"):
        text = str(fields.get(key, ""))
        if len(text) == 3 and text.isascii() and text.isdigit() and text >= "400":
            return status_failure(int(text))
    return ModelFailed(
        "upstream_error", is_passing=_FINAL_ERRORS.isdisjoint({str(fields.get("type")), str(fields.get("code"))})
    )
