"""JWTs of an identity provider: which are good, which are not, and where keys come from."""

import asyncio
import json

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from server.auth.jwt import JwtKeys
from server.config import JwtSection
from tests.support import refused
from tests.support.tokens import (
    AUDIENCE,
    HS256_SECRET,
    NOW,
    Clock,
    EcKey,
    EdKey,
    RsaKey,
    claims,
    forged,
    hmac_with,
    hs256,
    write_jwks,
)
from towow.errors import StartupError, Unauthorized, Unavailable

RSA_HEADER = {"alg": "RS256", "typ": "JWT"}


@pytest.fixture(scope="module")
def rsa_key():
    """A key for RS256 with the id `r1`."""
    return RsaKey("r1")


@pytest.fixture(scope="module")
def ed_key():
    """A key for EdDSA with the id `e1`."""
    return EdKey("e1")


@pytest.fixture
def clock():
    """A clock that stands still until it is set."""
    return Clock()


@pytest.fixture
def secret(monkeypatch):
    """The variable that holds the secret of HS256."""
    monkeypatch.setenv("TOWOW_TEST_SECRET", HS256_SECRET)
    return "TOWOW_TEST_SECRET"


@pytest.fixture
def shared(secret, clock):
    """Keys for HS256."""
    return JwtKeys(JwtSection(algorithms=("HS256",), secret_env=secret, audience=AUDIENCE), clock)


async def opened(clock, jwks, **section):
    """Keys from a JWKS, read."""
    keys = JwtKeys(JwtSection(jwks=str(jwks), audience=AUDIENCE, **section), clock)
    await keys.open()
    return keys


async def is_refused(keys, token):
    """Whether a token is refused in the one way that says nothing."""
    with pytest.raises(Unauthorized) as caught:
        await keys.recognise(token)
    assert caught.value.message == "a valid token is needed"
    assert caught.value.__cause__ is None
    return True


async def is_put_off(keys, token):
    """Whether a token can be neither taken nor refused, because nobody knows the keys: 503, and when to come again."""
    with pytest.raises(Unavailable) as caught:
        await keys.recognise(token)
    assert caught.value.details == {"retry_after_seconds": 30}
    return True


# What counts


async def test_a_good_token_says_who_and_what_and_until_when(shared):
    """The subject is the actor, the scopes are globs."""
    found = await shared.recognise(hs256())
    assert (found.name, found.read, found.append, found.via) == ("alice", ("task:*",), ("task:*",), "jwt")
    assert found.expires_at == NOW + 600
    assert found.csrf == ""


@pytest.mark.parametrize(
    "scopes", [{"scope": "read:a openid append:b"}, {"scope": None, "scopes": ["read:a", "openid", "append:b"]}]
)
async def test_scopes_are_text_or_a_list_and_foreign_ones_are_left_out(shared, scopes):
    """A provider's token serves other services, too."""
    found = await shared.recognise(hs256(claims(**scopes)))
    assert (found.read, found.append) == (("a",), ("b",))


@pytest.mark.parametrize(
    "scopes", [None, "", "openid profile", [], [1, None, {"read:*": 1}, ["read:*"]], {"read:*": True}, 7, True]
)
async def test_without_scopes_of_ours_nothing_is_allowed(shared, scopes):
    """Also when they are of a kind that nobody sends."""
    found = await shared.recognise(hs256(claims(scope=scopes)))
    assert (found.read, found.append) == ((), ())


@pytest.mark.parametrize("scope", ["read:", "read:[a]*", "read:a read:" + "x" * 129, "append:ü"])
async def test_a_scope_of_ours_that_cannot_be_read_is_refused(shared, scope):
    """Rather than taken for another one."""
    assert await is_refused(shared, hs256(claims(scope=scope)))


async def test_several_audiences_may_hold_ours(shared):
    """`aud` may be a list."""
    assert (await shared.recognise(hs256(claims(aud=["other", AUDIENCE])))).name == "alice"


