"""Questions to the small model, against an engine that does not answer."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from server.config import LlmSection
from server.llm.failures import ModelFailed
from server.llm.local.writer import CONTEXT_TOKENS, Engine


@pytest.fixture
async def engine(aiohttp_server):
    """An engine that takes every question and says nothing."""

    async def silence(request):
        await asyncio.Event().wait()

    application = web.Application()
    application.router.add_post("/tokenize", silence)
    server = await aiohttp_server(application)
    config = LlmSection(first_piece_timeout_seconds=0.1, stall_timeout_seconds=0.1)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        yield Engine(session, str(server.make_url("")).rstrip("/"), "key", config, slots=1)


async def test_counting_a_long_question_is_given_up(engine):
    """It may pass: the engine is started again when it has ended."""
    with pytest.raises(ModelFailed, match="timeout") as caught:
        async with asyncio.timeout(5):
            await engine.fit("s", "word " * CONTEXT_TOKENS)
    assert caught.value.is_passing


async def test_a_short_question_needs_no_count(engine):
    """Nobody is asked."""
    assert await engine.fit("s", "A short question.") == "A short question."
