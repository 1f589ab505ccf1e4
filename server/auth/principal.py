"""Who asks, and what they may do: verbs over globs of stream names. Pure."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from towow.errors import Forbidden
from towow.events import SYSTEM, matches

# read follows and reads; append adds events; answer decides on permissions; operate takes sessions over and gives them back;
# manage is for agents, what others have begun, broadcasts, retention and erasure.
VERBS = ("read", "append", "answer", "operate", "manage")
SUBJECT = "{sub}"  # in a glob: the principal's own name
_GLOB = re.compile(r"(?:[A-Za-z0-9._:*-]|\{sub\}){1,128}\Z")
_STREAM_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")


class Principal(msgspec.Struct, frozen=True):
    """A client as it was recognised. The verbs hold globs; `expires_at` is in seconds since 1970, None never.

    `via` says how: off (nobody is asked), token, jwt, cookie or ticket. `csrf` is what a page has to repeat when it posts,
    `login` names the login that it comes from, if any. `actor` is what events say of it where that is not its name."""

    name: str
    read: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    expires_at: float | None = None
    via: str = "off"
    csrf: str = ""
    login: str = ""
    answer: tuple[str, ...] = ()
    operate: tuple[str, ...] = ()
    manage: tuple[str, ...] = ()
    actor: str = ""

    @property
    def is_asked(self) -> bool:
        """Whether clients are asked who they are at all."""
        return self.via != "off"

    @property
    def acts_as(self) -> str:
        """The actor that events name."""
        return self.actor or self.name

    def may(self, verb: str, stream: str) -> bool:
        """Whether a verb may be done to a stream, or to every stream of a pattern (`kind:*`, `*`)."""
        return _covers(getattr(self, verb), stream)

    def may_read(self, stream: str) -> bool:
        """Whether a stream, or every stream of a pattern, may be read."""
        return _covers(self.read, stream)

    def may_append(self, stream: str) -> bool:
        """Whether events may be appended to a stream, or to every stream of a pattern."""
        return _covers(self.append, stream)

    def may_act_as(self, kind: str, name: str) -> bool:
        """Whether a body may say that this user, agent or operator acts: oneself, or whose own stream one may append to."""
        return not self.is_asked or name == self.name or self.may_append(f"{kind}:{name}")

    def require(self, verb: str, streams: Iterable[str]) -> None:
        """Raise `Forbidden` for the first stream that the verb may not be done to."""
        for stream in streams:
            if not self.may(verb, stream):
                done = "append to" if verb == "append" else verb
                raise Forbidden(f"{self.name} may not {done} {stream}", field="stream", scope=f"{verb}:{stream}")

    def require_to_act_as(self, kind: str, name: str, field: str) -> None:
        """Raise `Forbidden` unless a body may say that this user, agent or operator acts."""
        if not self.may_act_as(kind, name):
            raise Forbidden(f"{self.name} may not act as {name}", field=field, scope=f"append:{kind}:{name}"[:200])

    def require_read(self, streams: Iterable[str]) -> None:
        """Raise `Forbidden` for the first stream that may not be read."""
        self.require("read", streams)

    def require_append(self, streams: Iterable[str]) -> None:
        """Raise `Forbidden` for the first stream that may not be appended to."""
        self.require("append", streams)


def globs_of(scopes: Iterable[str], name: str = "") -> dict[str, Any]:
    """The globs of each verb in scopes like `read:demand:*`; `{sub}` becomes the name. Raises `ValueError` for anything else.

    A name that cannot be part of a stream's has no such stream: a star in it would be everybody's."""
    found: dict[str, list[str]] = {verb: [] for verb in VERBS}
    for scope in scopes:
        verb, _, glob = scope.partition(":")
        if verb not in found or not _GLOB.match(glob):
            raise ValueError(f"a scope is {', '.join(VERBS)}, a colon and a glob over stream names, not {scope[:80]!r}")
        if SUBJECT in glob:
            if not _STREAM_ID.match(name):
                continue
            glob = glob.replace(SUBJECT, name)
        found[verb].append(glob)
    return {verb: tuple(globs) for verb, globs in found.items()}


def changes_of(scopes: Iterable[str]) -> list[str]:
    """What to change in scopes of a version that only knew read and append, in sentences."""
    globs = globs_of(scopes)
    kinds = ("mcp", "operator", "demand", "run", "user")
    reached = {kind for kind in kinds if any(_reaches(glob, kind) for glob in globs["append"])}
    advice = []
    if "mcp" in reached and not globs["answer"]:
        advice.append("append does not answer permissions any more: who answers needs answer:mcp:*")
    if "operator" in reached and not globs["operate"]:
        advice.append("append still takes sessions over, as the operators of this token; write operate:session:* instead")
    if reached & {"demand", "run"} and not globs["manage"]:
        advice.append("append ends what this token has begun; others' demands and runs need manage:demand:* and manage:run:*")
    if "demand" in reached and "user" not in reached:
        advice.append("a user_id in a body must be this token's name; a backend that speaks for its users needs append:user:*")
    return advice


EVERYBODY = Principal("anonymous", **globs_of(f"{verb}:{glob}" for verb in VERBS for glob in ("*", f"{SYSTEM}*")))


def _reaches(glob: str, kind: str) -> bool:
    """Whether a glob covers some stream of a kind."""
    return kind.startswith(glob.partition(":")[0].partition("*")[0]) and (":" in glob or "*" in glob)


def _covers(globs: tuple[str, ...], stream: str) -> bool:
    """A pattern counts as a name here: its `*` is only covered by a `*` of the glob, so never by less than the whole.

    The server's own streams and rights, `system:…`, are only covered by a glob that names them."""
    if stream.startswith(SYSTEM):
        globs = tuple(glob for glob in globs if glob.startswith(SYSTEM))
    return any(matches(glob, stream) for glob in globs)
