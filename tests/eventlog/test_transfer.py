"""Events out of a log and into another: nothing twice, nothing lost, whatever was interrupted."""

import json

from server.eventlog.selection import select
from server.eventlog.transfer import export_lines, import_lines
from tests.support import changed, note, open_log
from towow.errors import Damaged


async def lines_of(log, selection=None, after=0):
    """What an export of a log has."""
    selection = selection or select(("*", "system:*"))
    return [found[1] for found in await log.query(lambda db: list(export_lines(db, selection, after)))]


def said(line):
    """What an event says, without its places."""
    fields = json.loads(line)
    return {name: fields[name] for name in ("stream", "event_id", "event_type", "timestamp", "source", "payload")}


async def test_an_export_comes_back_as_the_same_events(quiet_config, tmp_path):
    """Event_id, type, time, source and payload stay; numbers are the new log's; run again it changes nothing."""
    other = changed(quiet_config, "database", path=str(tmp_path / "other.db"))
    async with open_log(quiet_config, clock=lambda: 1_767_225_600.0) as log:
        await log.append([note("task:a", n, event_id=f"e-{n}") for n in range(3)])
        await log.append([note("task:b"), note("task:b", event_type="finished"), note("note:x", source="s")])
        lines = await lines_of(log)
        assert (await import_lines(log, lines, 10_000)) == (0, 6, [])
        assert [json.loads(line)["seq"] for line in await lines_of(log, select(("task:*",)), 2)] == [3, 4, 5]
    async with open_log(other) as log:
        await log.append([note("note:first")])
        assert (await import_lines(log, lines[:4], 10_000)) == (4, 0, [])
        assert (await import_lines(log, lines, 10_000)) == (2, 4, [])
        assert (await import_lines(log, lines, 10_000)) == (0, 6, [])
        copied = await lines_of(log)
        assert [said(line) for line in copied[1:]] == [said(line) for line in lines]
        assert [json.loads(line)["seq"] for line in copied] == list(range(1, 8))


async def test_a_line_that_is_refused_is_named_and_the_others_are_imported(quiet_config):
    """No JSON, another content under the same id, a stream that has ended here; the server's own streams are left out."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a", event_id="e-1"), note("task:over", event_type="finished")])
        good = {"event_type": "note", "timestamp": "2026-01-01T00:00:00.000Z", "payload": {}}
        lines = [
            {"stream": "task:a", "event_id": "e-2", **good},
            {"stream": "task:a", "event_id": "e-1", **good, "payload": {"n": 9}},
            {"stream": "task:over", "event_id": "e-3", **good},
            {"stream": "system:log", "event_id": "e-4", **good},
            {"stream": "task:a", "event_id": "e-5", **good, "timestamp": 'x"'},
            {"stream": "task:a", "event_id": "e-6", **good},
        ]
        encoded = [json.dumps(line).encode() + b"\n" for line in lines]
        done = await import_lines(log, [*encoded, b"\n", b"{\n"], 10_000)
        assert (done.stored, done.present) == (2, 0)
        assert [line for line, _ in done.refused] == [5, 8, 2, 3]
        assert [event.event_id for event in (await log.read(select(("task:a",)), 0)).events] == ["e-1", "e-2", "e-6"]


async def test_a_damaged_event_is_named_and_the_export_goes_on(quiet_config):
    """It is not served here either."""
    async with open_log(quiet_config) as log:
        await log.append([note("task:a", n) for n in range(5)])

        def damage(db):
            db.execute("DROP TRIGGER events_are_immutable")
            db.execute("UPDATE events SET payload = '{}' WHERE seq = 3")

        await log.write(damage)
        found = await log.query(lambda db: list(export_lines(db, select(), 0)))
        assert [each.seq if isinstance(each, Damaged) else each[0] for each in found] == [1, 2, 3, 4, 5]
        assert isinstance(found[2], Damaged)
