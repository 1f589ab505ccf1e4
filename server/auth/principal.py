"""Who asks, and what they may read and append: globs over stream names. Pure."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from server.eventlog.selection import SYSTEM
from towow.errors import Forbidden

_GLOB = re.compile(r"[A-Za-z0-9._:*-]{1,128}\Z")


class Principal(msgspec.Struct, frozen=True):
    """A client as it was recognised. `read` and `append` are globs; `expires_at` is in seconds since 1970, None never.

    `via` says how: off (nobody is asked), token, jwt, cookie or ticket. `csrf` is what a page has to repeat when it posts,
    `login` names the login that it comes from, if any."""

    name: str
    read: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    expires_at: float | None = None
    via: str = "off"
    csrf: str = ""
    login: str = ""

    def may_read(self, stream: str) -> bool:
        """Whether a stream, or every stream of a pattern (`kind:*`, `*`), may be read."""
        return _covers(self.read, stream)

    def may_append(self, stream: str) -> bool:
        """Whether events may be appended to a stream, or to every stream of a pattern."""
        return _covers(self.append, stream)

    def require_read(self, streams: Iterable[str]) -> None:
        """Raise `Forbidden` for the first stream that may not be read."""
        for stream in streams:
            if not self.may_read(stream):
                raise Forbidden(f"{self.name} may not read {stream}", field="stream", scope=f"read:{stream}")

    def require_append(self, streams: Iterable[str]) -> None:
        """Raise `Forbidden` for the first stream that may not be appended to."""
        for stream in streams:
            if not self.may_append(stream):
                raise Forbidden(f"{self.name} may not append to {stream}", field="stream", scope=f"append:{stream}")


def read_scopes(scopes: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The globs to read and to append of scopes like `read:demand:*`. Raises `ValueError` for anything else."""
    found: dict[str, list[str]] = {"read": [], "append": []}
    for scope in scopes:
        verb, _, glob = scope.partition(":")
        if verb not in found or not _GLOB.match(glob):
            raise ValueError(f"a scope is read: or append: and a glob over stream names, not {scope[:80]!r}")
        found[verb].append(glob)
    return tuple(found["read"]), tuple(found["append"])


EVERYBODY = Principal("anonymous", ("*", "system:*"), ("*",))


def _covers(globs: tuple[str, ...], stream: str) -> bool:
    """A pattern counts as a name here: its `*` is only covered by a `*` of the glob, so never by less than the whole.

    The server's own streams, `system:*`, are only covered by a glob that names them."""
    if stream.startswith(SYSTEM):
        globs = tuple(glob for glob in globs if glob.startswith(SYSTEM))
    return any(glob in ("*", stream) or fnmatchcase(stream, glob) for glob in globs)
