"""What must not be stored, because rows are for ever: values under names of secrets, and texts that look like secrets. Pure.

Names count by their parts (`db_password`, `X-Auth-Token`, `setCookie`), texts by their form (keys of well-known services, JWTs,
private keys, URLs with a password, `--password x`, `Authorization: …`). What is replaced says so."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from towow.errors import InvalidBody
from towow.events import MAX_NESTING, payload_json

REDACTED = "[redacted]"
_SHORTEST_TEXT = 6  # characters; nothing shorter has a form

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = frozenset(
    (
        *("password", "passwords", "passwd", "passphrase", "passcode", "pwd", "pgpassword", "userpass", "secret", "secrets"),
        *("credential", "credentials", "apikey", "apikeys", "apitoken", "authtoken", "accesstoken", "refreshtoken", "jwt"),
        *("privatekey", "secretkey", "clientsecret", "authorization", "bearer", "cookie", "cookies", "setcookie"),
    )
)
_KEYS_OF = frozenset(
    ("api", "access", "private", "secret", "signing", "encryption", "master", "account", "ssh", "shared", "client", "auth")
)
_NO_TOKENS = frozenset(("page", "next", "previous", "cursor", "continuation", "sync", "start", "end", "stop", "max", "min"))
_HAN = ("密码", "口令", "密钥", "令牌")

_NAME = (
    r"[\w.-]{0,64}?(?:password|passwd|passphrase|passcode|pwd|secret|token|api[_ -]?key"
    r"|(?:access|account|private|signing|master)[_-]?key|credentials?|userpass|密码|口令|密钥|令牌)[\w-]{0,64}+"
)
_NAMES = ("pass", "pwd", "secret", "token", "key", "cred", "密", "口令", "令牌")
_VALUE = r"""(?!\[redacted\])(?:"[^"\n]{1,4096}"|'[^'\n]{1,4096}'|\\"[^"\n]{1,4096}?\\"|[^\s"'&;,|)}\]<>]{1,4096})"""
_PROSE = r"(?-i:[a-z]{1,40}[ ,.]\s{0,8}\S)"
_REST = r"""[^\n"'\\]{1,4096}"""
# What stands in a text, in lower case, where a form may fit; the form; and what takes its place.
_FORMS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (
        ("-----begin",),
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL),
        REDACTED,
    ),
    (("eyj",), re.compile(r"\beyJ[\w-]{8,4096}\.[\w-]{4,4096}(?:\.[\w-]{0,4096})?"), REDACTED),
    (("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), REDACTED),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat"), re.compile(r"\b(?:gh[pousr]_|github_pat_)\w{16,255}"), REDACTED),
    (("glpat", "pypi-", "xox", "xapp"), re.compile(r"\b(?:glpat-|pypi-|xox[abeoprs]-|xapp-)[\w-]{10,255}"), REDACTED),
    (("sk-", "sk_", "rk_", "pk_"), re.compile(r"\b(?:sk|rk|pk)[-_][\w-]{16,255}"), REDACTED),
    (("aiza",), re.compile(r"\bAIza[\w-]{30,64}"), REDACTED),
    (("ya29.",), re.compile(r"\bya29\.[\w-]{16,512}"), REDACTED),
    (("npm_", "hf_", "dop_v1"), re.compile(r"\b(?:npm_|hf_|dop_v1_)\w{16,255}"), REDACTED),
    (("sg.",), re.compile(r"\bSG\.[\w-]{12,64}\.[\w-]{12,64}"), REDACTED),
    (("ltai", "akid"), re.compile(r"\b(?:LTAI|AKID)[0-9A-Za-z]{12,40}\b"), REDACTED),
    (
        ("://",),
        re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s/:@\"']{0,64}):(?!\[redacted\])[^\s/@\"']{1,200}@"),
        rf"\1:{REDACTED}@",
    ),
    (
        ("authorization", "cookie"),
        re.compile(rf"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie2?)(\s{{0,8}}[:=]\s{{0,8}}){_REST}"),
        rf"\1\2{REDACTED}",
    ),
    (("bearer", "basic"), re.compile(r"(?i)\b(bearer|basic)(\s{1,8})[\w.~+/=-]{8,4096}"), rf"\1\2{REDACTED}"),
    (
        _NAMES,  # In a sentence a colon may be just that: a word in small letters with more behind it is not taken for a value.
        re.compile(
            rf"""(?i)(?<![\w.-])({_NAME}(?:\\?["']\s{{0,8}}:\s{{0,8}}|(?:\\?["'])?\s{{0,8}}(?:=>?|:=)\s{{0,8}}"""
            rf"""|\s{{0,8}}[:：]\s{{0,8}}(?!{_PROSE}))){_VALUE}"""
        ),
        rf"\1{REDACTED}",
    ),
    (_NAMES, re.compile(rf"(?i)((?<!\S)--?{_NAME})(\s{{1,8}})(?!-){_VALUE}"), rf"\1\2{REDACTED}"),
    (
        ("-u ", "-u=", "--user", "--proxy-user"),
        re.compile(r"((?<!\S)(?:-u|--user|--proxy-user)[ =]?\s{0,8}[^\s:\"']{1,64}:)[^\s\"']{1,256}"),
        rf"\1{REDACTED}",
    ),
    (("mysql", "mariadb"), re.compile(r"(\b(?:mysql\w*|mariadb)\b[^|;\n]{0,128}?\s-p)[^\s\"']{1,256}"), rf"\1{REDACTED}"),
    (("sshpass",), re.compile(r"(\bsshpass\s{1,8}-p\s{0,8})[^\s\"']{1,256}"), rf"\1{REDACTED}"),
    (
        ("sig=", "signature=", "key=", "code=", "auth="),
        re.compile(r"(?i)([?&](?:sig|(?:x-amz-)?signature|key|code|auth)=)[^&\s\"']{6,4096}"),
        rf"\1{REDACTED}",
    ),
)

