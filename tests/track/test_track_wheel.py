"""`pip install .` is all that a track needs: a wheel, an empty folder, an empty home."""

import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The console script of a fresh environment with the wheel, which sees this one's packages but not its unifeat."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"  # building in the repository would leave build/lib there
    shutil.copytree(ROOT / "unifeat", source / "unifeat", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", root, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "env"], check=True)
    purelib = Path(sysconfig.get_path("purelib", "venv", dict(base=root / "env", platbase=root / "env")))
    subprocess.run([*pip, "--python", root / "env" / "bin" / "python", "install", "--no-deps", "--no-index",
                    next(root.glob("*.whl"))], check=True)
    # a path in a .pth file comes after the environment's own packages, and the .pth files there (of the editable
    # unifeat) are not read
    (purelib / "packages.pth").write_text("\n".join([*site.getsitepackages(), sysconfig.get_path("purelib")]))
    return root / "env" / "bin" / "unifeat"


def test_a_wheel_in_an_empty_folder_and_home(installed, models, text, tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    own = ("UNIFEAT_", "XDG_", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= dict(HOME=str(home), HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")

    def run(*arguments, program=installed):
        command = [program, *map(str, arguments)]
        return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)

    asked = ("track", models["base"], models["other"], "--text", text, "--quick")
    done = run(*asked)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in here.iterdir()} == {"track-base-other"}
    card = json.loads((here / "track-base-other" / "card.json").read_text())
    assert card["schema"] == "unifeat.track/2" and (here / "track-base-other" / "index.html").stat().st_size > 10_000
    assert (home / ".cache" / "unifeat" / "store").is_dir()
    assert run(*asked, "--fail-under", "1").returncode == 3  # from the store
    wrong = run("track", models["base"], "nowhere", "--text", text)
    assert wrong.returncode == 2 and wrong.stderr.startswith("B=nowhere does not exist")
    assert len(wrong.stderr.splitlines()) == 1
    where = run("-c", "import unifeat; print(unifeat.__file__)", program=installed.with_name("python")).stdout
    assert where.startswith(str(installed.parents[1]))
    shipped = "from unifeat.lineage import read; print(read('laptop').models['merged'].published_sweep)"
    assert run("-c", shipped, program=installed.with_name("python")).stdout.strip() == "horn_elliott_sweep.csv"
