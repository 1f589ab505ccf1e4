"""Settings: the defaults, what overrides them, and the refusal of everything that is not a setting.

The order is `config.toml`, then the environment (`TOWOW__SECTION__KEY`), then command-line flags. `config.toml` in the
project's root is the manual: it lists every key with its default, unit and consequence, and a test holds it to this file.
Names of earlier versions are still read, in all three, with a warning that has the new name."""

import os
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from towow.errors import StartupError

ENVIRONMENT_PREFIX = "TOWOW__"

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]  # an end, so that `inf` is refused
LONGEST_WAIT_SECONDS = 86_400.0  # what an event says that people, agents and runs are given counts up to here
Wait = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_WAIT_SECONDS)]
Count = Annotated[int, msgspec.Meta(ge=1)]
ZeroOrMore = Annotated[int, msgspec.Meta(ge=0)]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of the sections; unknown keys are refused with their path."""


class ServerSection(Section, frozen=True):
    """`[server]`: where to listen and how to stop."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    allow_unauthenticated: bool = False
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_connections: Count = 20_000
    shutdown_timeout_seconds: Positive = 1.5
    body_timeout_seconds: Positive = 30.0
    keepalive_timeout_seconds: Positive = 75.0


class DatabaseSection(Section, frozen=True):
    """`[database]`: the file and how safely it is written."""

    path: Annotated[str, msgspec.Meta(min_length=1)] = "data/towow.db"
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    busy_timeout_seconds: Positive = 5.0
    readers: Count = 2
    max_read_seconds: Positive = 1.0
    min_free_bytes: ZeroOrMore = 67_108_864
    journal_size_limit_bytes: ZeroOrMore = 67_108_864


class AppendSection(Section, frozen=True):
    """`[append]`: limits of what publishers may send."""

    max_body_bytes: Count = 4_194_304
    max_event_bytes: Annotated[int, msgspec.Meta(ge=256, le=500_000)] = 262_144
    max_events_per_request: Count = 1_000
    redact: bool = True
    redact_keys: tuple[str, ...] = ()


class StreamSection(Section, frozen=True):
    """`[stream]`: followers, on every transport."""

    keepalive_seconds: Positive = 15.0
    retry_milliseconds: Count = 2_000
    send_timeout_seconds: Positive = 20.0
    page_bytes: Count = 65_536
    max_buffer_bytes: Count = 65_536
    send_buffer_bytes: ZeroOrMore = 65_536
    tail_bytes: ZeroOrMore = 1_048_576
    max_events_per_stream: ZeroOrMore = 0
    max_streams_per_request: Count = 64
    max_wait_seconds: Positive = 60.0


class PollSection(Section, frozen=True):
    """`[poll]`: how writers that do not announce themselves are noticed."""

    poll_interval_seconds: Positive = 0.1
    max_poll_interval_seconds: Positive = 2.0
    poll_backoff_factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.5


class IntegritySection(Section, frozen=True):
    """`[integrity]`: what proves to others that the log is what it was."""

    key_file: str = ""


class KindRetention(Section, frozen=True):
    """`[retention.kinds.KIND]`: what is trimmed of streams of a kind that have not ended; 0 keeps everything."""

    keep_last: ZeroOrMore = 0
    idle_days: Annotated[float, msgspec.Meta(ge=0, le=20_000)] = 0.0


KindName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\Z")]


class RetentionSection(Section, frozen=True):
    """`[retention]`: which streams that have ended are trimmed; 0 keeps everything."""

    max_age_days: Annotated[float, msgspec.Meta(ge=0, le=20_000)] = 0.0
    max_events: ZeroOrMore = 0
    max_bytes: ZeroOrMore = 0
    check_interval_seconds: Positive = 60.0
    kinds: dict[KindName, KindRetention] = {}


class DemandsSection(Section, frozen=True):
    """`[demands]`: demands, and the agents that negotiate about them."""

    sample_agents: bool = True
    sample_delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.8
    max_candidates: Annotated[int, msgspec.Meta(ge=1, le=30)] = 10
    max_demand_characters: Count = 10_000
    offer_timeout_seconds: Wait = 30.0
    feedback_timeout_seconds: Wait = 30.0
    max_rounds: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    max_depth: Annotated[int, msgspec.Meta(ge=0, le=5)] = 2
    max_subnets: Annotated[int, msgspec.Meta(ge=0, le=20)] = 3
    subnet_timeout_seconds: Wait = 120.0
    keepalive_seconds: Positive = 5.0


class SessionsSection(Section, frozen=True):
    """`[sessions]`: the streams of sessions, operators and broadcasts."""

    keepalive_seconds: Positive = 30.0


