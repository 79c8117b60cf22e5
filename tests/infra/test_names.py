"""The five import names: ours, or a plain word on what shadows them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.names import NAMES, ShadowedPackage, check_import_names


def run(folder: Path, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`check_import_names` in a fresh process that starts in `folder`, as `python -c` and `python -m` do."""
    script = (
        "import sys; import infra.names as n; n.check_import_names(); print(sorted(set(n.NAMES) & set(sys.modules)))"
    )
    if path is not None:
        script = f"import sys; import infra; sys.path.insert(0, {str(path)!r}); {script}"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_here_all_is_well(tmp_path: Path) -> None:
    check_import_names()
    result = run(tmp_path)
    assert (result.returncode, result.stdout) == (0, "['infra']\n"), "and nothing else was imported"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "infra"])
def test_a_package_that_shadows_ours_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    result = run(tmp_path, path=tmp_path)
    assert "ShadowedPackage" in result.stderr
    assert str(tmp_path / name) in result.stderr


def test_a_module_shadows_too_but_a_mere_folder_does_not(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert run(tmp_path, path=tmp_path).returncode == 0
    (tmp_path / "flows.py").write_text("")
    result = run(tmp_path, path=tmp_path)
    assert f"{tmp_path / 'flows.py'} shadows it" in result.stderr


def test_it_is_an_import_error() -> None:
    assert issubclass(ShadowedPackage, ImportError)