# One of these stands, in lower case, in every JSON text that anything here could change; the escapes could hide one.
_SIGNS = tuple(
    dict.fromkeys(
        sign.encode()
        for sign in (
            *_NAMES,
            *("auth", "cookie", "bearer", "jwt"),
            *(sign for signs, _, _ in _FORMS for sign in signs if not any(name in sign for name in ("auth", "cookie"))),
            *("\\u00", "\\u5bc6", "\\u53e3\\u4ee4", "\\u4ee4\\u724c"),
        )
    )
)


_RARE_BYTES = tuple(b"\\=/qzxjw_-kvbu.")  # in JSON texts, the rarest first


def _by_rare_byte(signs: Iterable[bytes]) -> tuple[tuple[int | bytes, tuple[bytes, ...]], ...]:
    """The signs, grouped by the rarest byte that each of them has; a sign without a rare one stands for itself."""
    groups: dict[int | bytes, list[bytes]] = {}
    for sign in signs:
        groups.setdefault(next((byte for byte in _RARE_BYTES if byte in sign), sign), []).append(sign)
    return tuple((rare, tuple(group)) for rare, group in groups.items())


class Redaction:
    """Replaces secrets in payloads. `keys` are further names whose values are never stored, whatever they are; case, `_`, `-`
    and spaces in them do not matter. `is_on` False changes nothing."""

    def __init__(self, keys: Iterable[str], is_on: bool = True) -> None:
        self._keys = frozenset(_plain(key) for key in keys)
        self._signs = _by_rare_byte(_SIGNS + tuple(key.lower().encode() for key in keys))
        self._is_on = is_on

    def json(self, text: str) -> str:
        """The JSON text of a payload without secrets; the same text when there are none."""
        if not self._may_hold(text.encode()):
            return text
        payload = msgspec.json.decode(text)
        clean = self.apply(payload)
        return text if clean == payload else payload_json(clean)

    def body(self, raw: bytes) -> bytes:
        """The bytes of a JSON document, or of one a line, without secrets; the same bytes when there are none, or no JSON."""
        if not self._may_hold(raw):
            return raw
        try:
            return self._document(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b"\n".join(map(self._line, raw.split(b"\n"))) if b"\n" in raw else raw

    def apply(self, value: Any) -> Any:
        """A copy without secrets. Raises `InvalidBody` for more than 64 levels."""
        return self._walk(value, 1) if self._is_on else value

    def _may_hold(self, raw: bytes) -> bool:
        if not self._is_on:
            return False
        small = raw.lower()
        for rare, signs in self._signs:  # a single byte is looked for ten times faster than several
            if rare in small:
                for sign in signs:
                    if sign in small:
                        return True
        return False

    def _line(self, raw: bytes) -> bytes:
        try:
            return self._document(raw) if raw.strip() else raw
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return raw

    def _document(self, raw: bytes) -> bytes:
        value = msgspec.json.decode(raw)
        clean = self._walk(value, 0)  # around the payload
        return raw if clean == value else msgspec.json.encode(clean)

    def _walk(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return redacted_text(value)
        if not isinstance(value, dict | list):
            return value
        if depth > MAX_NESTING:
            raise InvalidBody(f"data is nested deeper than {MAX_NESTING} levels", field="data", limit=MAX_NESTING)
        if isinstance(value, list):
            return self._list(value, depth)
        clean = {key: self._field(key, item, depth) for key, item in value.items()}
        named = next((value[key] for key in ("name", "key", "header") if isinstance(value.get(key), str)), None)
        if named is not None and "value" in value:  # one header of a list of them
            clean["value"] = self._field(named, value["value"], depth)
        return clean

    def _list(self, items: list[Any], depth: int) -> list[Any]:
        """A list, in which a name may stand before its value: an option of a command, or a pair of a header."""
        clean = [self._walk(item, depth + 1) for item in items]
        for index in range(1, len(items)):
            before, item = items[index - 1], items[index]
            is_name = isinstance(before, str) and (before.startswith("-") or len(items) == 2)
            if is_name and isinstance(item, str) and not item.startswith("-") and is_secret_name(before):
                clean[index] = REDACTED
        return clean

    def _field(self, key: str, item: Any, depth: int) -> Any:
        if _plain(key) in self._keys:
            return REDACTED
        if item not in (None, "", [], {}) and not isinstance(item, bool) and is_secret_name(key):
            last = _words(key)[-1:]
            is_other = (isinstance(item, int | float) and last == ("token",)) or (
                isinstance(item, dict | list) and last == ("auth",)
            )
            return self._walk(item, depth + 1) if is_other else REDACTED
        return self._walk(item, depth + 1)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a name is one of a secret, by its parts."""
    words = _words(name)
    if not words:
        return any(word in name for word in _HAN)
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or (last == "token" and before not in _NO_TOKENS)
        or (last in ("key", "keys") and before in _KEYS_OF)
        or last == "auth"
        or any(word in name for word in _HAN)
    )


def redacted_text(text: str) -> str:
    """A text without what looks like a secret in it."""
    if len(text) < _SHORTEST_TEXT:
        return text
    small = text.lower()
    for signs, form, instead in _FORMS:
        if any(sign in small for sign in signs):
            text = form.sub(instead, text)
    return text


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORDS.findall(name[:256]))


def _plain(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "").replace(" ", "")
