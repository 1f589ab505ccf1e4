"""The commands that work on a database file, as a person types them."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.app import open_log
from server.cli import cli
from tests.support import changed, note
from towow.errors import StartupError


def run(*arguments):
    """What a command prints; its errors are raised."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def path(quiet_config, monkeypatch, tmp_path):
    """A database with tasks that have ended, large ones, and one that has not."""
    monkeypatch.chdir(tmp_path)

    async def fill():
        async with open_log(quiet_config) as log:
            for n in range(20):
                events = [note(f"task:{n}", k) for k in range(30)] + [note(f"task:{n}", event_type="task_complete")]
                for event in events[:-1]:
                    event.payload_json = '{"x":"' + "x" * 3_000 + '"}'
                await log.append(events)
            await log.append([note("note:open")])

    asyncio.run(fill())
    return Path(quiet_config.database.path)


def test_retention_shows_what_it_would_trim_and_trims_it(path, monkeypatch):
    """A dry run changes nothing; without limits nothing is over one."""
    assert "0 streams would be trimmed" in run("retention", "--db", path, "--dry-run")
    monkeypatch.setenv("TOWOW__RETENTION__MAX_EVENTS", "100")
    for _ in range(2):
        shown = run("retention", "--db", path, "--dry-run")
        assert "17 task streams by events" in shown
        assert "17 streams would be trimmed" in shown
    assert run("retention", "--db", path).startswith("ok: 527 events of 17 whole streams trimmed")
    assert "ok: 95 events" in run("check", "--db", path)
    assert "ok: 0 events" in run("retention", "--db", path)


def test_retention_confirms_the_clock(path, quiet_config):
    """For whoever opens the file next, and a server that has it open."""
    assert "the clock is right: it is 20" in run("retention", "--db", path, "--confirm")

    async def confirmed():
        async with open_log(quiet_config) as log:
            return log.meta.clock_confirmed_at

    assert asyncio.run(confirmed())


def test_compact_makes_a_file_as_small_as_what_it_holds(path, monkeypatch):
    """Nobody uses it: it is written anew, and verifies."""
    monkeypatch.setenv("TOWOW__RETENTION__MAX_EVENTS", "100")
    run("retention", "--db", path)
    before = path.stat().st_size
    assert run("compact", "--db", path).startswith("ok: ")
    assert path.stat().st_size < before
    assert "ok: " in run("check", "--db", path)


def test_compact_beside_a_server_gives_free_pages_back(path, quiet_config, monkeypatch):
    """Publishers go on; a file without the means for it says what to do."""

    async def beside():
        async with open_log(changed(quiet_config, "database", busy_timeout_seconds=5.0)) as log:
            await log.write(lambda db: db.execute("CREATE TABLE t AS SELECT payload FROM events").close())
            await log.write(lambda db: db.execute("DROP TABLE t").close())
            await log.write(log._database.place.checkpoint)
            compacting = asyncio.create_task(asyncio.to_thread(run, "compact", "--db", path))
            while not compacting.done():
                await log.append([note("note:open")])
            await log.write(log._database.place.checkpoint)
            return path.stat().st_size, await compacting

    after, said = asyncio.run(beside())
    assert after < int(said.split()[1].replace(",", "")) * 0.7


def test_a_file_that_is_not_there_is_said(tmp_path):
    """By every command that needs one."""
    for command in ("compact", "retention"):
        with pytest.raises(StartupError, match="there is no database"):
            run(command, "--db", tmp_path / "none.db")


def test_a_backup_is_restored_by_the_commands(path, quiet_config, tmp_path):
    """Each says what it did and what is where."""
    assert "ok: " in run("backup", tmp_path / "b.db", "--db", path)
    asyncio.run(_append(quiet_config))
    said = run("restore", tmp_path / "b.db", "--db", path)
    assert "goes on after seq 622; 1 events after the backup are not in it" in said
    assert "before-restore" in said
    assert "ok: 621 events" in run("check", "--db", path, "--against", tmp_path / "b.db.head")


async def _append(config):
    async with open_log(config) as log:
        await log.append([note("note:open")])


def test_an_export_goes_on_where_it_was_and_is_imported(path, tmp_path):
    """A line that was cut is written again; an import that is repeated stores nothing."""
    whole, part, other = tmp_path / "all.ndjson", tmp_path / "part.ndjson", tmp_path / "other.db"
    assert "ok: 621 events" in run("export", whole, "--db", path)
    data = whole.read_bytes()
    part.write_bytes(data[: len(data) // 2])
    run("export", part, "--db", path, "--resume")
    assert part.read_bytes() == data
    part.write_bytes(b"something else\n")
    with pytest.raises(StartupError, match="does not end with an exported event"):
        run("export", part, "--db", path, "--resume")
    assert "ok: 621 events stored, 0 were there already" in run("import", whole, "--db", other)
    assert "ok: 0 events stored, 621 were there already" in run("import", whole, "--db", other)
    assert "ok: 621 events" in run("check", "--db", other)
    assert run("export", "--db", path, "--stream", "note:*").count("\n") == 1
