"""Signed heads: made while events come, given out, kept, and held against the file."""

import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from server.app import make_app
from server.config import IntegritySection
from server.eventlog import log as log_module
from server.eventlog.database import sqlite3
from server.eventlog.heads import SignedHead, head_faults, read_kept, read_public_key
from tests.support import assert_error, note, open_log, publish, until
from towow.errors import StartupError


@pytest.fixture
def signing(quiet_config, tmp_path):
    """Settings with a key, which does not exist yet."""
    return msgspec.structs.replace(quiet_config, integrity=IntegritySection(key_file=str(tmp_path / "key.pem")))


def stored(config):
    """The heads in the file: seq and digest."""
    with closing(sqlite3.connect(config.database.path)) as db:
        return db.execute("SELECT seq, hex(digest) FROM heads ORDER BY seq").fetchall()


async def test_a_head_is_kept_every_thousand_events_in_their_transaction(signing):
    """Also across a restart; what comes between is not signed yet."""
    for _ in range(2):
        async with open_log(signing) as log:
            for _ in range(3):
                await log.append([note("note:a", n) for n in range(500)])
    assert [seq for seq, _ in stored(signing)] == [1000, 2000, 3000]
    with closing(sqlite3.connect(signing.database.path)) as db:
        assert stored(signing) == [
            db.execute("SELECT seq, hex(digest) FROM events WHERE seq = ?", (seq,)).fetchone() for seq in (1000, 2000, 3000)
        ]
        assert head_faults(db, (), read_public_key(signing_key(signing))) == []


def signing_key(config):
    """Where its key is."""
    return Path(config.integrity.key_file)


async def test_a_head_is_kept_a_minute_after_the_last_event_too(signing, monkeypatch):
    """A quiet log has its newest events signed; one that does not move is signed once."""
    monkeypatch.setattr(log_module, "_HEAD_SECONDS", 0.01)
    async with open_log(signing) as log:
        await log.append([note("note:a")])
        await until(lambda: stored(signing))
        await log.append([note("note:a")])
        await until(lambda: len(stored(signing)) == 2)
    assert [seq for seq, _ in stored(signing)] == [1, 2]


async def test_without_a_key_nothing_is_kept_and_heads_are_unsigned(quiet_config):
    """The digest alone is worth keeping elsewhere too."""
    async with open_log(quiet_config) as log:
        (receipt,) = await log.append([note("note:a")])
        head = await log.head()
    assert (head.seq, head.digest, head.epoch) == (1, receipt.event.digest.hex(), log.epoch)
    assert (head.signature, head.public_key) == (None, None)
    assert stored(quiet_config) == []


async def test_the_key_is_made_for_its_owner_alone_and_used_again(signing):
    """0600; two starts sign with the same key."""
    keys = []
    for _ in range(2):
        async with open_log(signing) as log:
            keys.append((await log.head()).public_key)
    assert keys[0] == keys[1] is not None
    assert stat.S_IMODE(signing_key(signing).stat().st_mode) == 0o600


async def test_a_file_that_holds_no_such_key_is_refused(signing):
    """At the start, naming the setting."""
    signing_key(signing).write_text("no key")
    with pytest.raises(StartupError) as caught:
        async with open_log(signing):
            pass
    assert caught.value.field == "integrity.key_file"


async def test_heads_go_out_over_http_and_come_back_into_check(aiohttp_client, signing, tmp_path):
    """What GET /api/head answers is a line of the file that `check --against` reads; `at=` asks for one that covers a seq."""
    client = await aiohttp_client(make_app(signing))
    for _ in range(3):
        await publish(client, 500, stream="note:a")
    lines = []
    for query, seq in (("", 1500), ("?at=1", 1000), ("?at=1000", 1000), ("?at=1001", 1500)):
        answer = await client.get(f"/api/head{query}")
        assert answer.status == 200
        lines.append(await answer.text())
        assert (await answer.json())["seq"] == seq
    await assert_error(await client.get("/api/head?at=1501"), "not_found", status=404, field="at")
    await assert_error(await client.get("/api/head?at=x"), "invalid_request", status=400)
    kept = tmp_path / "heads.ndjson"
    kept.write_text("\n".join(lines))
    heads = read_kept(kept)
    assert len(heads) == 4
    with closing(sqlite3.connect(signing.database.path)) as db:
        assert head_faults(db, heads, read_public_key(signing_key(signing))) == []
        for wrong, what in (
            ({"digest": "00" * 32}, "the digest of that event was another one"),
            ({"epoch": "0" * 16}, "this log has no epoch"),
            ({"seq": 9_999}, "the log ends at seq 1500"),
            ({"signed_at": "2026-01-01T00:00:00.000Z"}, "its signature is not of this key"),
        ):
            forged = msgspec.structs.replace(heads[0], **wrong)
            (fault,) = head_faults(db, [forged], read_public_key(signing_key(signing)))
            assert what in fault.what


@pytest.mark.parametrize("text", ["", "{", '{"seq": "x"}', '{"seq": 1}'])
def test_a_file_without_heads_is_said_to_be_one(tmp_path, text):
    """But an empty one, which holds none."""
    (tmp_path / "heads").write_text(text)
    if not text:
        assert read_kept(tmp_path / "heads") == []
        return
    with pytest.raises(StartupError, match="holds no heads"):
        read_kept(tmp_path / "heads")


def test_a_head_says_what_is_signed():
    """Epoch, seq, digest and time, in one line."""
    head = SignedHead(7, "ab", "0123456789abcdef", "2026-01-01T00:00:00.000Z")
    assert head.message() == b"towow-head 1 0123456789abcdef 7 ab 2026-01-01T00:00:00.000Z"
