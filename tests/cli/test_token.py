"""`token`: making secrets, signing JWTs, and saying who one stands for, as people and scripts use it."""

import hashlib
import tomllib
from pathlib import Path

import jwt
import pytest

from server.config import load_config
from tests.cli.test_cli import Result, run_cli
from tests.support.tokens import HS256_SECRET, RsaKey, hs256, write_jwks

HS256 = {
    "TOWOW__AUTH__MODE": "jwt",
    "TOWOW__JWT__ALGORITHMS": '["HS256"]',
    "TOWOW__JWT__SECRET_ENV": "SIGNING",
    "TOWOW__JWT__AUDIENCE": "towow",
    "SIGNING": HS256_SECRET,
}


def one_line(result: Result, *words: str, code: int = 1) -> None:
    """One line on stderr that says what is wrong, and nothing on stdout."""
    assert result.code == code, result
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    for word in words:
        assert word in result.err


def made(tmp_path: Path, *scopes: str, name: str = "bob") -> tuple[str, Path]:
    """A secret that `token new` made, and settings with what it printed for them."""
    flags = [part for scope in scopes for part in ("--scope", scope)]
    result = run_cli("token", "new", "--name", name, *flags)
    assert result.code == 0, result.err
    secret = result.out.splitlines()[1]
    file = tmp_path / "config.toml"
    file.write_text('[auth]\nmode = "token"\n' + "\n".join(result.out.splitlines()[3:]) + "\n")
    return secret, file


@pytest.mark.parametrize("command", [[], ["new"], ["sign"], ["check"]])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_part_explains_itself_with_an_example(command: list[str], flag: str) -> None:
    """A line to copy in each."""
    result = run_cli("token", *command, flag)
    assert result.code == 0
    assert " ".join(["python run.py token", *command]) in result.out


def test_a_new_token_is_printed_once_and_its_digest_for_the_settings(tmp_path: Path) -> None:
    """What is to be pasted is TOML, holds no secret, and is taken by the settings."""
    secret, file = made(tmp_path, "read:*", "append:demand:*")
    assert len(secret) >= 43
    assert secret not in file.read_text()
    [entry] = load_config(file, environment={}).auth.tokens
    assert (entry.name, entry.scopes) == ("bob", ("read:*", "append:demand:*"))
    assert entry.token_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert made(tmp_path, "read:*")[0] != secret


