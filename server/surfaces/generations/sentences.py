"""The fixed sentences of a run's errors, in English.

No error of a run holds the text of an exception: that stays in the server's log, under the `error_id`."""

# Why an agent has failed or tries again, by the reason of `ModelFailed`.
_AGENT_ERRORS = {
    "bad_answer": "The model's answer cannot be read.",
    "broken": "The connection to the model broke.",
    "busy": "The model is busy.",
    "empty_answer": "The model wrote nothing.",
    "internal": "Something went wrong in the server.",
    "stalled": "The model stopped writing.",
    "timeout": "The model did not answer in time.",
    "too_large": "The model's answer is too large.",
    "unreachable": "The model cannot be reached.",
    "upstream_error": "The model reported an error.",
}
_OTHER_ERROR = "The model failed."

# Why a run has failed, by its reason.
RUN_ERRORS = {
    "all_agents_failed": "None of the agents could write its part.",
    "agent_failed": "An agent that the others build on could not write its part.",
    "interrupted": "The server stopped while the run was going on.",
    "cancelled": "The run was cancelled.",
    "timeout": "The run took longer than it may.",
    "internal": "Something went wrong in the server.",
}


def agent_error(error_type: str) -> str:
    """The sentence for what an agent ran into."""
    status = error_type.removeprefix("status_")
    if status != error_type and status.isdigit():
        return f"The model refused with the status {status}."
    return _AGENT_ERRORS.get(error_type, _OTHER_ERROR)
