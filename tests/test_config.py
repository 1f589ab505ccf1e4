"""Settings: the shipped file is the manual, later sources win, and what is no setting is refused with its path."""

import re
import tomllib

import msgspec
import pytest

from server.config import FORMER_KEYS, FORMER_SECTIONS, LONGEST_WAIT_SECONDS, Config, load_config
from tests.support import ROOT
from towow.errors import StartupError

SHIPPED = ROOT / "config.toml"


@pytest.fixture
def write(tmp_path):
    """Write a settings file and return its path."""

    def write(text):
        path = tmp_path / "c.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def refusal(file=None, environment=None, flags=None):
    """The message with which these settings are refused."""
    with pytest.raises(StartupError) as caught:
        load_config(file, environment=environment or {}, flags=flags)
    return caught.value.message


# The shipped file.


def test_the_shipped_file_lists_every_key_with_its_default():
    """`config.toml` equals the defaults key by key: none missing, none extra, same values and order."""
    shipped = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    defaults = msgspec.to_builtins(Config())
    assert list(shipped) == list(defaults)
    for section, values in defaults.items():
        assert list(shipped[section]) == list(values), section
        for key, value in values.items():
            given = shipped[section][key]
            value = list(value) if isinstance(value, tuple) else value
            assert given == value, (section, key)
            assert type(given) is type(value), (section, key)
    assert load_config(SHIPPED, environment={}) == Config()


