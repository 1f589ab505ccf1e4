"""`token`: make tokens and look at them, without a server."""

import asyncio
import hashlib
import secrets
import sys
import time
from pathlib import Path

import click
import jwt
import msgspec

from server.auth.authenticator import Authenticator
from server.auth.jwt import JwtKeys, secret_of
from server.auth.principal import VERBS, Principal, globs_of
from server.cli.output import console
from server.config import Config, TokenSection, load_config
from towow.errors import StartupError, Unauthorized
from towow.events import timestamp_of

_TOKEN_BYTES = 32


@click.group()
def token() -> None:
    """Make tokens, sign JWTs, and check either.

    \b
    Examples:
      python run.py token new --name backend --scope 'read:*' --scope 'append:demand:*'
      echo "$TOKEN" | python run.py token check
    """  # noqa: D301 - \b keeps click from joining the lines


_name = click.option("--name", required=True, help="Who it is for; events and logs name it.")
_scopes = click.option(
    "--scope", "scopes", multiple=True, required=True, help=f"{', '.join(VERBS)}, a colon and a glob; repeatable."
)
_settings = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="Settings file; default: config.toml here, if any."
)


def _load(file: Path | None) -> Config:
    file = file if file is not None or not Path("config.toml").is_file() else Path("config.toml")
    return load_config(file, warn=lambda message: click.echo(f"warning: {message}", err=True))


def _check_scopes(scopes: tuple[str, ...]) -> None:
    try:
        globs_of(scopes)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--scope") from None


@token.command("new")
@_name
@_scopes
def new(name: str, scopes: tuple[str, ...]) -> None:
    """Make a secret for [[auth.tokens]] and print the table for the settings, which holds only its SHA-256.

    Example: python run.py token new --name bob --scope read:agent:bob --scope append:agent:bob"""
    _check_scopes(scopes)
    try:
        msgspec.convert({"name": name, "scopes": scopes}, TokenSection)
    except msgspec.ValidationError:
        raise click.BadParameter("1 to 64 characters from A-Z a-z 0-9 . _ @ -", param_hint="--name") from None
    secret = secrets.token_urlsafe(_TOKEN_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    quoted = ", ".join(f'"{scope}"' for scope in scopes)
    click.echo(f"# For the client; it is not stored anywhere:\n{secret}\n", err=False)
    click.echo('# For config.toml, with mode = "token" in [auth]:')
    click.echo(f'[[auth.tokens]]\nname = "{name}"\nscopes = [{quoted}]\ntoken_sha256 = "{digest}"')


@token.command("sign")
@_name
@_scopes
@click.option("--seconds", type=click.IntRange(1, 1_000_000_000), default=3600, show_default=True, help="Good for so long.")
@_settings
def sign(name: str, scopes: tuple[str, ...], seconds: int, file: Path | None) -> None:
    """Sign a JWT with the HS256 secret of [jwt] secret_env. RS256 and EdDSA tokens come from the identity provider.

    Example: TOWOW__JWT__SECRET_ENV=SECRET python run.py token sign --name bob --scope 'read:*'"""
    _check_scopes(scopes)
    config = _load(file)
    if "HS256" not in config.jwt.algorithms:
        raise StartupError("[jwt] algorithms has no HS256: this server does not sign, it only verifies")
    if not config.jwt.audience:
        raise StartupError("[jwt] audience is required", field="jwt.audience")
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise click.BadParameter("1 to 128 printable characters", param_hint="--name")
    claims = {"sub": name, "aud": config.jwt.audience, "exp": int(time.time() + seconds), "scope": " ".join(scopes)}
    if config.jwt.issuer:
        claims["iss"] = config.jwt.issuer
    click.echo(jwt.encode(claims, secret_of(config.jwt), algorithm="HS256"))


@token.command("check")
@_settings
def check(file: Path | None) -> None:
    """Read a token from standard input and say who it stands for, as a server with these settings would.

    Example: echo "$TOKEN" | python run.py token check --config config.toml"""
    config = _load(file)
    given = sys.stdin.read(100_000).strip()
    try:
        found = asyncio.run(_recognise(config, given))
    except Unauthorized:
        raise click.ClickException("this token is not good here") from None
    out = console()
    out.print(f"name     {found.name}")
    for verb in VERBS:
        out.print(f"{verb:<8} {' '.join(getattr(found, verb)) or 'nothing'}")
    out.print(f"expires  {'never' if found.expires_at is None else timestamp_of(found.expires_at)}")


async def _recognise(config: Config, given: str) -> Principal:
    keys = JwtKeys(config.jwt, time.time, config.auth.actor_claim) if config.auth.mode == "jwt" else None
    authenticator = Authenticator(config.auth, config.database.path, time.time, keys)
    if not authenticator.is_on:
        raise StartupError('[auth] mode is "off": there is nothing to check')
    if keys is not None:
        await keys.open()
    try:
        return await authenticator.recognise(given)
    finally:
        await authenticator.__aexit__()
