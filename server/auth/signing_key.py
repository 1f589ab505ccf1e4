"""The key that cookies are signed with: a file beside the database, for its owner alone, the same for every process on it."""

import contextlib
import os
import secrets
from pathlib import Path

from towow.errors import StartupError

_KEY_BYTES = 32


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