def test_every_key_of_the_shipped_file_has_a_sentence_above_it():
    """The file is the manual: the line above a key is a comment."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line)]
    assert len(keys) == sum(len(values) for values in msgspec.to_builtins(Config()).values())
    silent = [lines[number] for number in keys if not lines[number - 1].startswith("# ")]
    assert silent == []


def test_no_file_no_environment_and_no_flags_give_the_defaults():
    """A server starts without being told anything."""
    assert load_config(environment={}) == Config()
    assert load_config(environment={"PATH": "/bin", "TOWO__SERVER__PORT": "x", "towow__server__port": "x"}) == Config()


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("demands", "offer_timeout_seconds"),
        ("demands", "feedback_timeout_seconds"),
        ("demands", "subnet_timeout_seconds"),
        ("generations", "run_timeout_seconds"),
        ("tools", "permission_timeout_seconds"),
    ],
)
def test_a_time_that_events_carry_is_at_most_as_long_as_events_may_say(write, section, key):
    """What is longer than counts when the event is read is refused before the start."""
    config = load_config(write(f"[{section}]\n{key} = {LONGEST_WAIT_SECONDS}\n"), environment={})
    assert getattr(getattr(config, section), key) == LONGEST_WAIT_SECONDS
    message = refusal(write(f"[{section}]\n{key} = {LONGEST_WAIT_SECONDS + 1}\n"))
    assert key in message
    assert "86400" in message


# Precedence.


def test_environment_wins_over_the_file_and_flags_win_over_both(write):
    """Each source changes only the keys that it names."""
    file = write("[server]\nhost = '127.0.0.2'\nport = 1\nmax_connections = 10\n[cors]\norigins = ['https://a']\n")
    environment = {"TOWOW__SERVER__PORT": "2", "TOWOW__SERVER__MAX_CONNECTIONS": "20", "TOWOW__DATABASE__READERS": "4"}
    flags = {"server": {"max_connections": 30}, "database": {"path": "flag.db"}}
    config = load_config(file, environment=environment, flags=flags)
    assert (config.server.host, config.server.port, config.server.max_connections) == ("127.0.0.2", 2, 30)
    assert (config.database.readers, config.database.path) == (4, "flag.db")
    assert config.cors.origins == ("https://a",)
    assert config.stream == Config().stream


@pytest.mark.parametrize(
    ("name", "text", "section", "key", "value"),
    [
        pytest.param("TOWOW__SERVER__PORT", "9000", "server", "port", 9000, id="a number"),
        pytest.param("TOWOW__STREAM__KEEPALIVE_SECONDS", "5", "stream", "keepalive_seconds", 5.0, id="a whole float"),
        pytest.param("TOWOW__STREAM__KEEPALIVE_SECONDS", "0.5", "stream", "keepalive_seconds", 0.5, id="a float"),
        pytest.param("TOWOW__DEMANDS__SAMPLE_AGENTS", "false", "demands", "sample_agents", False, id="a flag"),
        pytest.param("TOWOW__DATABASE__PATH", "/srv/a b/ü.db", "database", "path", "/srv/a b/ü.db", id="bare text"),
        pytest.param("TOWOW__DATABASE__PATH", '"quoted.db"', "database", "path", "quoted.db", id="quoted text"),
        pytest.param("TOWOW__SERVER__HOST", "::1", "server", "host", "::1", id="an IPv6 address"),
        pytest.param("TOWOW__SERVER__HOST", "127.0.0.1", "server", "host", "127.0.0.1", id="an IPv4 address"),
        pytest.param(
            "TOWOW__CORS__ORIGINS", '["https://a","https://b"]', "cors", "origins", ("https://a", "https://b"), id="a list"
        ),
        pytest.param("TOWOW__LOGGING__LEVEL", "debug", "logging", "level", "debug", id="a word"),
        pytest.param("Towow__Server__Port", "1", "server", "port", 8000, id="edge: the prefix is upper case"),
        pytest.param("TOWOW__server__Port", "1", "server", "port", 1, id="edge: section and key in any case"),
        pytest.param("TOWOW__SERVER__PORT", "0x10", "server", "port", 16, id="edge: TOML's hexadecimal"),
        pytest.param("TOWOW__SERVER__PORT", "1_000", "server", "port", 1000, id="edge: TOML's underscores"),
    ],
)
def test_environment_variables_are_toml_values_or_text(name, text, section, key, value):
    """Numbers, flags and lists are read as TOML; what is no TOML value is text."""
    config = load_config(environment={name: text})
    assert getattr(getattr(config, section), key) == value


# Refusals.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[sever]\nport = 1", "`sever`", id="an unknown section"),
        pytest.param("[server]\nprot = 1", "[server]: there is no setting named `prot`", id="an unknown key"),
        pytest.param("port = 1", "port must be a section, [port]", id="a key without a section"),
        pytest.param("[[server]]\nport = 1", "server must be a section", id="a list of sections"),
        pytest.param("[server]\nport = '1'", "[server] port: Expected `int`, got `str`", id="a text for a number"),
        pytest.param("[server]\nport = 1.0", "[server] port: Expected `int`, got `float`", id="a float for a count"),
        pytest.param("[server]\nport = true", "[server] port: Expected `int`, got `bool`", id="a flag for a number"),
        pytest.param("[server]\nport = 65536", "[server] port: Expected `int` <= 65535", id="a port too high"),
        pytest.param("[server]\nport = -1", "[server] port: Expected `int` >= 0", id="a negative port"),
        pytest.param("[server]\nhost = 1", "[server] host: Expected `str`, got `int`", id="a number for a text"),
        pytest.param("[server.host]\na = 1", "[server] host: Expected `str`, got `object`", id="a section for a text"),
        pytest.param("[stream]\nkeepalive_seconds = 0", "[stream] keepalive_seconds", id="zero seconds"),
        pytest.param("[stream]\nkeepalive_seconds = nan", "[stream] keepalive_seconds", id="no number of seconds"),
        pytest.param("[stream]\nkeepalive_seconds = inf", "[stream] keepalive_seconds", id="endless seconds"),
        pytest.param("[retention]\nmax_age_days = inf", "[retention] max_age_days", id="endless days"),
        pytest.param("[poll]\npoll_backoff_factor = 0.5", "[poll] poll_backoff_factor", id="a factor below 1"),
        pytest.param("[database]\nsynchronous = 'OFF'", "[database] synchronous", id="a word that is not a choice"),
        pytest.param("[database]\nsynchronous = 'full'", "[database] synchronous", id="a choice in lower case"),
        pytest.param("[database]\npath = ''", "[database] path", id="an empty path"),
        pytest.param("[append]\nmax_event_bytes = 600000", "[append] max_event_bytes", id="over what a line may hold"),
        pytest.param("[cors]\norigins = [1]", "[cors] origins[0]: Expected `str`", id="a number in a list of texts"),
        pytest.param("[cors]\norigins = 'https://a'", "[cors] origins: Expected `array`", id="a text for a list"),
        pytest.param("[server]\nport = ", "is not valid TOML", id="no TOML"),
        pytest.param("[server]\nport = 1\nport = 2", "is not valid TOML", id="a key twice"),
        pytest.param(b"[server]\nhost = '\xff'", "cannot read the settings file", id="not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_path_of_the_key(write, text, says):
    """The operator learns which file, which section and key, and what was expected."""
    file = write(text)
    message = refusal(file)
    assert says in message
    assert str(file) in message


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param({"TOWOW__SERVER__PROT": "1"}, "the environment: [server]: there is no setting named `prot`", id="key"),
        pytest.param({"TOWOW__SEVER__PORT": "1"}, "the environment: there is no setting named `sever`", id="section"),
        pytest.param({"TOWOW__SERVER__PORT": "abc"}, "the environment: [server] port: Expected `int`", id="type"),
        pytest.param({"TOWOW__SERVER__PORT": ""}, "the environment: [server] port: Expected `int`", id="empty"),
        pytest.param({"TOWOW__SERVER": "1"}, "TOWOW__SERVER must have the form TOWOW__SECTION__KEY", id="no key"),
        pytest.param({"TOWOW__": "1"}, "must have the form TOWOW__SECTION__KEY", id="only the prefix"),
        pytest.param({"TOWOW__SERVER__PORT__X": "1"}, "there is no setting named `port__x`", id="too many parts"),
    ],
)
def test_a_bad_environment_variable_is_refused_by_name(environment, says):
    """A typing error in the environment is said, not ignored."""
    assert says in refusal(environment=environment)


def test_a_bad_flag_is_refused_as_one():
    """The message names the command line."""
    assert refusal(flags={"server": {"prot": 1}}).startswith("the command line: [server]")


def test_a_bad_file_is_refused_even_when_a_later_source_would_replace_the_value(write):
    """Every source must be right by itself, so that a fault does not show up later."""
    file = write("[server]\nport = 'x'")
    assert str(file) in refusal(file, {"TOWOW__SERVER__PORT": "1"})


def test_an_unreadable_file_is_refused_with_the_reason(tmp_path):
    """A missing file and a directory are said as such."""
    for path in (tmp_path / "nowhere.toml", tmp_path):
        message = refusal(path)
        assert message.startswith(f"cannot read the settings file {path}: ")


def test_settings_never_change_while_the_server_runs():
    """The configuration is frozen."""
    with pytest.raises(AttributeError):
        Config().server.port = 1


# Names of earlier versions.


def every_former_name():
    """Each key that had another section or name, with its value of today."""
    for former, today in FORMER_SECTIONS.items():
        section = getattr(Config(), today)
        for key in type(section).__struct_fields__:
            if (today, key) not in FORMER_KEYS.values():
                yield pytest.param(former, key, today, key, id=f"{former}.{key}")
    for (former, was), (today, key) in FORMER_KEYS.items():
        yield pytest.param(former, was, today, key, id=f"{former}.{was}")


@pytest.mark.parametrize(("former", "was", "today", "key"), list(every_former_name()))
def test_a_former_name_is_read_from_each_source_with_a_warning_that_names_the_new_one(write, former, was, today, key):
    """An operator's settings file and environment of an earlier version go on working, and say what to change."""
    default = getattr(getattr(Config(), today), key)
    value = (not default) if isinstance(default, bool) else ("x",) if isinstance(default, tuple) else type(default)(1)
    text = '["x"]' if isinstance(value, tuple) else str(value).lower()
    file = write(f"[{former}]\n{was} = {text}\n")
    for source, given in [
        (str(file), {"file": file, "environment": {}}),
        ("the environment", {"environment": {f"TOWOW__{former.upper()}__{was.upper()}": text}}),
        ("the command line", {"environment": {}, "flags": {former: {was: value}}}),
    ]:
        warnings = []
        config = load_config(warn=warnings.append, **given)
        assert getattr(getattr(config, today), key) == value
        assert warnings == [f"{source}: [{former}] {was} is now called [{today}] {key}"]


