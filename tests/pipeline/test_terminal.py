"""What a sentence does to a terminal: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from unifeat import __main__ as command
from unifeat.support import paths
from unifeat.support.errors import UnifeatError


def test_control_characters_are_shown_by_number():
    assert command._plain("a\x1b[31m\u202eb\n\u4e2d\u00e9") == "a\\x1b[31m\\u202eb\n\u4e2d\u00e9"


def test_a_backend_that_matplotlib_does_not_have_stops_no_command(tmp_path):
    code = ("import sys, os, unifeat.__main__ as command; print(command.main(['merge', 'none.yml', '--to', 'x'])); "
            "import matplotlib; print('MPLBACKEND' in os.environ)")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | dict(MPLBACKEND="none"), capture_output=True,
                          text=True, timeout=120, cwd=tmp_path)
    assert done.stdout.split() == ["2", "False"], done.stderr


def test_folders_that_may_not_be_written_to_are_one_sentence(tmp_path, monkeypatch):
    """A clone for all to read: the store, executed notebooks and figures can lie elsewhere."""
    monkeypatch.setattr(os, "access", lambda place, _: tmp_path not in (place, *place.parents))  # root may write
    with pytest.raises(UnifeatError, match=r"figures cannot be written to; set UNIFEAT_FIGURES to a folder of yours"):
        paths.writable(tmp_path / "figures", "UNIFEAT_FIGURES")
    monkeypatch.setenv("UNIFEAT_STORE", "/elsewhere/store")
    assert paths.notebooks() == Path("/elsewhere/store-notebooks") and paths.store() == Path("/elsewhere/store")


def test_an_accented_folder_on_a_terminal_that_is_not_utf8(tmp_path):
    done = subprocess.run([sys.executable, "-m", "unifeat", "push", str(tmp_path / "caf\u00e9"), "a/b"],
                          env=os.environ | dict(PYTHONIOENCODING="ascii"), capture_output=True, timeout=120)
    assert done.returncode == 2 and b"caf\\xe9" in done.stderr and b"Traceback" not in done.stderr
