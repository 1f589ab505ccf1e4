"""The file with the key that cookies are signed with: for its owner alone, whole, and made once."""

import os
import stat

import pytest

from server.auth import signing_key
from server.auth.signing_key import read_key
from towow.errors import StartupError


def test_the_key_is_for_its_owner_alone(tmp_path):
    """32 bytes, mode 0600 whatever the umask, made once."""
    file = tmp_path / "new" / "towow.db.key"
    before = os.umask(0)
    try:
        key = read_key(file)
    finally:
        os.umask(before)
    assert len(key) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_key(file) == key
    assert sorted(tmp_path.rglob("*")) == [file.parent, file]


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 31, "00" * 33, "\u00e9" * 64])
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path, text):
    """A new key in its place would log everybody out without a word."""
    file = tmp_path / "towow.db.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(StartupError, match=r"towow\.db\.key"):
        read_key(file)
    assert file.read_text() == text


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660, 0o777])
def test_a_key_file_that_others_can_read_or_write_is_refused(tmp_path, mode):
    """Whoever can read it can sign cookies for everybody."""
    file = tmp_path / "towow.db.key"
    read_key(file)
    file.chmod(mode)
    with pytest.raises(StartupError, match="chmod 600"):
        read_key(file)


def test_a_key_file_is_never_seen_half_written(tmp_path, monkeypatch):
    """A second process that starts at the same moment waits for nothing and fails at nothing: there is a whole key, or none."""
    file = tmp_path / "towow.db.key"
    seen = []

    def spied(size):
        if not seen:
            seen.append(None)
            seen.append(read_key(file))  # the other process, between the opening and the writing of the first
        return os.urandom(size)

    monkeypatch.setattr(signing_key.secrets, "token_bytes", spied)
    key = read_key(file)
    assert seen[1] == key == read_key(file)


def test_a_key_file_cannot_be_made_where_there_is_no_folder(tmp_path):
    """One line, no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="key file"):
        read_key(tmp_path / "file" / "towow.db.key")