async def test_the_issuer_counts_when_it_is_set(secret, clock):
    """Another one's token, or one that does not say, is refused."""
    section = JwtSection(algorithms=("HS256",), secret_env=secret, audience=AUDIENCE, issuer="https://id.example")
    keys = JwtKeys(section, clock)
    assert (await keys.recognise(hs256(claims(iss="https://id.example")))).name == "alice"
    for issuer in (None, "https://other.example", "https://id.example/", ["https://id.example"]):
        assert await is_refused(keys, forged({"alg": "HS256"}, claims(iss=issuer), hmac_with(HS256_SECRET.encode())))


async def test_a_token_counts_no_longer_than_the_settings_say(secret, clock):
    """`exp` is a provider's wish; streams and cookies end at the cap."""
    section = JwtSection(algorithms=("HS256",), secret_env=secret, audience=AUDIENCE, max_age_seconds=60.0)
    keys = JwtKeys(section, clock)
    for expiry in (NOW + 1e6, NOW + 1e15, 1e300):
        assert (await keys.recognise(hs256(claims(exp=expiry)))).expires_at == NOW + 60
    assert (await keys.recognise(hs256(claims(exp=NOW + 59)))).expires_at == NOW + 59


async def test_an_old_token_is_refused_whatever_its_expiry_says(secret, clock):
    """The cap counts from `iat`, so that a token for ten years is none."""
    section = JwtSection(algorithms=("HS256",), secret_env=secret, audience=AUDIENCE, max_age_seconds=60.0)
    keys = JwtKeys(section, clock)
    given = hs256(claims(iat=NOW, exp=NOW + 1e8))
    assert (await keys.recognise(given)).expires_at == NOW + 60
    clock.now += 30
    assert (await keys.recognise(given)).expires_at == NOW + 60
    clock.now += 40
    assert await is_refused(keys, given)


async def test_expiry_is_compared_with_the_servers_clock_and_the_leeway(shared, clock):
    """Good up to the second, five seconds are forgiven, then it is over."""
    given = hs256(claims(exp=NOW + 10))
    for clock.now in (NOW, NOW + 14.9):
        assert (await shared.recognise(given)).name == "alice"
    for clock.now in (NOW + 15, NOW + 1e6):
        assert await is_refused(shared, given)


async def test_a_token_does_not_count_before_its_time(shared, clock):
    """`nbf`, with the same leeway."""
    given = hs256(claims(nbf=NOW + 10))
    assert await is_refused(shared, given)
    clock.now = NOW + 4.9
    assert await is_refused(shared, given)
    clock.now = NOW + 5
    assert (await shared.recognise(given)).name == "alice"


