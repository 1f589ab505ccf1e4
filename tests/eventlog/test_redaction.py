"""Secrets that are planted wherever programs put them: none is stored, and what is no secret stays as it is."""

import json

import pytest

from server.eventlog.redaction import REDACTED, Redaction, is_secret_name
from tests.support import assert_linear
from towow.events import MAX_NESTING, payload_json

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nplanted0\n-----END RSA PRIVATE KEY-----"
S = "Pl4nted-s3cret"

# What is sent, and the secret in it.
PLANTED = [
    ({"password": S}, S),
    ({"db_password": S}, S),
    ({"DB-Password": S}, S),
    ({"dbPassword": S}, S),
    ({"userPasswd": S}, S),
    ({"PGPASSWORD": S}, S),
    ({"mysql_pwd": S}, S),
    ({"passphrase": S}, S),
    ({"client_secret": S}, S),
    ({"clientSecret": S}, S),
    ({"X-Auth-Token": S}, S),
    ({"x-api-key": S}, S),
    ({"APIKey": S}, S),
    ({"apiKey": S}, S),
    ({"OPENAI_API_KEY": S}, S),
    ({"aws_secret_access_key": S}, S),
    ({"secretAccessKey": S}, S),
    ({"private_key": S}, S),
    ({"signing-key": S}, S),
    ({"Set-Cookie": f"sid={S}; HttpOnly"}, S),
    ({"Cookie": f"sid={S}"}, S),
    ({"Authorization": f"Bearer {S}"}, S),
    ({"Proxy-Authorization": f"Basic {S}"}, S),
    ({"refresh_token": S}, S),
    ({"idToken": S}, S),
    ({"token": S}, S),
    ({"credentials": {"user": "a", "value": S}}, S),
    ({"password": 73418264}, "73418264"),
    ({"数据库密码": S}, S),
    ({"令牌": S}, S),
    ({"headers": [["X-Auth-Token", S]]}, S),
    ({"headers": [{"name": "Authorization", "value": S}]}, S),
    ({"env": [{"key": "DB_PASSWORD", "value": S}]}, S),
    ({"env": {"deep": [{"nested": {"secretKey": S}}]}}, S),
    ({"args": ["--password", S]}, S),
    ({"args": ["login", "--api-key", S, "--verbose"]}, S),
    ({"args": [f"--token={S}"]}, S),
    ({"command": f"mysql -u root --password={S} shop"}, S),
    ({"command": f"mysql -h db -u root -p{S} shop"}, S),
    ({"command": f"sshpass -p {S} ssh host"}, S),
    ({"command": f"curl -u admin:{S} https://example.org"}, S),
    ({"command": f"curl --user admin:{S} https://example.org"}, S),
    ({"command": f"curl -H 'Authorization: Bearer {S}' https://example.org"}, S),
    ({"command": f'curl -H "X-Api-Key: {S}" https://example.org'}, S),
    ({"command": f"export DB_PASSWORD='{S}' && make"}, S),
    ({"command": f"docker login -u bob --password {S}"}, S),
    ({"command": f"PGPASSWORD={S} psql -c 'select 1'"}, S),
    ({"url": f"postgres://shop:{S}@db.example.org/shop"}, S),
    ({"url": f"redis://:{S}@cache:6379/0"}, S),
    ({"url": f"https://example.org/cb?access_token={S}&x=1"}, S),
    ({"url": f"https://store.example.org/blob?sv=1&sig={S}"}, S),
    ({"dsn": f"Server=db;User Id=sa;Password={S};Database=shop"}, S),
    ({"dsn": f"DefaultEndpointsProtocol=https;AccountKey={S};"}, S),
    ({"message": f"login failed: password: {S}"}, S),
    ({"message": f"401 from upstream: Incorrect API key: {S}"}, S),
    ({"message": f'upstream said {{"error": "x", "client_secret": "{S}"}}'}, S),
    ({"message": f"连接失败，密码：{S}"}, S),
    ({"message": f"Set-Cookie: sid={S}; Path=/"}, S),
    ({"text": f"here is {JWT} for you"}, JWT[40:60]),
    ({"text": PEM}, "planted0"),
    ({"text": "AKIAIOSFODNN7EXAMPLE in the log"}, "AKIAIOSFODNN7EXAMPLE"),
    ({"text": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}, "ghp_16C7e42F"),
    ({"text": "github_pat_11ABCDEFG0abcdefghij_klmnop"}, "klmnop"),
    ({"text": "glpat-abcdefghij1234567890"}, "abcdefghij1234567890"),
    ({"text": "xoxb-123456789012-abcdefGHIJ"}, "abcdefGHIJ"),
    ({"text": "sk-proj-abcdEFGH1234ijklMNOP5678"}, "MNOP5678"),
    ({"text": "sk-ant-api03-abcdEFGH1234ijklMNOP"}, "ijklMNOP"),
    ({"text": "sk_live_4eC39HqLyjWDarjtT1zdp7dc"}, "Darjt"),
    ({"text": "AIzaSyA1234567890abcdefghijklmnopqrstuv"}, "SyA1234"),
    ({"text": "npm_abcdefghijklmnopqrstuvwxyz0123456789"}, "opqrst"),
    ({"text": "hf_abcdefghijklmnopqrstuvwxyz"}, "opqrst"),
    ({"text": "SG.abcdefghijklmnopqrstuv.wxyzABCDEFGHIJKLMN"}, "ABCDEFG"),
    ({"text": "LTAI5tAbcdefghijklmnopqr"}, "Abcdefg"),
]

