"""What a sentence does to a terminal: nothing."""

import os
import subprocess
import sys

from unifeat import __main__ as command


def test_control_characters_are_shown_by_number():
    assert command._plain("a\x1b[31m\u202eb\n\u4e2d\u00e9") == "a\\x1b[31m\\u202eb\n\u4e2d\u00e9"


def test_an_accented_folder_on_a_terminal_that_is_not_utf8(tmp_path):
    done = subprocess.run([sys.executable, "-m", "unifeat", "push", str(tmp_path / "caf\u00e9"), "a/b"],
                          env=os.environ | dict(PYTHONIOENCODING="ascii"), capture_output=True, timeout=120)
    assert done.returncode == 2 and b"caf\\xe9" in done.stderr and b"Traceback" not in done.stderr
