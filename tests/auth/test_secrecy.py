"""No token, ticket, cookie or CSRF token reaches a log line or an error, in a real server at its most talkative."""

import asyncio
import contextlib
import json
import sys

import aiohttp
import jwt
import pytest
import structlog
from aiohttp import DummyCookieJar

from server.config import LoggingSection
from server.logs import configure_logging
from tests.support import ServerProcess, body, read_frames
from tests.support.tokens import bearer, secret_of

SETTINGS = {
    "TOWOW__AUTH__MODE": "token",
    "TOWOW__AUTH__TOKENS": f'[{{name = "all", scopes = ["read:*", "append:*"], token = "{secret_of("all")}"}}]',
    "TOWOW__AUTH__ALLOW_QUERY_TOKEN": "true",
    "TOWOW__DEMANDS__SAMPLE_AGENTS": "false",
    "TOWOW__LOGGING__LEVEL": "debug",
    "PYTHONASYNCIODEBUG": "1",
}
WRONG = "wrong-wrong-wrong-wrong-7c1d"


async def raw(port, data):
    """What a server answers to bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.read(65_536)
    finally:
        writer.close()


@pytest.mark.slow
async def test_no_credential_reaches_the_log_or_an_error(tmp_path):
    """Of requests that succeed, are refused, cannot be read, or end in the middle; in queries, headers, cookies and bodies."""
    secrets, answers = {secret_of("all"), WRONG}, []

    async def heard(answer):
        async with answer:
            if answer.status >= 400:
                answers.append(await answer.text() + repr(answer.headers))
            return answer

    with ServerProcess(tmp_path / "towow.db", environment=SETTINGS) as server:
        async with aiohttp.ClientSession(server.url, cookie_jar=DummyCookieJar()) as client:
            good = bearer("all")
            login = await client.post("/api/login", json={"token": secret_of("all")})
            cookie, csrf = login.headers["Set-Cookie"].partition(";")[0], (await login.json())["csrf"]
            secrets |= {cookie.partition("=")[2], csrf, cookie.rpartition(".")[2]}
            assert jwt.decode(cookie.partition("=")[2], options={"verify_signature": False})["csrf"] == csrf
            await heard(await client.post("/api/login", json={"token": WRONG}))
            await heard(await client.post("/api/login", json={"token": WRONG, "more": WRONG}))
            await heard(
                await client.post("/api/login", data=f'{{"token": "{WRONG}', headers={"Content-Type": "application/json"})
            )
            await heard(await client.post("/api/login", data=f"token={WRONG}"))
            for path in ("/api/events", "/api/events?since_seq=x", "/nothing", "/api/events/1", "/api/demand/x"):
                for headers in (
                    good,
                    {"Authorization": f"Bearer {WRONG}"},
                    {"Authorization": f"Basic {WRONG}"},
                    {"Cookie": cookie},
                ):
                    await heard(await client.get(path, headers=headers))
                separator = "&" if "?" in path else "?"
                for query in (f"token={secret_of('all')}", f"token={WRONG}", f"ticket={WRONG}", f"since_seq={WRONG}"):
                    await heard(await client.get(f"{path}{separator}{query}"))
            headers = {"Cookie": cookie}
            await heard(await client.post("/api/events", json=body(), headers=headers))
            await heard(await client.post("/api/events", json=body(), headers=headers | {"X-CSRF-Token": WRONG}))
            await heard(await client.post("/api/events", json=body(), headers=headers | {"X-CSRF-Token": csrf}))
            await heard(await client.post(f"/api/logout?{csrf}", json={}, headers=headers))
            for _ in range(2):
                answer = await client.post("/api/tickets", json={"streams": ["task:a"]}, headers=good)
                ticket = (await answer.json())["ticket"]
                secrets.add(ticket)
                async with client.get(f"/api/events/stream?stream=task:a&ticket={ticket}") as stream:
                    await read_frames(stream, 1)
                await heard(await client.get(f"/api/events/stream?stream=task:a&ticket={ticket}"))
                await heard(
                    await client.get(f"/api/events/stream?stream=task:a&ticket={ticket}", headers={"Upgrade": "websocket"})
                )
            answer = await client.post("/api/tickets", json={"streams": ["task:a"]}, headers=good)
            ticket = (await answer.json())["ticket"]
            secrets.add(ticket)
            await heard(await client.get(f"/api/events/stream?stream=task:b&ticket={ticket}"))
            with contextlib.suppress(aiohttp.WSServerHandshakeError):
                await client.ws_connect(
                    f"/api/events/stream?stream=task:b&token={WRONG}", headers={"Origin": "http://evil.example"}
                )
        for line in (
            f"GET /api/events?token={secret_of('all')}\xff HTTP/1.1",
            f"GET /api/events?ticket={WRONG} HTTP/9",
            f"FROB /api/events?token={WRONG} HTTP/1.1",
            f"GET /api/events HTTP/1.1\r\nAuthorization: Bearer {WRONG}\x00",
            f"GET /api/events HTTP/1.1\r\nCookie: towow_session={WRONG}\r\nAuthorization Bearer {WRONG}",
            f"GET /api/events?token={WRONG} HTTP/1.1\r\nHost: evil.example",
            f"POST /api/login HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\nCookie: a={WRONG}",
        ):
            # What is not HTTP is answered by the web server, which quotes the line to its sender; only the log is ours.
            assert await raw(server.port, f"{line}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        half = {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Content-Length": "1000",
            "Authorization": good["Authorization"],
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in half.items())
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"POST /api/login HTTP/1.1\r\n{head}\r\n{json.dumps({'token': WRONG})}".encode())
        await writer.drain()
        writer.close()
        assert server.get("/health")["status"] == "ok"
        server.stop()
    log = (tmp_path / "towow.db.log").read_text()
    assert log.count('"request"') > 50
    assert len(answers) > 30
    for secret in secrets:
        assert secret not in log
        assert not [answer for answer in answers if secret in answer and secret != WRONG]
    refused = [answer for answer in answers if WRONG in answer]
    assert all(f"not '{WRONG[:40]}'" in answer for answer in refused), "only a cursor is quoted"


def test_tracebacks_show_no_local_variables(monkeypatch):
    """In neither format: among them are tokens."""
    settings = {}
    monkeypatch.setattr(structlog, "configure", lambda **given: settings.update(given))
    configure_logging(LoggingSection(format="console"))

    def fail(token):
        raise ValueError("something")

    try:
        fail(WRONG)
    except ValueError:
        line = {"event": "request_failed", "level": "error", "exc_info": sys.exc_info()}
    shown = settings["processors"][-1](None, "error", line)
    assert "ValueError" in shown
    assert WRONG not in shown