class TasksSection(Section, frozen=True):
    """`[tasks]`: the streams of tasks, in batches."""

    profile: Literal["default", "low_latency", "high_throughput"] = "default"
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    flush_interval_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=5)] = 0.5
    keepalive_seconds: Positive = 30.0
    max_events_per_stream: ZeroOrMore = 10_000


class GenerationsSection(Section, frozen=True):
    """`[generations]`: runs of several agents that write a text together."""

    max_prompt_characters: Count = 10_000
    max_runs: Count = 100
    run_timeout_seconds: Wait = 600.0
    chunk_milliseconds: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 50
    chunk_characters: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 400
    max_retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 3
    retry_delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    retry_backoff: Annotated[float, msgspec.Meta(ge=1, le=10)] = 2.0
    resume: bool = False
    session_state_seconds: Positive = 3_600.0


class ToolsSection(Section, frozen=True):
    """`[tools]`: the status of tools, and permissions that somebody has to give."""

    permission_timeout_seconds: Wait = 120.0
    allow_self_approval: bool = False
    max_payload_bytes: Annotated[int, msgspec.Meta(ge=256, le=262_144)] = 65_536
    status_interval_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.1


class LlmSection(Section, frozen=True):
    """`[llm]`: the language model that writes, when there is one; the rules write otherwise."""

    base_url: str = ""
    model: str = ""
    api_key_env: str = "TOWOW_LLM_API_KEY"
    timeout_seconds: Positive = 20.0
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 300
    generation_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 400
    max_streams: Count = 64
    first_piece_timeout_seconds: Positive = 60.0
    stall_timeout_seconds: Positive = 15.0
    local: bool = True
    local_model_path: str = ""
    local_threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0


class TokenSection(Section, frozen=True):
    """`[[auth.tokens]]`: a client that is known by a secret of its own; exactly one of the three says which."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._@-]{1,64}\Z")]
    scopes: tuple[str, ...]
    token: str | None = None
    token_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    token_env: str | None = None


class JwtSection(Section, frozen=True):
    """`[jwt]`: how tokens of an identity provider are verified."""

    algorithms: tuple[Literal["HS256", "RS256", "ES256", "EdDSA"], ...] = ("RS256", "ES256", "EdDSA")
    secret_env: str = ""
    jwks: str = ""
    audience: str = ""
    issuer: str = ""
    max_age_seconds: Positive = 86_400.0
    leeway_seconds: Annotated[float, msgspec.Meta(ge=0, le=300)] = 5.0


class AuthSection(Section, frozen=True):
    """`[auth]`: who may read and append what."""

    mode: Literal["off", "token", "jwt"] = "off"
    actor_claim: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "sub"
    tokens: tuple[TokenSection, ...] = ()
    ticket_seconds: Positive = 60.0
    ticket_resume_seconds: Positive = 43_200.0
    login_seconds: Positive = 43_200.0
    allow_query_token: bool = False


class LimitsSection(Section, frozen=True):
    """`[limits]`: what one client may use; a client is a token's name or, without one, an address."""

    streams_per_client: ZeroOrMore = 1_000
    publishes_per_second: ZeroOrMore = 20_000
    bytes_per_second: ZeroOrMore = 67_108_864
    connections_per_address: ZeroOrMore = 10_000
    logins_per_minute: ZeroOrMore = 20


class CorsSection(Section, frozen=True):
    """`[cors]`: pages of other origins that may read answers and streams."""

    origins: tuple[str, ...] = ()


