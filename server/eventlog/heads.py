"""Signed heads: what the log says of itself at a seq, for somebody else to keep.

Whoever can write the file can write it anew, with digests that follow from each other, and so can nobody who has a head of it
elsewhere. A head is the digest of the chain at a seq; [integrity] key_file signs it with Ed25519, every 1,000 events in the
transaction that stores them, and a minute after the last at the latest."""

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.eventlog.chain import Fault
from server.eventlog.rows import Head, prove, read_digest, read_head, read_histories
from towow.errors import StartupError
from towow.events import check_of, timestamp_of

EVENTS_PER_HEAD = 1_000


class SignedHead(msgspec.Struct, frozen=True):
    """A head as it is kept: digest in hexadecimal, signature and public key in Base64; both None where no key is set."""

    seq: int
    digest: str
    epoch: str
    signed_at: str
    signature: str | None = None
    public_key: str | None = None

    def message(self) -> bytes:
        """What is signed."""
        return f"towow-head 1 {self.epoch} {self.seq} {self.digest} {self.signed_at}".encode()


class HeadSigner:
    """Signs heads with the key of a file, in PEM; without a file it makes them unsigned."""

    def __init__(self, key_file: str) -> None:
        """Read the key, or make one where the file does not exist. Raises `StartupError`."""
        self._key = _private_key(Path(key_file)) if key_file else None
        raw = self._key.public_key().public_bytes_raw() if self._key is not None else b""
        self._public_key = base64.b64encode(raw).decode() or None

    @property
    def has_key(self) -> bool:
        """Whether heads are signed, and so worth keeping in the file."""
        return self._key is not None

    def sign(self, head: Head, epoch: str, now: float) -> SignedHead:
        """The head at this moment (`now` in seconds since 1970)."""
        unsigned = SignedHead(head.seq, head.digest.hex(), epoch, timestamp_of(now))
        if self._key is None:
            return unsigned
        signature = base64.b64encode(self._key.sign(unsigned.message())).decode()
        return msgspec.structs.replace(unsigned, signature=signature, public_key=self._public_key)

    def store(self, db: Any, head: Head, epoch: str, now: float) -> None:
        """Sign a head and keep it in the table."""
        signed = self.sign(head, epoch, now)
        row = (head.seq, head.digest, epoch, signed.signed_at, base64.b64decode(signed.signature or ""))
        db.execute("INSERT OR IGNORE INTO heads (seq, digest, epoch, signed_at, signature) VALUES (?, ?, ?, ?, ?)", row).close()

    def read(self, db: Any, at: int | None, now: float) -> SignedHead | None:
        """The first kept head at or after a seq; the present one, signed now, when there is none or no seq is given.

        None for a seq that was never given."""
        head, epoch = read_head(db), read_histories(db).epochs[-1]
        if at is not None and at > head.seq:
            return None
        if at is not None:
            kept = next(_stored(db, "WHERE seq >= ? ORDER BY seq LIMIT 1", (at,)), None)
            if kept is not None:
                return msgspec.structs.replace(kept, public_key=self._public_key)
        return self.sign(head, epoch, now)


def last_signed_seq(db: Any) -> int:
    """The seq of the newest head in the table, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM heads").fetchone()[0])


def read_kept(file: Path) -> list[SignedHead]:
    """Heads that were kept elsewhere: answers of `GET /api/head`, one or more in a file. Raises `StartupError`."""
    try:
        lines = file.read_bytes()
        if lines.lstrip().startswith(b"["):
            return msgspec.json.decode(lines, type=list[SignedHead])
        return [msgspec.json.decode(line, type=SignedHead) for line in lines.splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError) as error:
        raise StartupError(f"{file} holds no heads, one JSON object a line as GET /api/head answers: {error}") from None


def read_public_key(file: Path) -> Ed25519PublicKey:
    """The public key in a PEM file, which may hold the private one. Raises `StartupError`."""
    try:
        data = file.read_bytes()
        if b"PRIVATE" in data:
            return _private_key(file).public_key()
        key = serialization.load_pem_public_key(data)
    except (OSError, ValueError) as error:
        raise StartupError(f"{file} holds no key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise StartupError(f"{file} holds a key that is not Ed25519")
    return key


def head_faults(db: Any, kept: Iterable[SignedHead], key: Ed25519PublicKey | None) -> list[Fault]:
    """What the heads in the table and those that were kept elsewhere say against a log whose chain was verified.

    Signatures are only verified with a `key`."""
    faults = []
    for head in (*_stored(db, "ORDER BY seq", ()), *kept):
        what = _contradiction(db, head)
        if what is None and key is not None and not _is_signed(head, key):
            what = "its signature is not of this key"
        if what is not None:
            faults.append(Fault(head.seq, "", f"the head of {head.signed_at} does not fit: {what}"))
    return faults


def _contradiction(db: Any, head: SignedHead) -> str | None:
    last = read_head(db).seq
    if head.seq > last:
        return f"the log ends at seq {last}"
    if head.epoch not in read_histories(db).epochs:
        return f"this log has no epoch {head.epoch}"
    if not head.seq:
        return None
    digest = read_digest(db, head.seq)
    if digest is not None:
        return None if digest.hex() == head.digest else "the digest of that event was another one"
    try:
        check = check_of(bytes.fromhex(head.digest))
    except ValueError:
        return "its digest is not hexadecimal"
    return "the check of that event was another one" if prove(db, head.seq, check) == "other_history" else None


def _is_signed(head: SignedHead, key: Ed25519PublicKey) -> bool:
    try:
        key.verify(base64.b64decode(head.signature or ""), head.message())
    except (InvalidSignature, ValueError):
        return False
    return True


def _stored(db: Any, condition: str, parameters: tuple[Any, ...]) -> Iterator[SignedHead]:
    rows = db.execute(f"SELECT seq, digest, epoch, signed_at, signature FROM heads {condition}", parameters)  # noqa: S608 - ours
    for seq, digest, epoch, signed_at, signature in rows.fetchall():
        yield SignedHead(seq, digest.hex(), epoch, signed_at, base64.b64encode(signature).decode())


def _private_key(file: Path) -> Ed25519PrivateKey:
    try:
        if not file.exists():
            _make_key(file)
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(f"the key of [integrity] key_file cannot be read: {error}", field="integrity.key_file") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError(f"{file} holds a key that is not Ed25519", field="integrity.key_file")
    return key


def _make_key(file: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(pem)