KEPT = [
    {"tokens": 300, "max_tokens": 400, "token": 7, "token_count": 9},
    {"page_token": "abc", "next_token": "def"},
    {"author": "ann", "authority": "x", "authored_at": "2026-01-01T00:00:00Z"},
    {"key": "value", "keys": ["a", "b"], "keyboard": "qwerty", "monkey": "see"},
    {"has_password": True, "password": None, "secret": ""},
    {"text": "a tokenizer splits words into tokens, which an author may count"},
    {"text": "The password must have eight characters. The token: it expires in an hour."},
    {"url": "https://example.org/a/b?x=1&page=2#top"},
    {"url": "mailto:ann@example.org, ssh://git@example.org/repo"},
    {"text": "运行工具之前需要批准"},
    {"event_id": "0190b6a0-0000-7000-8000-000000000001", "span": "span-12", "n": 1.5},
    {"command": "ls -p /tmp && cp -u a b && id -u root"},
    {"session_id": "s-1", "permission_id": "perm-1", "agent_id": "ann", "user_id": "u"},
]
REDACTION = Redaction(("pin_code",))


@pytest.mark.parametrize(("payload", "secret"), [pytest.param(*each, id=f"{n}") for n, each in enumerate(PLANTED)])
def test_a_planted_secret_is_taken_out(payload, secret):
    """Under the parts of a name, and in texts by their form; what is stored is JSON, and is not changed again."""
    assert secret in payload_json(payload)
    clean = REDACTION.json(payload_json(payload))
    assert secret not in clean
    assert REDACTED in clean
    assert json.loads(clean).keys() == payload.keys()
    assert REDACTION.json(clean) == clean
    escaped = json.dumps(payload).encode()
    assert secret not in REDACTION.body(escaped).decode()
    line = json.dumps({"stream": "mcp:a", "event_type": "note", "payload": payload}).encode()
    for sent in (line, b'{"stream":"a:b"}\n' + line + b"\n", b'{"events":[' + line + b"]}"):
        assert secret.encode() not in REDACTION.body(sent)


@pytest.mark.parametrize("payload", KEPT, ids=range(len(KEPT)))
def test_what_is_no_secret_stays_as_it_is(payload):
    """Byte for byte: numbers of tokens, authors, pages, sentences about passwords."""
    text = payload_json(payload)
    assert REDACTION.json(text) == text
    assert REDACTION.body(text.encode()) == text.encode()


def test_further_names_are_taken_whatever_their_value_is():
    """`redact_keys`: case, `_`, `-` and spaces do not matter."""
    assert REDACTION.apply({"PIN code": 1234, "pin-code": True, "pins": 1}) == {
        "PIN code": REDACTED,
        "pin-code": REDACTED,
        "pins": 1,
    }
    assert "1234" not in REDACTION.json('{"PIN_CODE":1234}')


def test_what_is_no_json_is_left_to_whoever_refuses_it():
    """A body that cannot be read is refused as it is."""
    for raw in (b"", b"password", b'{"password":', b"\xff token", b'{"token": NaN}', b"[" * 2_000 + b"token"):
        assert REDACTION.body(raw) == raw


def test_turned_off_it_changes_nothing():
    """`[append] redact = false`."""
    off = Redaction((), is_on=False)
    text = payload_json({"password": S})
    assert (off.json(text), off.body(text.encode())) == (text, text.encode())


def test_an_escape_does_not_hide_a_name_or_a_form():
    """JSON can write any letter in six characters."""
    raw = rb'{"p\u0061ssword":"Pl4nted","text":"ghp\u005f16C7e42F292c6912E7710c838347Ae178B4a"}'
    assert b"Pl4nted" not in REDACTION.body(raw)
    assert b"16C7e42F" not in REDACTION.body(raw)


def test_nesting_has_the_limit_of_every_payload():
    """64 levels."""
    deep = {"password": S}
    for _ in range(MAX_NESTING - 1):
        deep = {"a": deep}
    assert S not in payload_json(REDACTION.apply(deep))


@pytest.mark.parametrize(
    "unit",
    [
        *("a.", "password ", "token=", "eyJ", "-----BEGIN PRIVATE KEY-----", "http://a:", "--token ", "a@b:", "mysql -p "),
        *("key: a", "\u0061"),
    ],
)
def test_no_text_costs_more_than_its_length(unit):
    """A text that is made to be hard is not."""
    assert_linear(lambda text: REDACTION.apply({"text": text}), unit)


@pytest.mark.parametrize("name", ["", "_", "-", "é", "x" * 10_000, "Key", "TOKEN_", "aUtH"])
def test_any_name_is_read(name):
    """Whatever somebody calls a field."""
    assert is_secret_name(name) in (True, False)
