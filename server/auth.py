"""
Authentication: from a request to who asks.
"""

from aiohttp import web

from server.principal import EVERYBODY, Principal

PRINCIPAL = web.RequestKey("principal", Principal)


def principal_of(request: web.Request) -> Principal:
    """
    Who asks; everybody where nobody is asked.
    """
    return request.get(PRINCIPAL, EVERYBODY)


def require_read(request: web.Request, *streams: str) -> None:
    """
    Raise `Forbidden` unless all of the streams and patterns may be read.
    """
    principal_of(request).require_read(streams)


def require_append(request: web.Request, *streams: str) -> None:
    """
    Raise `Forbidden` unless all of the streams and patterns may be appended to.
    """
    principal_of(request).require_append(streams)
