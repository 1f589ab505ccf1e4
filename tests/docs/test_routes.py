"""The routes in the documents are the router's, and so are the first lines of the handlers' docstrings."""

import inspect
import re

import pytest

from server.app import make_app
from server.config import Config
from tests.docs.reading import read, tables
from towow.errors import STATUS_BY_CODE

ROUTES = sorted(
    {
        (route.method, route.resource.canonical): route.handler
        for route in make_app(Config()).router.routes()
        if route.method != "HEAD"
    }.items()
)
NAMES = [f"{method} {path}" for (method, path), _ in ROUTES]
HANDLERS = [(name, handler) for name, (_, handler) in zip(NAMES, ROUTES, strict=True)]


@pytest.mark.parametrize(("name", "handler"), HANDLERS)
def test_the_docstring_of_a_handler_begins_with_its_route(name, handler):
    """`METHOD /path`, as the router has it."""
    assert (inspect.getdoc(handler) or "").partition("\n")[0] == name


@pytest.mark.parametrize(("name", "handler"), HANDLERS)
def test_a_handler_names_only_codes_that_exist(name, handler):
    """What stands after `Errors:` are codes of the table."""
    for found in re.findall(r"Errors:\s*([^.]*)\.", inspect.getdoc(handler)):
        codes = re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", found))
        assert codes
        assert set(codes) <= set(STATUS_BY_CODE)


def test_the_document_has_every_route_and_no_other():
    """The tables of routes are the router."""
    assert sorted(row[0].strip("`") for row in tables(read("docs/routes.md"), "route")) == sorted(NAMES)
