"""The key that cookies and tickets are signed with: a file beside the database, for its owner alone, the same for every process
on it."""

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt

from towow.errors import StartupError

_KEY_BYTES = 32


class Signer:
    """Signs claims and reads them again; an `audience` keeps what is for one purpose from counting for another.

    `open` comes first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(_KEY_BYTES)  # where nobody is asked, nothing needs to last

    def open(self, key_file: Path) -> None:
        """Read or make the signing key. Raises `StartupError`."""
        self._key = read_key(key_file)

    def sign(self, claims: Mapping[str, Any], audience: str) -> str:
        """The claims as text for a header or a URL; they need `exp`, seconds since 1970, and `sub`."""
        return jwt.encode({**claims, "exp": int(claims["exp"]), "aud": audience}, self._key, algorithm="HS256")

    def read(self, text: str, audience: str) -> dict[str, Any] | None:
        """The claims of a text that was signed here for this purpose and has not expired, else None."""
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                self._key,
                algorithms=["HS256"],
                audience=audience,
                options={"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError):
            return None
        return claims if claims["exp"] > self._clock() else None


def read_key(file: Path) -> bytes:
    """The signing key: 32 bytes that only the owner can read; made at the first start, by whichever process is first.

    Raises `StartupError` for a file that cannot be read or made, that others can read, or that is damaged."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _make_key(file)
        with file.open(encoding="ascii") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            key = bytes.fromhex(opened.read(1_000).strip())
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot read or make the key file {file}: {error}") from None
    if os.name == "posix" and mode & 0o077:
        raise StartupError(f"the key file {file} is open to other users, who could log in as anybody; chmod 600 {file}")
    if len(key) != _KEY_BYTES:
        raise StartupError(f"the key file {file} is damaged; remove it, and every page has to log in again")
    return key


def _make_key(file: Path) -> None:
    """Write a key under another name first: a process that starts at the same moment sees a whole file or none."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as written:
            written.write(secrets.token_bytes(_KEY_BYTES).hex())
            written.flush()
            os.fsync(written.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, file)
    finally:
        draft.unlink(missing_ok=True)
