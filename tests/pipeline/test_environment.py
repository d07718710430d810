"""environment.yml, requirements.lock, pyproject.toml and the Makefile tell the same story."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CHOSEN = ["jupyterlab", "papermill", "torch", "transformer-lens",
          "datasets", "matplotlib", "seaborn", "nbval"]


def direct() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in PROJECT["dependencies"] + extras]


def lock() -> dict[str, str]:
    """Pinned version by canonical name; every line that is no comment is name==version."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    matches = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", pin) for pin in pins if pin]
    assert all(matches)
    return {canonicalize_name(match[1]): match[2] for match in matches}


def test_the_lock_pins_every_direct_dependency_within_its_bounds():
    pins = lock()
    for requirement in direct():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_chosen_packages_are_direct_dependencies_and_torch_is_exact():
    names = {canonicalize_name(requirement.name) for requirement in direct()}
    assert set(CHOSEN) <= names
    assert "torch==2.13.0" in PROJECT["dependencies"]
    assert lock()["torch"] == "2.13.0"


def test_the_lock_names_no_cuda_package_and_no_index():
    assert not [name for name in lock() if name.startswith(("nvidia", "cuda", "triton"))]
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text and not re.search(r"^\s*-", text, re.MULTILINE)


def test_the_conda_environment_installs_the_lock_and_this_package_on_a_supported_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    python = next(item for item in plain if item.startswith("python"))
    assert environment["name"] == PROJECT["name"] and "pip" in plain
    assert Version(python.split("=")[-1]) in SpecifierSet(PROJECT["requires-python"])
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.lock", "-e ."]}


def test_this_environment_is_the_locked_one():
    pins = lock()
    found = {name: version(name).split("+")[0] for name in CHOSEN}
    assert found == {name: pins[name] for name in CHOSEN}, "run 'make env'"


def make(*arguments, **variables) -> subprocess.CompletedProcess:
    """Make as in a shell in which no environment is active."""
    hidden = {"VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
              "PYTHON", "PROFILE", "LINEAGE", "CORPORA", "FROM", "MODELS", "HOOK"}
    variables |= {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


def test_make_alone_lists_every_target_with_what_it_does():
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()) - {"install", "one"}
    listed = {line.split()[0] for line in make().stdout.splitlines() if re.match(r"  [a-z]+  +[A-Z]", line)}
    assert listed == targets
    assert make("help").stdout == make().stdout


@pytest.fixture
def old_python(tmp_path):
    script = tmp_path / "bin" / "python"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    return script


def first_line(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 2 and not result.stdout
    return result.stderr.splitlines()[0]


def test_make_takes_the_pythons_that_the_package_and_its_continuous_tests_name():
    check = re.search(r"^CHECK := import sys; (.*)$", MAKEFILE, re.MULTILINE)[1]
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    taken = []
    for minor in range(20):
        refused = []
        exec(check, {"sys": SimpleNamespace(version_info=(3, minor, 1), exit=refused.append)})
        taken += [f"3.{minor}"] * (refused == [False])
    assert taken == [f"3.{i}" for i in range(20) if f"3.{i}.1" in SpecifierSet(PROJECT["requires-python"])]
    assert taken == workflow["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_pythons_that_cannot_be_used_are_one_sentence(old_python):
    """Too old, none at all, or that of an active environment."""
    assert first_line(make("install", f"PYTHON={old_python}")) == (
        f"{old_python} is not Python 3.11 to 3.14 or does not start; name another: make PYTHON=...")
    assert first_line(make("install", "PYTHON=")).startswith("No Python 3.11 to 3.14 is on the PATH;")
    line = first_line(make("install", VIRTUAL_ENV=str(old_python.parent.parent)))
    assert line.startswith("The active environment ") and "has no Python 3.11 to 3.14;" in line


@pytest.mark.parametrize("target", ["figures", "estimate", "controls", "studies", "explorer"])
def test_two_names_for_the_lineage_are_one_sentence_before_anything_is_made(target):
    line = first_line(make(target, "PROFILE=smoke", "LINEAGE=mine.toml", "PYTHON="))
    assert line == "PROFILE=smoke and LINEAGE=mine.toml both name the lineage; give one of them."


def test_the_lineage_that_is_named_is_that_of_the_command():
    def passed(*arguments):
        return re.search(r'unifeat figures --lineage "([^"]*)"', make("-n", "figures", *arguments).stdout)[1]

    assert (passed(), passed("PROFILE=smoke"), passed("LINEAGE=a.toml")) == ("laptop", "smoke", "a.toml")
    assert passed("PROFILE=smoke", "LINEAGE=smoke") == "smoke"


def test_the_active_environment_is_used_but_neither_condas_base_nor_a_deleted_one(old_python):
    active = old_python.parent.parent

    def used(**variables):
        return re.search(r'"([^"]*)/unifeat.stamp"', make("-n", "env", **variables).stdout)[1]

    assert used() == ".venv"
    assert used(VIRTUAL_ENV=str(active)) == str(active)
    assert used(VIRTUAL_ENV=str(active / "gone")) == ".venv"
    assert used(CONDA_PREFIX="/opt/conda", CONDA_DEFAULT_ENV="base") == ".venv"
    assert used(CONDA_PREFIX="/opt/conda/envs/uf", CONDA_DEFAULT_ENV="uf") == "/opt/conda/envs/uf"


def test_packages_of_the_users_do_not_stand_before_the_pinned_ones():
    done = subprocess.run(["make", "-f", "-", "show"], input="include Makefile\nshow:\n\t@env\n", cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert "PYTHONNOUSERSITE=1" in done.stdout.splitlines()


def test_what_a_clusters_modules_set_reaches_no_command():
    """Other packages before the pinned ones, and a backend that matplotlib does not have."""
    done = subprocess.run(["make", "-f", "-", "show"], input="include Makefile\nshow:\n\t@env\n", cwd=ROOT, text=True,
                          env=os.environ | dict(PYTHONPATH="/opt/numpy", PYTHONHOME="/opt", MPLBACKEND="none"),
                          capture_output=True, check=True)
    assert not [line for line in done.stdout.splitlines() if line.startswith(("PYTHONPATH", "PYTHONHOME", "MPLB"))]
    assert "PYTHONUTF8=1" in done.stdout.splitlines()


def test_environment_is_installed_again_only_when_the_lock_or_the_place_differs(old_python):
    active = old_python.parent.parent
    stamp = active / "unifeat.stamp"
    text = f"{ROOT}\n" + (ROOT / "requirements.lock").read_text(encoding="utf-8")
    stamp.write_text(text, encoding="utf-8")
    result = make("env", VIRTUAL_ENV=str(active))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    stamp.write_text(text + "x==1\n", encoding="utf-8")
    assert "has no Python 3.11" in make("env", VIRTUAL_ENV=str(active)).stderr


@pytest.mark.parametrize("chosen, found", [([], False), (["-m", "not network"], False), (["-m", "soak"], True)])
def test_the_soak_is_only_collected_where_it_is_named(chosen, found):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *chosen, "tests/faults/test_soak.py"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert ("test_soak.py::" in out) == found, out
