"""What is shipped: the wheel holds all that a user needs and works far from the checkout; the pins are complete."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("catalogs", "model", "infra", "actors", "flows")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network from a copy of what git would hand to a fresh clone."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into; its dependencies are this environment's."""
    target = tmp_path_factory.mktemp("target")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def run_away_from_the_checkout(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in `folder`, with the installed wheel in front of this environment's editable install."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "-z", *PACKAGES], cwd=ROOT, capture_output=True, check=True, text=True
    )
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked - names_in(wheel) == set()
    for wanted in (*(f"{package}/py.typed" for package in PACKAGES), "infra/media/_die_with_parent.py"):
        assert wanted in names_in(wheel)


@pytest.mark.parametrize("folder", ["catalogs/samples", "model/default", "flows/board"])
def test_wheel_holds_data(wheel: Path, folder: str) -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    data = {name for name in there if not name.endswith((".py", ".pyc"))}
    assert data, f"{folder} is empty in the checkout"
    assert data - names_in(wheel) == set()


def test_wheel_holds_no_tests_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in names_in(wheel) if re.search(r"(^|/)(tests?/|test_|conftest)|\.pyc$", name)]


def test_wheel_names_its_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"rushes-{PROJECT['version']}.dist-info"
        assert b"License-Expression: Apache-2.0" in archive.read(f"{info}/METADATA")
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        assert b"rushes = flows.command:run" in archive.read(f"{info}/entry_points.txt")


@pytest.mark.parametrize("package", PACKAGES)
def test_installed_packages_are_the_wheels(installed: Path, tmp_path: Path, package: str) -> None:
    done = run_away_from_the_checkout(installed, tmp_path, "-c", f"import {package}; print({package}.__file__)")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_installed_command_speaks(installed: Path, tmp_path: Path) -> None:
    done = run_away_from_the_checkout(installed, tmp_path, "-m", "flows", "--help")
    assert done.returncode == 0, done.stderr
    assert "render" in done.stdout


def test_installed_media_encodes(installed: Path, tmp_path: Path) -> None:
    script = (
        "import numpy as np; from infra.media import encode_film, probe\n"
        "encode_film(np.zeros((3, 16, 16, 3), np.uint8), 'a.mp4', fps=8); print(probe('a.mp4').frames)"
    )
    done = run_away_from_the_checkout(installed, tmp_path, "-c", script)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def pins() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines if line)}


def requirements() -> list[Requirement]:
    extras = (text for group in PROJECT["optional-dependencies"].values() for text in group)
    return [Requirement(text) for text in (*PROJECT["dependencies"], *extras)]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_has_a_pin_in_its_range(requirement: Requirement) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)
    assert version(requirement.name).split("+")[0] == pin, "what is installed is not what is pinned"


def test_pins_name_no_local_build() -> None:
    assert not [pin for pin in pins().values() if "+" in pin]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run"])
def test_no_registry_is_named(name: str) -> None:
    assert not re.search(r"https?://|--index-url|--extra-index-url|--find-links|PIP_", (ROOT / name).read_text())