def test_a_former_name_is_a_python_warning_for_who_does_not_collect_them():
    """Nothing is renamed in silence."""
    with pytest.warns(FutureWarning, match=r"\[negotiation\] max_depth is now called \[demands\] max_depth"):
        assert load_config(environment={"TOWOW__NEGOTIATION__MAX_DEPTH": "1"}).demands.max_depth == 1


def test_names_of_today_are_read_without_a_warning(write):
    """Also a section that has both its own keys and some that came from elsewhere."""
    file = write("[demands]\nkeepalive_seconds = 2\nmax_depth = 1\n[sessions]\nkeepalive_seconds = 3\n")
    config = load_config(file, environment={}, warn=pytest.fail)
    assert (config.demands.keepalive_seconds, config.demands.max_depth, config.sessions.keepalive_seconds) == (2, 1, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "[negotiation]\nmax_depth = 1\n[demands]\nmax_depth = 2",
            "[negotiation] max_depth and [demands] max_depth are one setting; keep [demands] max_depth",
            id="a section",
        ),
        pytest.param(
            "[demands]\nkeepalive_seconds = 1\n[stream]\ndemand_keepalive_seconds = 1",
            "[demands] keepalive_seconds and [stream] demand_keepalive_seconds are one setting; keep [demands] ",
            id="a key",
        ),
    ],
)
def test_a_setting_under_both_of_its_names_is_refused(write, text, says):
    """Which of the two counts would be a guess."""
    file = write(text)
    with pytest.raises(StartupError) as caught:
        load_config(file, environment={}, warn=lambda message: None)
    assert caught.value.message.startswith(f"{file}: {says}")


def test_a_former_name_in_the_environment_wins_over_the_name_of_today_in_the_file(write):
    """Sources win over each other whatever names they use."""
    file = write("[demands]\nmax_depth = 2")
    environment = {"TOWOW__NEGOTIATION__MAX_DEPTH": "1"}
    assert load_config(file, environment=environment, warn=lambda message: None).demands.max_depth == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[negotiation]\nmax_deep = 1", "[demands]: there is no setting named `max_deep`", id="an unknown key"),
        pytest.param("[negotiation]\nmax_depth = 9", "[demands] max_depth: Expected `int` <= 5", id="out of bounds"),
        pytest.param("negotiation = 1", "negotiation must be a section, [negotiation]", id="no section"),
    ],
)
def test_a_former_section_is_checked_like_any_other(write, text, says):
    """An old name is no way around the checks."""
    file = write(text)
    with pytest.raises(StartupError) as caught:
        load_config(file, environment={}, warn=lambda message: None)
    assert says in caught.value.message
