"""The error codes in the documents are those that answers are made with."""

import inspect

from tests.docs.reading import read, tables
from towow import errors
from towow.errors import STATUS_BY_CODE


def test_the_document_has_every_error_code_with_its_status_and_no_other():
    """The table of errors is the table that answers are made with."""
    documented = {row[0].strip("`"): int(row[1]) for row in tables(read("docs/errors.md"), "code")}
    assert documented == STATUS_BY_CODE


def test_every_error_class_has_a_status_and_its_place_in_the_tree():
    """An error that is raised on purpose can be answered; `startup_error` is never sent."""
    classes = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.TowowError)]
    codes = {each.code for each in classes}
    assert codes == {*STATUS_BY_CODE, "startup_error"}
    for each in classes:
        assert each.__name__ in errors.__doc__
        if each is not errors.TowowError:
            assert each.code in errors.__doc__
        assert f"`{each.code}`" in each.__doc__ or each is errors.TowowError