class LoggingSection(Section, frozen=True):
    """`[logging]`: what is logged and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Section, frozen=True):
    """All settings. Frozen: a running server never changes them."""

    server: ServerSection = ServerSection()
    database: DatabaseSection = DatabaseSection()
    append: AppendSection = AppendSection()
    stream: StreamSection = StreamSection()
    poll: PollSection = PollSection()
    retention: RetentionSection = RetentionSection()
    integrity: IntegritySection = IntegritySection()
    demands: DemandsSection = DemandsSection()
    sessions: SessionsSection = SessionsSection()
    tasks: TasksSection = TasksSection()
    generations: GenerationsSection = GenerationsSection()
    tools: ToolsSection = ToolsSection()
    llm: LlmSection = LlmSection()
    auth: AuthSection = AuthSection()
    jwt: JwtSection = JwtSection()
    limits: LimitsSection = LimitsSection()
    cors: CorsSection = CorsSection()
    logging: LoggingSection = LoggingSection()


class SSEConfig(msgspec.Struct, frozen=True):
    """Source 002's names for how a task's events are sent and found; times in seconds."""

    batch_size: int = 10
    flush_interval: float = 0.5
    keepalive_interval: float = 30.0
    poll_interval: float = 0.1
    max_poll_interval: float = 2.0
    poll_backoff_factor: float = 1.5
    max_events_per_stream: int = 10_000


# `[tasks] profile`, and `profile=` of a stream.
PROFILES = {
    "default": SSEConfig(),
    "low_latency": SSEConfig(batch_size=1, flush_interval=0.1, poll_interval=0.05),
    "high_throughput": SSEConfig(batch_size=50, flush_interval=2.0, poll_interval=0.5),
}


def with_profile(config: Config) -> Config:
    """The settings with what `[tasks] profile` stands for; `default` leaves them as they are."""
    if config.tasks.profile == "default":
        return config
    chosen = PROFILES[config.tasks.profile]
    size, seconds = chosen.batch_size, chosen.flush_interval
    tasks = msgspec.structs.replace(config.tasks, batch_size=size, flush_interval_seconds=seconds)
    poll = msgspec.structs.replace(config.poll, poll_interval_seconds=chosen.poll_interval)
    return msgspec.structs.replace(config, tasks=tasks, poll=poll)


# What sections and keys were called in earlier versions.
FORMER_SECTIONS = {"negotiation": "demands"}
FORMER_KEYS = {
    ("stream", "demand_keepalive_seconds"): ("demands", "keepalive_seconds"),
    ("stream", "session_keepalive_seconds"): ("sessions", "keepalive_seconds"),
    ("tasks", "keepalive_interval_seconds"): ("tasks", "keepalive_seconds"),
    ("tools", "redact_keys"): ("append", "redact_keys"),
}


def _warn(message: str) -> None:
    warnings.warn(message, FutureWarning, stacklevel=3)


def load_config(
    file: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    warn: Callable[[str], None] = _warn,
) -> Config:
    """Merge file, environment and flags (`{section: {key: value}}`) over the defaults; later ones win.

    `file` None reads nothing. `warn` is called with a sentence for each name of an earlier version; by default it is a Python
    warning. Raises `StartupError` naming the source and the path of the key at fault."""
    merged: dict[str, dict[str, Any]] = {}
    sources = [
        (str(file), _read_file(file) if file is not None else {}),
        ("the environment", _read_environment(os.environ if environment is None else environment)),
        ("the command line", flags or {}),
    ]
    for name, source in sources:
        for section, values in source.items():
            if not isinstance(values, Mapping):
                raise StartupError(f"{name}: {section} must be a section, [{section}]", field=section)
        for section, values in _renamed(name, source, warn).items():
            merged.setdefault(section, {}).update(values)
        try:
            config = msgspec.convert(merged, Config)
        except msgspec.ValidationError as error:
            raise StartupError(f"{name}: {_readable(str(error))}") from None
    return config


def _renamed(name: str, source: Mapping[str, Mapping[str, Any]], warn: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """The settings of one source under the names of today. Raises `StartupError` for one that is set under both names."""
    renamed: dict[str, dict[str, Any]] = {}
    given: dict[tuple[str, str], str] = {}
    for section, values in source.items():
        home = FORMER_SECTIONS.get(section, section)
        renamed.setdefault(home, {})
        for key, value in values.items():
            today = FORMER_KEYS.get((section, key), (home, key))
            if today in given:
                raise StartupError(
                    f"{name}: {given[today]} and [{section}] {key} are one setting; keep [{today[0]}] {today[1]}"
                )
            if today != (section, key):
                warn(f"{name}: [{section}] {key} is now called [{today[0]}] {today[1]}")
            given[today] = f"[{section}] {key}"
            renamed.setdefault(today[0], {})[today[1]] = value
    return renamed


def _readable(message: str) -> str:
    text, _, path = message.partition(" - at `$")
    place = path.rstrip("`").lstrip(".")
    text = text.replace("Object contains unknown field", "there is no setting named")
    return f"[{place.replace('.', '] ', 1) if '.' in place else place + ']'}: {text}" if place else text


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"cannot read the settings file {file}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StartupError(f"{file} is not valid TOML: {error}") from None


def _read_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """`TOWOW__STREAM__KEEPALIVE_SECONDS=5` → `{"stream": {"keepalive_seconds": 5}}`; what is no TOML value is text."""
    found: dict[str, dict[str, Any]] = {}
    for name, text in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if not key:
            raise StartupError(f"the environment: {name} must have the form {ENVIRONMENT_PREFIX}SECTION__KEY")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        found.setdefault(section, {})[key] = value
    return found
