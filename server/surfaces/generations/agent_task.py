"""One agent at work: streams its text from a model, stores it group by group, retries where that may help, and records its end.

A failure of the model, or in here, is an event of this agent and does not affect the others. Two things end its work from
outside: the run has ended (`Conflict`), or the task is cancelled. Either closes the connection to the model at once."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from functools import partial

import stamina
import structlog

from server.config import GenerationsSection
from server.llm.failures import ModelFailed
from server.llm.provider import LanguageModel, TextSource
from server.surfaces.generations.commands import AppendChunk, CompleteAgent, FailAgent, RetryAgent, StartAgent
from server.surfaces.generations.prompts import Brief, cut, question_of, system_of
from server.surfaces.generations.run_store import RunStore
from server.surfaces.generations.template_writer import TemplateWriter
from towow.errors import Conflict
from towow.events import uuid7

_LONGEST_RETRY_AFTER_SECONDS = 60.0  # of a Retry-After
_LONGEST_DELAY_SECONDS = 3_600.0  # of the schedule; the run's time ends before
_MAX_TEXT_CHARACTERS = 1_000_000  # of one agent; a model that writes more than this does not end
_SUMMARY_CHARACTERS = 160
# What a text may not hold: control characters but tab and line feed, lone surrogates. Lines end with LF.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_ENDS = str.maketrans({"\u2028": "\n", "\u2029": "\n"})
_HEADING = re.compile(r"[\s#*>_\-•]+")
_log = structlog.get_logger("towow.generations")


class AgentTask:
    """The work of one agent in one run."""

    def __init__(
        self, store: RunStore, agent: str, brief: Brief, language_model: LanguageModel, config: GenerationsSection
    ) -> None:
        self._store = store
        self._agent = agent
        self._brief = brief
        self._language_model = language_model
        self._config = config
        self._delay_seconds = 0.0  # before the next attempt, once one has failed

    async def carry_out(self) -> None:
        """Write the text, from `agent_start` to `agent_complete` or `error`. Raises `Conflict` when the run has ended."""
        try:
            await self._work()
        except Conflict:
            state = self._store.state
            if not (state.is_running and state.agents[self._agent].has_ended):  # its end came from elsewhere
                raise

    async def _work(self) -> None:
        await self._store.add(StartAgent(self._agent))
        try:
            text = await self._persist()
        except ModelFailed as failure:
            await self._fail(failure.reason)
        except Conflict:
            raise
        except Exception as error:
            await self._fail("internal", error)
        else:
            await self._store.add(CompleteAgent(self._agent, summary_of(text)))

    async def _fail(self, error_type: str, error: Exception | None = None) -> None:
        error_id = uuid7()
        facts = {"run_id": self._store.state.run_id, "agent": self._agent, "error_type": error_type, "error_id": error_id}
        if error is None:
            _log.warning("agent_failed", **facts)
        else:
            _log.error("agent_failed", **facts, exc_info=error)
        await self._store.add(FailAgent(self._agent, error_type, error_id))

    async def _persist(self) -> str:
        """The text of the first attempt that gives a whole one. Raises `ModelFailed` of the last one."""
        attempts = self._config.max_retries + 1
        async for attempt in stamina.retry_context(
            on=self._wait_after,
            attempts=attempts,
            timeout=None,
            wait_initial=self._config.retry_delay_seconds,
            wait_max=_LONGEST_DELAY_SECONDS,
            wait_jitter=0,
            wait_exp_base=self._config.retry_backoff,
        ):
            with attempt:
                try:
                    return await self._write()
                except ModelFailed as failure:
                    if failure.is_passing and attempt.num < attempts:
                        requested = min(failure.retry_after_seconds or 0.0, _LONGEST_RETRY_AFTER_SECONDS)
                        self._delay_seconds = max(attempt.next_wait, requested)
                        await self._store.add(RetryAgent(self._agent, failure.reason, self._delay_seconds, attempts))
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _wait_after(self, error: Exception) -> bool | float:
        return self._delay_seconds if isinstance(error, ModelFailed) and error.is_passing else False

    async def _write(self) -> str:
        """One attempt: the whole text, all of it on disk. Raises `ModelFailed`; the pieces before it are on disk as well."""
        # Chosen for each attempt: a model may have become ready meanwhile.
        source = self._language_model.writer() or TemplateWriter(self._agent, self._brief)
        groups = ChunkGroups(
            partial(self._add_chunk, source),
            seconds=self._config.chunk_milliseconds / 1000,
            characters=self._config.chunk_characters,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                storing = tasks.create_task(groups.store_all(), name=f"text of {self._agent}")
                failure = await self._read(source, groups)
                groups.finish()
        except BaseExceptionGroup as failures:
            ended = failures.subgroup(Conflict)
            raise (ended or failures).exceptions[0] from None
        last, stored = storing.result(), str(self._store.state.agents[self._agent].text)
        if failure is not None:
            if last:
                await self._add_chunk(source, last)
            raise failure
        if not (stored + last).strip():
            raise ModelFailed("empty_answer")
        await self._add_chunk(source, last, is_complete=True)
        return stored + last

    async def _read(self, source: TextSource, groups: "ChunkGroups") -> ModelFailed | None:
        """Take all pieces of a text; returns the failure that ended it early, because the pieces before it count."""
        characters = 0
        stream = source.stream(system_of(self._agent, self._brief.language), question_of(self._agent, self._brief))
        try:
            async with contextlib.aclosing(stream) as pieces:
                async for piece in pieces:
                    characters += len(piece)
                    if characters > _MAX_TEXT_CHARACTERS:
                        return ModelFailed("too_large")
                    groups.add(cleaned(piece))
        except ModelFailed as failure:
            return failure
        return None

    async def _add_chunk(self, source: TextSource, text: str, *, is_complete: bool = False) -> None:
        await self._store.add(AppendChunk(self._agent, text, source.name, is_complete=is_complete, degraded=source.is_degraded))


class ChunkGroups:
    """The pieces of one text, gathered into groups, so that one token is not one fsync. One task calls `add` and `finish`,
    another one `store_all`.

    A piece after quiet does not wait, nor does the first one. Others are stored together when `seconds` have passed since the
    group before, or when they have `characters`; while one group is on its way to the disk, the next gathers. What is stored
    keeps the order of the pieces, and joined it is the text. A model cannot run ahead of the disk by more than its text is
    long. `store(text)` stores at most `characters` and returns when they are on disk."""

    def __init__(self, store: Callable[[str], Awaitable[None]], *, seconds: float, characters: int) -> None:
        self._store = store
        self._seconds = seconds
        self._limit = characters
        self._pieces: list[str] = []
        self._gathered = 0  # characters
        self._due_at = 0.0
        self._is_finished = False
        self._changed = asyncio.Event()

    def add(self, piece: str) -> None:
        """Take the next piece; an empty one is nothing."""
        if not piece:
            return
        if not self._pieces:
            self._changed.set()
        self._pieces.append(piece)
        self._gathered += len(piece)
        if self._gathered >= self._limit:
            self._changed.set()

    def finish(self) -> None:
        """Say that there are no more pieces."""
        self._is_finished = True
        self._changed.set()

    async def store_all(self) -> str:
        """Store group after group until `finish`; the end of the text, which may be empty, is returned and not stored."""
        while await self._wait():
            self._due_at = asyncio.get_running_loop().time() + self._seconds
            for part in self._take():
                await self._store(part)
        *parts, last = self._take() or [""]
        for part in parts:
            await self._store(part)
        return last

    async def _wait(self) -> bool:
        """Until a group is to be stored; False when there are no more pieces."""
        loop = asyncio.get_running_loop()
        while not self._is_finished:
            wait_seconds = None
            if self._pieces:
                wait_seconds = self._due_at - loop.time()
                if wait_seconds <= 0 or self._gathered >= self._limit:
                    return True
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
        return False

    def _take(self) -> list[str]:
        text, self._pieces, self._gathered = "".join(self._pieces), [], 0
        return [text[start : start + self._limit] for start in range(0, len(text), self._limit)]


def cleaned(piece: str) -> str:
    """A piece of text without characters that would not survive JSON or a terminal."""
    return _UNWANTED.sub("", piece.translate(_LINE_ENDS))


def summary_of(text: str) -> str:
    """The first line of a text with words in it, without marks of a heading or a list, and cut."""
    lines = (_HEADING.sub(" ", line, count=1).strip() if _HEADING.match(line) else line.strip() for line in text.splitlines())
    return cut(next(filter(None, lines), ""), _SUMMARY_CHARACTERS)