# What does not count


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"aud": "other"}, id="another audience"),
        pytest.param({"aud": ["other", "another"]}, id="other audiences"),
        pytest.param({"aud": []}, id="an empty list"),
        pytest.param({"aud": [[AUDIENCE]]}, id="a nested audience"),
        pytest.param({"aud": {"a": AUDIENCE}}, id="an object for an audience"),
        pytest.param({"aud": AUDIENCE.upper()}, id="another case"),
        pytest.param({"exp": None}, id="no expiry"),
        pytest.param({"exp": NOW - 6}, id="expired"),
        pytest.param({"exp": 0}, id="expired long ago"),
        pytest.param({"exp": -1e300}, id="expired before the world"),
        pytest.param({"exp": "tomorrow"}, id="a word for an expiry"),
        pytest.param({"exp": str(int(NOW) + 600)}, id="text for an expiry"),
        pytest.param({"exp": True}, id="true for an expiry"),
        pytest.param({"exp": [int(NOW) + 600]}, id="a list for an expiry"),
        pytest.param({"nbf": NOW + 60}, id="not yet"),
        pytest.param({"nbf": "now"}, id="a word for nbf"),
        pytest.param({"nbf": "0"}, id="text for nbf"),
        pytest.param({"nbf": {}}, id="an object for nbf"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"sub": ""}, id="an empty subject"),
        pytest.param({"sub": 7}, id="a number for a subject"),
        pytest.param({"sub": ["alice"]}, id="a list for a subject"),
        pytest.param({"sub": "a" * 129}, id="a long subject"),
        pytest.param({"sub": "a\r\nSet-Cookie: x=y"}, id="a subject with a line break"),
        pytest.param({"sub": "a\u202eb"}, id="a subject that turns text around"),
    ],
)
async def test_a_token_with_unsound_claims_is_refused(shared, changes):
    """Well signed and yet worth nothing."""
    assert await is_refused(shared, hs256(claims(**changes)))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"sub":"a","aud":"towow","exp":NaN}', id="exp NaN"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":-Infinity}', id="exp minus infinity"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":1' + b"0" * 400 + b"}", id="a huge exp"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":1' + b"0" * 5000 + b"}", id="an exp of too many digits"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":9e9,"nbf":NaN}', id="nbf NaN"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":9e9,"nbf":Infinity}', id="nbf infinity"),
        pytest.param(b'{"sub":"a","aud":"towow","exp":null}', id="exp null"),
        pytest.param(b"[" * 5000 + b"]" * 5000, id="deep nesting"),
        pytest.param(b'{"a":' * 2000 + b"1" + b"}" * 2000, id="deep objects"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
async def test_a_well_signed_payload_of_garbage_is_refused(shared, payload):
    """Never an error of ours."""
    assert await is_refused(shared, forged({"alg": "HS256"}, payload, hmac_with(HS256_SECRET.encode())))


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        "e30.e30.e30",
        "x" * 8000,
        "\u00e9.\u00e9.\u00e9",
        " ",
        "null",
        "eyJ.eyJ",
        "=.=.=",
    ],
)
async def test_what_is_no_token_is_refused(shared, given):
    """Before anything is believed."""
    assert await is_refused(shared, given)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, "HS384", "HS512", "RS256", 7, ["HS256"]])
async def test_the_token_does_not_choose_how_it_is_verified(shared, algorithm):
    """Unsigned, or signed in a way that the settings do not name."""
    for sign in (lambda signed: b"", hmac_with(HS256_SECRET.encode()), hmac_with(b"")):
        assert await is_refused(shared, forged({"alg": algorithm}, claims(), sign))


async def test_a_token_is_refused_when_any_part_was_changed(shared):
    """Header, claims and signature, one character each."""
    parts = hs256().split(".")
    for number in range(3):
        for index in (0, len(parts[number]) // 2):
            changed = list(parts)
            letter = "A" if parts[number][index] != "A" else "B"
            changed[number] = parts[number][:index] + letter + parts[number][index + 1 :]
            assert await is_refused(shared, ".".join(changed))


async def test_a_token_of_another_secret_is_refused(shared):
    """And one that is signed with nothing."""
    assert await is_refused(shared, hs256(secret="f" * 32))
    assert await is_refused(shared, forged({"alg": "HS256"}, claims(), hmac_with(b"")))


async def test_an_extension_that_must_be_understood_is_refused(shared):
    """`crit` names what a verifier has to know (RFC 7515, section 4.1.11); unencoded payloads are such a thing."""
    for header in ({"alg": "HS256", "crit": ["b64"], "b64": False}, {"alg": "HS256", "crit": ["x"], "x": 1}):
        assert await is_refused(shared, forged(header, claims(), hmac_with(HS256_SECRET.encode())))


# Public keys


async def test_both_kinds_of_public_keys_verify(rsa_key, ed_key, clock, tmp_path):
    """Each by its id."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk(), ed_key.jwk()))
    for key in (rsa_key, ed_key):
        assert (await keys.recognise(key.sign())).name == "alice"


async def test_a_public_key_is_never_a_secret(rsa_key, ed_key, clock, tmp_path):
    """HS256 signed with what everybody can read, in every form it has."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk(), ed_key.jwk()))
    public = rsa_key.private.public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(rsa_key.jwk()).encode(),
        ed_key.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
    ]
    for form in forms:
        for algorithm in ("HS256", "RS256", "EdDSA", "none"):
            for key_id in ("r1", "e1"):
                assert await is_refused(keys, forged({"alg": algorithm, "kid": key_id}, claims(), hmac_with(form)))


