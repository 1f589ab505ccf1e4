"""Short campaigns of trouble, and their controls, which have to find what the protection is there for."""

import os
import shutil

import pytest

from tests.support import require_strace
from tests.system.campaigns import run

SEED = 20_260_101


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "rounds"), [("kills", 3), ("corruption", 25), ("clocks", 10), ("points", 2)])
def test_nothing_is_lost_served_damaged_or_unsaid(name, rounds):
    """Everything acknowledged is there, or said to be gone."""
    if name == "points":
        require_strace()
    outcome = run(name, rounds, SEED)
    print(f"\n{name}: {outcome}")
    assert outcome.is_clean, outcome


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "rounds"), [("kills", 2), ("corruption", 40), ("clocks", 10)])
def test_a_control_finds_what_the_protection_is_there_for(name, rounds):
    """A campaign that could not find a loss would prove nothing. A kill finds one by chance, so it has several tries."""
    assert any(not run(name, rounds, SEED + again, is_control=True).is_clean for again in range(8))


@pytest.mark.timeout(120)
def test_a_power_cut_loses_nothing_and_its_control_does():
    """With `synchronous = FULL` the disk has what was acknowledged; with NORMAL it has not."""
    if os.geteuid() or shutil.which("mkfs.ext4") is None or os.environ.get("TOWOW_MAY_MOUNT") != "1":
        pytest.skip("mounting takes root, mkfs.ext4 and TOWOW_MAY_MOUNT=1")
    assert run("cuts", 5, SEED).is_clean
    assert run("cuts", 5, SEED, is_control=True).lost