def test_a_token_that_was_made_is_recognised(tmp_path: Path) -> None:
    """`check` says what a server would; a key is neither needed nor made."""
    secret, file = made(tmp_path, "read:task:*")
    environment = {"TOWOW__DATABASE__PATH": str(tmp_path / "towow.db")}
    result = run_cli("token", "check", "--config", str(file), stdin=f"{secret}\n", **environment)
    assert result.code == 0, result.err
    said = dict(line.split(None, 1) for line in result.out.splitlines())
    others = dict.fromkeys(("append", "answer", "operate", "manage"), "nothing")
    assert said == {"name": "bob", "read": "task:*", **others, "expires": "never"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml"]


@pytest.mark.parametrize("given", ["", "\n", "wrong-wrong-wrong-wrong", "\u00e9" * 20, "x" * 200_000])
def test_a_token_that_is_not_good_is_said_without_repeating_it(tmp_path: Path, given: str) -> None:
    """Exit code 1, for scripts."""
    _, file = made(tmp_path, "read:*")
    result = run_cli("token", "check", "--config", str(file), stdin=given)
    one_line(result, "not good")
    assert not given.strip() or given not in result.err


def test_a_secret_on_the_command_line_is_not_taken(tmp_path: Path) -> None:
    """Others see command lines; histories keep them."""
    secret, file = made(tmp_path, "read:*")
    one_line(run_cli("token", "check", "--config", str(file), secret), code=2)


def test_a_jwt_is_signed_and_checked_with_the_settings(tmp_path: Path) -> None:
    """Audience and issuer are those of the settings; it ends when it should."""
    environment = HS256 | {"TOWOW__JWT__ISSUER": "https://id.example"}
    result = run_cli(
        "token", "sign", "--name", "bob", "--scope", "read:*", "--scope", "append:agent:bob", "--seconds", "60", **environment
    )
    assert result.code == 0, result.err
    token = result.out.strip()
    claims = jwt.decode(token, HS256_SECRET, algorithms=["HS256"], audience="towow", issuer="https://id.example")
    assert (claims["sub"], claims["scope"]) == ("bob", "read:* append:agent:bob")
    checked = run_cli("token", "check", stdin=token, **environment)
    assert checked.code == 0, checked.err
    said = dict(line.split(None, 1) for line in checked.out.splitlines())
    assert (said["name"], said["read"], said["append"]) == ("bob", "*", "agent:bob")
    assert said["expires"].endswith("Z")


@pytest.mark.slow
def test_a_jwt_of_an_identity_provider_is_checked(tmp_path: Path) -> None:
    """With its JWKS; such a server does not sign."""
    key = RsaKey("r")
    environment = {
        "TOWOW__AUTH__MODE": "jwt",
        "TOWOW__JWT__AUDIENCE": "towow",
        "TOWOW__JWT__JWKS": write_jwks(tmp_path / "keys.json", key.jwk()),
    }
    assert "alice" in run_cli("token", "check", stdin=key.sign(), **environment).out
    one_line(run_cli("token", "check", stdin=RsaKey("r").sign(), **environment), "not good")
    one_line(run_cli("token", "check", stdin=hs256(), **environment), "not good")
    one_line(run_cli("token", "sign", "--name", "a", "--scope", "read:*", **environment), "HS256", "verifies")


@pytest.mark.parametrize(
    ("arguments", "word", "code"),
    [
        pytest.param(["new", "--scope", "read:*"], "--name", 2, id="no name"),
        pytest.param(["new", "--name", "a"], "--scope", 2, id="no scope"),
        pytest.param(["new", "--name", "a", "--scope", "write:*"], "write:*", 2, id="a wrong scope"),
        pytest.param(["new", "--name", "a", "--scope", "read:[a]"], "read:[a]", 2, id="a wrong glob"),
        pytest.param(["new", "--name", "a b", "--scope", "read:*"], "name", 2, id="a wrong name"),
        pytest.param(["new", "--name", 'a"\nb', "--scope", "read:*"], "name", 2, id="a name that would be other settings"),
        pytest.param(["sign", "--name", "a", "--scope", "x"], "x", 2, id="a wrong scope to sign"),
        pytest.param(["sign", "--name", "a", "--scope", "read:*", "--seconds", "0"], "--seconds", 2, id="no time"),
        pytest.param(["sign", "--name", "a", "--scope", "read:*", "--seconds", "nan"], "--seconds", 2, id="no number"),
        pytest.param(["sign", "--name", "a", "--scope", "read:*", "--seconds", "inf"], "--seconds", 2, id="for ever"),
        pytest.param(["sign", "--name", "", "--scope", "read:*"], "name", 2, id="no name to sign"),
        pytest.param(["forge"], "forge", 2, id="no such part"),
        pytest.param(["check", "--config", "/nowhere/config.toml"], "/nowhere/config.toml", 1, id="no such settings"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], word: str, code: int) -> None:
    """It names the flag at fault."""
    one_line(run_cli("token", *arguments, stdin="", **HS256), word, code=code)


def test_signing_needs_a_secret_and_an_audience() -> None:
    """What is signed without them no server takes."""
    arguments = ("token", "sign", "--name", "a", "--scope", "read:*")
    one_line(run_cli(*arguments, **HS256 | {"SIGNING": "short"}), "32")
    one_line(run_cli(*arguments, **HS256 | {"TOWOW__JWT__AUDIENCE": ""}), "audience")


def test_nothing_is_checked_where_nobody_is_asked() -> None:
    """Rather than called good."""
    one_line(run_cli("token", "check", stdin="anything"), "off")


def test_what_token_new_prints_is_toml_by_itself(tmp_path: Path) -> None:
    """From the first `#` of the settings on."""
    result = run_cli("token", "new", "--name", "a", "--scope", "read:*")
    comment, secret, blank, *settings = result.out.splitlines()
    assert comment.startswith("#")
    assert blank == ""
    assert tomllib.loads("\n".join(settings))["auth"]["tokens"][0]["name"] == "a"
    assert secret not in "\n".join(settings)