async def test_a_key_verifies_its_own_algorithm_only(rsa_key, ed_key, clock, tmp_path):
    """A token that names another key, or another way of signing."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk(), ed_key.jwk()))
    assert await is_refused(keys, rsa_key.sign(kid="e1"))
    assert await is_refused(keys, ed_key.sign(kid="r1"))
    for algorithm in ("RS384", "RS512", "PS256"):
        given = jwt.encode(claims(), rsa_key.private, algorithm=algorithm, headers={"kid": "r1"})
        assert await is_refused(keys, given)


async def test_an_algorithm_that_the_settings_do_not_name_has_no_key(rsa_key, ed_key, clock, tmp_path):
    """Although it stands in the file."""
    file = write_jwks(tmp_path / "keys.json", rsa_key.jwk(), ed_key.jwk())
    keys = await opened(clock, file, algorithms=("EdDSA",))
    assert (await keys.recognise(ed_key.sign())).name == "alice"
    assert await is_refused(keys, rsa_key.sign())


async def test_keys_that_a_token_brings_along_do_not_count(rsa_key, clock, tmp_path):
    """`jwk`, `jku` and `x5u` are the sender's words."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk()))
    other = RsaKey("r1")
    for header in ({"jwk": other.jwk()}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/x"}):
        assert await is_refused(keys, other.sign(**header))


async def test_a_token_without_a_key_id_is_taken_when_there_is_only_one_key(rsa_key, clock, tmp_path):
    """With several nobody guesses."""
    nameless = RsaKey()
    keys = await opened(clock, write_jwks(tmp_path / "one.json", nameless.jwk()))
    assert (await keys.recognise(nameless.sign())).name == "alice"
    named = await opened(clock, write_jwks(tmp_path / "named.json", rsa_key.jwk()))
    assert (await named.recognise(jwt.encode(claims(), rsa_key.private, algorithm="RS256"))).name == "alice"
    two = await opened(clock, write_jwks(tmp_path / "two.json", rsa_key.jwk(), RsaKey("r2").jwk()))
    assert await is_refused(two, jwt.encode(claims(), rsa_key.private, algorithm="RS256"))


async def test_a_token_that_names_an_unknown_key_is_refused(rsa_key, clock, tmp_path):
    """Also when there is just one other."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk()))
    assert await is_refused(keys, rsa_key.sign(kid="r2"))


@pytest.mark.parametrize("key_id", [7, None, ["r1"], {"r1": 1}, "", "r1\x00", "x" * 5000])
async def test_a_strange_key_id_is_refused(rsa_key, clock, tmp_path, key_id):
    """It is looked up, never opened or fetched."""
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", rsa_key.jwk(), RsaKey("r2").jwk()))
    assert await is_refused(keys, forged(RSA_HEADER | {"kid": key_id}, claims(), hmac_with(b"x")))


# Settings


@pytest.mark.parametrize(
    ("section", "field"),
    [
        pytest.param({"audience": "", "jwks": "x"}, "jwt.audience", id="no audience"),
        pytest.param({}, "jwt.jwks", id="no keys"),
        pytest.param({"algorithms": ()}, "jwt.jwks", id="no algorithms"),
        pytest.param({"algorithms": ("HS256", "RS256"), "jwks": "x"}, "jwt.algorithms", id="HS256 beside RS256"),
        pytest.param({"algorithms": ("EdDSA", "HS256")}, "jwt.algorithms", id="HS256 beside EdDSA"),
        pytest.param({"algorithms": ("HS256",), "jwks": "x"}, "jwt.algorithms", id="HS256 with public keys"),
        pytest.param({"algorithms": ("HS256",)}, "jwt.secret_env", id="no variable"),
        ({"algorithms": ("HS256",), "secret_env": "TOWOW_NOT_SET"}, "jwt.secret_env"),
        pytest.param({"jwks": "http://id.example/keys"}, "jwt.jwks", id="a URL that others can change on the way"),
        pytest.param({"jwks": "http://127.0.0.1.evil.example/keys"}, "jwt.jwks", id="a name that only begins like ours"),
        pytest.param({"jwks": "http://localhost.evil.example/keys"}, "jwt.jwks", id="another such name"),
        pytest.param({"jwks": "http://127.0.0.1@evil.example/keys"}, "jwt.jwks", id="a user that looks like an address"),
        pytest.param({"jwks": "file:///etc/keys"}, "jwt.jwks", id="another scheme"),
    ],
)
def test_settings_that_verify_nothing_are_refused(clock, section, field):
    """At start, with the setting at fault."""
    with refused(StartupError, field):
        JwtKeys(JwtSection(**{"audience": AUDIENCE, **section}), clock)


@pytest.mark.parametrize("url", ["https://id.example/keys", "http://127.0.0.1:8123/keys", "http://localhost/keys"])
def test_keys_come_from_https_or_this_machine(clock, url):
    """Elsewhere anybody on the way could put in a key of his own."""
    JwtKeys(JwtSection(jwks=url, audience=AUDIENCE), clock)


def test_a_short_secret_is_refused(clock, monkeypatch):
    """31 bytes are too few, 32 will do."""
    section = JwtSection(algorithms=("HS256",), secret_env="TOWOW_TEST_SECRET", audience=AUDIENCE)
    monkeypatch.setenv("TOWOW_TEST_SECRET", "x" * 31)
    with refused(StartupError, "jwt.secret_env"):
        JwtKeys(section, clock)
    monkeypatch.setenv("TOWOW_TEST_SECRET", "x" * 32)
    JwtKeys(section, clock)


GOOD_RSA = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("no JSON", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param("{}", id="no keys"),
        pytest.param('{"keys": []}', id="an empty list"),
        pytest.param('{"keys": null}', id="null for a list"),
        pytest.param('{"keys": 7}', id="a number for a list"),
        pytest.param('{"keys": "RSA"}', id="text for a list"),
        pytest.param('{"keys": [null, 1, "x", []]}', id="no objects"),
        pytest.param('{"keys": [{"kty": "oct", "k": "AAAA"}]}', id="a secret"),
        pytest.param('{"keys": [{"kty": "RSA"}]}', id="no modulus"),
        pytest.param('{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AAAA"}]}', id="a key that does not sign"),
        pytest.param('{"keys": [{"kty": "RSA", "kid": ["a"], "n": "AQAB", "e": "AQAB"}]}', id="a list for an id"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param("\ud800", id="no text"),
    ],
)
async def test_a_file_without_a_usable_key_is_refused_at_start(clock, tmp_path, text):
    """In the one kind of error that becomes one line."""
    file = tmp_path / "keys.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refused(StartupError, "jwt.jwks"):
        await opened(clock, file)


async def test_a_file_that_is_not_there_is_refused_at_start(clock, tmp_path):
    """Its name is said."""
    with pytest.raises(StartupError, match=r"none\.json"):
        await opened(clock, tmp_path / "none.json")


async def test_a_private_key_is_not_taken(rsa_key, ed_key, clock, tmp_path):
    """It does not belong in a file for verifiers; whoever put it there must notice."""
    for key in (rsa_key, ed_key):
        with pytest.raises(StartupError):
            await opened(clock, write_jwks(tmp_path / "keys.json", key.jwk(is_private=True)))


async def test_keys_for_other_purposes_are_left_out(rsa_key, ed_key, clock, tmp_path):
    """Encryption, other algorithms, or a kind that is not known: the others still count."""
    odd = [
        RsaKey("enc").jwk() | {"use": "enc"},
        RsaKey("oaep").jwk() | {"alg": "RSA-OAEP"},
        RsaKey("private").jwk(is_private=True),
        {"kty": "EC", "crv": "P-256", "kid": "ec", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AA"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": 7},
        {"kid": "nothing"},
    ]
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", *odd[:3], rsa_key.jwk(), *odd[3:], ed_key.jwk()))
    assert set(keys._keys) == {"r1", "e1"}
    assert (await keys.recognise(rsa_key.sign())).name == "alice"


@pytest.mark.parametrize(("bits", "is_taken"), [(1024, False), (2048, True)])
async def test_a_short_rsa_key_is_not_taken(clock, tmp_path, bits, is_taken):
    """1,024 bits can be factored."""
    key = RsaKey("r1", bits)
    opening = opened(clock, write_jwks(tmp_path / "keys.json", key.jwk()))
    if is_taken:
        assert (await (await opening).recognise(key.sign())).name == "alice"
    else:
        with refused(StartupError, "jwt.jwks"):
            await opening


async def test_es256_is_verified_like_the_others(clock, tmp_path):
    """On its own curve, and by no other algorithm."""
    key = EcKey("ec1")
    keys = await opened(clock, write_jwks(tmp_path / "keys.json", key.jwk()))
    assert (await keys.recognise(key.sign())).name == "alice"
    assert await is_refused(keys, EcKey("ec1").sign())
    with refused(StartupError, "jwt.jwks"):
        await opened(clock, write_jwks(tmp_path / "keys.json", key.jwk()), algorithms=("RS256",))


# Keys from a URL


class Provider:
    """An identity provider's keys over HTTP, on this machine."""

    def __init__(self):
        self.entries = []
        self.asked = 0
        self.padding = ""
        self.status = 200
        self.gate = None
        self.headers = {}
        self.others = []
        self.asked_elsewhere = 0

    async def other(self, request):
        """Keys at another address."""
        self.asked_elsewhere += 1
        return web.json_response({"keys": self.others})

    async def answer(self, request):
        """The keys of the moment."""
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        text = json.dumps({"keys": self.entries, "padding": self.padding})
        return web.Response(status=self.status, text=text, content_type="application/json", headers=self.headers)


@pytest.fixture
async def provider(aiohttp_server, rsa_key):
    """A provider that knows one key."""
    provider = Provider()
    provider.entries = [rsa_key.jwk()]
    app = web.Application()
    app.router.add_get("/keys", provider.answer)
    app.router.add_get("/other", provider.other)
    server = await aiohttp_server(app)
    provider.url = str(server.make_url("/keys"))
    provider.server = server
    return provider


@pytest.fixture
async def fetched(clock, provider):
    """Keys that were read from the provider."""
    keys = await opened(clock, provider.url)
    yield keys
    await keys.close()


async def test_keys_are_read_from_a_url_once(provider, fetched, rsa_key):
    """At start; a known key asks for nothing."""
    for _ in range(3):
        assert (await fetched.recognise(rsa_key.sign())).name == "alice"
    assert provider.asked == 1


async def test_an_unknown_key_asks_again_but_not_more_often_than_twice_a_minute(provider, fetched, ed_key, clock):
    """A stranger's made-up ids are not passed on to the provider."""
    provider.entries.append(ed_key.jwk())
    clock.now += 29.9
    for _ in range(50):
        assert await is_refused(fetched, ed_key.sign())
    assert provider.asked == 1
    clock.now += 0.1
    assert (await fetched.recognise(ed_key.sign())).name == "alice"
    assert provider.asked == 2
    for number in range(50):
        assert await is_refused(fetched, ed_key.sign(kid=f"made-up-{number}"))
    assert provider.asked == 2
    clock.now += 30
    assert await is_refused(fetched, ed_key.sign(kid="made-up"))
    assert provider.asked == 3


async def test_keys_that_the_provider_took_back_count_no_more(provider, fetched, rsa_key, ed_key, clock):
    """As soon as it is asked again."""
    provider.entries = [ed_key.jwk()]
    clock.now += 30
    assert (await fetched.recognise(ed_key.sign())).name == "alice"
    assert await is_refused(fetched, rsa_key.sign())


async def test_keys_are_asked_for_again_after_a_while_without_an_unknown_one(provider, fetched, rsa_key, ed_key, clock):
    """Or a key that was stolen and taken back would count for ever."""
    provider.entries = [ed_key.jwk()]
    clock.now += 86_400
    given = rsa_key.sign(claims(exp=clock.now + 600))
    assert await is_refused(fetched, given)
    assert provider.asked == 2


@pytest.mark.parametrize("break_it", ["status", "redirect", "garbage", "empty"])
async def test_a_provider_that_fails_leaves_the_known_keys(provider, fetched, rsa_key, clock, break_it):
    """And the log says so without saying what was answered."""
    if break_it == "status":
        provider.status = 503
    elif break_it == "redirect":
        provider.status, provider.headers = 302, {"Location": "/other"}
        provider.others = [RsaKey("new").jwk()]
    elif break_it == "empty":
        provider.entries = []
    else:
        provider.entries = None
    clock.now += 30
    with capture_logs() as lines:
        assert await (is_put_off if break_it == "status" else is_refused)(fetched, rsa_key.sign(kid="new"))
    assert (provider.asked, provider.asked_elsewhere) == (2, 0)
    assert (await fetched.recognise(rsa_key.sign())).name == "alice"
    assert break_it in ("empty", "garbage", "redirect") or [line["event"] for line in lines] == ["keys_not_read"]
    assert "127.0.0.1" not in repr(lines)


async def test_a_server_that_is_down_at_start_is_asked_again_later(aiohttp_server, rsa_key, clock, unused_tcp_port):
    """Starting does not depend on another machine; until then tokens are refused."""
    keys = await opened(clock, f"http://127.0.0.1:{unused_tcp_port}/keys")
    try:
        assert await is_put_off(keys, rsa_key.sign())
        provider = Provider()
        provider.entries = [rsa_key.jwk()]
        app = web.Application()
        app.router.add_get("/keys", provider.answer)
        await aiohttp_server(app, port=unused_tcp_port)
        assert await is_put_off(keys, rsa_key.sign())
        assert provider.asked == 0
        clock.now += 30
        assert (await keys.recognise(rsa_key.sign())).name == "alice"
    finally:
        await keys.close()


async def test_a_long_answer_is_read_to_its_end(provider, rsa_key, clock):
    """It comes in several pieces."""
    provider.padding = "x" * 700_000
    keys = await opened(clock, provider.url)
    try:
        assert (await keys.recognise(rsa_key.sign())).name == "alice"
    finally:
        await keys.close()


async def test_an_endless_answer_is_cut(provider, rsa_key, clock):
    """Nothing of it is taken, and memory has an end."""
    provider.padding = "x" * 3_000_000
    keys = await opened(clock, provider.url)
    try:
        assert await is_put_off(keys, rsa_key.sign())
    finally:
        await keys.close()


async def test_tokens_that_come_while_the_keys_are_on_their_way_wait_for_them(provider, fetched, ed_key, clock):
    """One question serves all, and none of them is refused for being second."""
    provider.entries.append(ed_key.jwk())
    provider.gate = asyncio.Event()
    clock.now += 30
    asking = [asyncio.create_task(fetched.recognise(ed_key.sign())) for _ in range(5)]
    while provider.asked < 2:
        await asyncio.sleep(0)
    provider.gate.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [getattr(each, "name", each) for each in found] == ["alice"] * 5
    assert provider.asked == 2


async def test_a_client_that_leaves_does_not_take_the_keys_from_the_others(provider, fetched, ed_key, clock):
    """Or whoever asks with a made-up key and hangs up, twice a minute, would keep new keys away for ever."""
    provider.entries.append(ed_key.jwk())
    provider.gate = asyncio.Event()
    clock.now += 30
    first = asyncio.create_task(fetched.recognise(ed_key.sign(kid="made-up")))
    while provider.asked < 2:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(fetched.recognise(ed_key.sign()))
    provider.gate.set()
    assert (await second).name == "alice"
    assert provider.asked == 2


async def test_a_clock_that_was_set_back_does_not_stop_questions(provider, fetched, ed_key, clock):
    """The pause is half a minute, not until the old time comes again."""
    provider.entries.append(ed_key.jwk())
    clock.now -= 3600
    assert (await fetched.recognise(ed_key.sign())).name == "alice"
