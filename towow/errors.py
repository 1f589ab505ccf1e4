"""Every error that the server raises on purpose, each with a stable `code`.

    TowowError
    ├── InvalidRequest        invalid_request     a path, query, header or syntax that cannot be read
    ├── InvalidBody           invalid_body        JSON that is well formed but not of the documented shape
    ├── IdempotencyKeyReused  idempotency_key_reused  the Idempotency-Key came with another body before
    ├── Unauthorized          unauthorized        no token, ticket or cookie, or one that is not good
    ├── Forbidden             forbidden           the principal may not do it: scope, origin, part in a negotiation
    ├── NotFound              not_found           the named thing never existed
    ├── MethodNotAllowed      method_not_allowed  the path exists, the method does not
    ├── Conflict              conflict            the state does not allow it, or an event_id is taken by other content
    │   └── StreamEnded       stream_ended        an append after the terminal event
    ├── Gone                  gone                the cursor no longer points into the log
    ├── RevisionMismatch      revision_mismatch   `expected_revision` is not the actual one
    ├── TooLarge              too_large           a body, event or text over its limit
    ├── RequestTimeout        request_timeout     the body did not arrive in time
    ├── TooManyRequests       too_many_requests   one client's share of streams, events or logins is used up
    ├── UnsupportedMediaType  unsupported_media_type
    ├── Unavailable           unavailable         shutting down, or the database stays locked
    │   └── Behind            behind              this process does not know yet what the client has seen elsewhere
    ├── StorageFull           storage_full        the disk has no room; reads go on
    ├── Damaged               damaged             a stored event is not what was written; details name its seq
    └── StartupError          startup_error       the process cannot start; for the operator, never sent to a client
        └── HistoryLost       startup_error       the file has fewer or other events than it had

The core raises these; `STATUS_BY_CODE` is the one table of HTTP statuses, and the client reads a response back into the same
classes. Whatever is not in this tree becomes `internal`, with an `error_id` and without its text."""

from typing import Any

STATUS_BY_CODE = {
    "invalid_request": 400,
    "invalid_body": 422,
    "idempotency_key_reused": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "stream_ended": 409,
    "gone": 410,
    "revision_mismatch": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many_requests": 429,
    "internal": 500,
    "damaged": 500,
    "unavailable": 503,
    "behind": 503,
    "storage_full": 507,
}


class TowowError(Exception):
    """Base of all deliberate errors: `message` is for people, `field` names the input at fault, `details` join the body."""

    code = "internal"

    def __init__(self, message: str, *, field: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = details


class InvalidRequest(TowowError):
    """Raised for a path, query, header or syntax that cannot be read (`invalid_request`)."""

    code = "invalid_request"


class InvalidBody(TowowError):
    """Raised for well-formed JSON of the wrong shape (`invalid_body`)."""

    code = "invalid_body"


class IdempotencyKeyReused(TowowError):
    """Raised when an Idempotency-Key comes with another body than before (`idempotency_key_reused`)."""

    code = "idempotency_key_reused"


class Unauthorized(TowowError):
    """Raised without valid credentials (`unauthorized`); the text never distinguishes missing from wrong ones."""

    code = "unauthorized"


class Forbidden(TowowError):
    """Raised when the principal may not do it (`forbidden`)."""

    code = "forbidden"


class NotFound(TowowError):
    """Raised when the named thing never existed (`not_found`)."""

    code = "not_found"


class MethodNotAllowed(TowowError):
    """Raised when the path exists but not for this method (`method_not_allowed`)."""

    code = "method_not_allowed"


class Conflict(TowowError):
    """Raised when the present state does not allow the command, or an event_id holds other content (`conflict`)."""

    code = "conflict"


class StreamEnded(Conflict):
    """Raised by an append to a stream whose last event is terminal (`stream_ended`)."""

    code = "stream_ended"


class Gone(TowowError):
    """Raised by a poll whose cursor is not in this log (`gone`); details are those of a `reset` frame."""

    code = "gone"


class RevisionMismatch(TowowError):
    """Raised when `expected_revision` is not the stream's revision (`revision_mismatch`); details have both."""

    code = "revision_mismatch"


class TooLarge(TowowError):
    """Raised for a body, an event or a text over its limit (`too_large`)."""

    code = "too_large"


class RequestTimeout(TowowError):
    """Raised when a request's body does not arrive in time (`request_timeout`)."""

    code = "request_timeout"


class TooManyRequests(TowowError):
    """Raised when a client has used up its share (`too_many_requests`); `retry_after_seconds` in the details."""

    code = "too_many_requests"


class UnsupportedMediaType(TowowError):
    """Raised for a body in a format or encoding that the route does not read (`unsupported_media_type`)."""

    code = "unsupported_media_type"


class Unavailable(TowowError):
    """Raised while shutting down or when another process keeps the database locked (`unavailable`)."""

    code = "unavailable"


class Behind(Unavailable):
    """Raised when a process has not reached the seq of `X-Towow-At-Least` in time (`behind`); details have its `head_seq`."""

    code = "behind"


class StorageFull(TowowError):
    """Raised by appends while the disk has no room (`storage_full`); reading and following go on."""

    code = "storage_full"


class Damaged(TowowError):
    """Raised by a read that meets a damaged row (`damaged`): its `seq` is named (0: even that is unknown), it is not served."""

    code = "damaged"

    @property
    def seq(self) -> int:
        """The seq of the damaged event; 0 when it cannot be told."""
        return int(self.details["seq"])


class StartupError(TowowError):
    """Raised when the process cannot start: settings, database file, engine or address (`startup_error`)."""

    code = "startup_error"
    exit_status = 1


class HistoryLost(StartupError):
    """Raised when the database has fewer or other events than it had (`startup_error`); the exit status is a special one."""

    exit_status = 3
