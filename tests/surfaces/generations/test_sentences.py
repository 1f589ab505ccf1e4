"""The sentences of errors: one for every reason and every failure of a model."""

import pytest

from server.surfaces.generations.commands import FailRun
from server.surfaces.generations.sentences import RUN_ERRORS, agent_error
from server.surfaces.generations.state import REASONS
from tests.surfaces.generations.generating import START, after


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_sentence(reason):
    """No reason is told without one."""
    assert RUN_ERRORS[reason].endswith(".")
    if reason != "cancelled":
        assert after(START, FailRun(reason)).error == RUN_ERRORS[reason]


@pytest.mark.parametrize(
    ("error_type", "sentence"),
    [
        pytest.param("stalled", "The model stopped writing.", id="known"),
        pytest.param("status_503", "The model refused with the status 503.", id="a status"),
        pytest.param("status_", "The model failed.", id="half a status"),
        pytest.param("status_<b>", "The model failed.", id="no status"),
        pytest.param("of tomorrow", "The model failed.", id="unknown"),
    ],
)
def test_every_failure_of_the_model_has_a_sentence(error_type, sentence):
    """A fixed one, also for codes of which this table does not know."""
    assert agent_error(error_type) == sentence
