"""What tests of authentication need: settings with tokens, a clock that is set by hand, keys, JWTs and how to forge them."""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from server.config import TokenSection
from tests.support import changed

NOW = 1_800_000_000.0
AUDIENCE = "towow"
HS256_SECRET = "0123456789abcdef0123456789abcdef"


class Clock:
    """Seconds since 1970, as a test wants them."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        """Now."""
        return self.now


def secret_of(name):
    """The secret of the token with this name."""
    return f"secret-of-{name}-{hashlib.sha256(name.encode()).hexdigest()[:20]}"


def bearer(name):
    """The header that the token with this name is sent in."""
    return {"Authorization": f"Bearer {secret_of(name)}"}


def token(name, *scopes):
    """A table of `[[auth.tokens]]`."""
    return TokenSection(name=name, scopes=scopes, token=secret_of(name))


def with_tokens(config, *tokens, **auth):
    """Settings that know these tokens."""
    return changed(config, "auth", mode="token", tokens=tokens, **auth)


def with_jwt(config, **section):
    """Settings that take JWTs; HS256 with the secret in TOWOW_TEST_SECRET unless they say otherwise."""
    given = {"algorithms": ("HS256",), "secret_env": "TOWOW_TEST_SECRET", "audience": AUDIENCE, **section}
    return changed(changed(config, "auth", mode="jwt"), "jwt", **given)


def claims(**changes):
    """Sound claims with some changed; None leaves one out."""
    sound = {"sub": "alice", "aud": AUDIENCE, "exp": int(NOW) + 600, "scope": "read:task:* append:task:*"}
    return {name: value for name, value in (sound | changes).items() if value is not None}


def hs256(given=None, secret=HS256_SECRET):
    """A JWT signed with the secret."""
    return jwt.encode(claims() if given is None else given, secret, algorithm="HS256")


def forged(header, payload, sign=lambda signed: b""):
    """A JWT whose every part is as it is given: `payload` claims or raw JSON, `sign(bytes)` its signature."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = _base64(json.dumps(header).encode()) + b"." + _base64(raw)
    return (signed + b"." + _base64(sign(signed))).decode()


def hmac_with(secret):
    """How HS256 signs, with any secret at all."""
    return lambda signed: hmac.digest(secret, signed, "sha256")


def _base64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class RsaKey:
    """A key of an identity provider for RS256."""

    algorithm = "RS256"

    def __init__(self, key_id=None, bits=2048):
        self.key_id = key_id
        self.private = rsa.generate_private_key(65537, bits)

    def jwk(self, *, is_private=False):
        """Its entry in a JWKS."""
        key = self.private if is_private else self.private.public_key()
        return self._named(RSAAlgorithm.to_jwk(key, as_dict=True))

    def sign(self, given=None, **header):
        """A JWT."""
        named = {"kid": self.key_id} if self.key_id is not None else {}
        return jwt.encode(claims() if given is None else given, self.private, algorithm=self.algorithm, headers=named | header)

    def _named(self, entry):
        return entry | ({"kid": self.key_id} if self.key_id is not None else {})


class EdKey(RsaKey):
    """The same for EdDSA."""

    algorithm = "EdDSA"

    def __init__(self, key_id=None):
        self.key_id = key_id
        self.private = ed25519.Ed25519PrivateKey.generate()

    def jwk(self, *, is_private=False):
        """Its entry in a JWKS."""
        key = self.private if is_private else self.private.public_key()
        return self._named(OKPAlgorithm.to_jwk(key, as_dict=True))


class EcKey(RsaKey):
    """The same for ES256."""

    algorithm = "ES256"

    def __init__(self, key_id=None):
        self.key_id = key_id
        self.private = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, *, is_private=False):
        """Its entry in a JWKS."""
        key = self.private if is_private else self.private.public_key()
        return self._named(ECAlgorithm.to_jwk(key, as_dict=True))


def write_jwks(path, *entries):
    """A JWKS file; returns its name."""
    path.write_text(json.dumps({"keys": list(entries)}))
    return str(path)
