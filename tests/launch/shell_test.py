"""Every shell script passes shellcheck."""

import pathlib
import subprocess
import sys

import pytest

from tests.launch import fakes

SCRIPTS = sorted((fakes.ROOT / "launch").glob("*.sh"))


def test_shellcheck_has_nothing_to_say():
  assert len(SCRIPTS) >= 8
  done = subprocess.run(
    [pathlib.Path(sys.executable).parent / "shellcheck", *map(str, SCRIPTS)],
    cwd=fakes.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_strict(script):
  # common.sh is read by scripts that are.
  assert script.stem == "common" or "\nset -euo pipefail\n" in (
    script.read_text()
  )


@pytest.mark.parametrize(
  "given, message",
  [
    (["--python", "3.99"], "install: python3.99 is not on PATH"),
    (["--python"], "name a version of Python, such as 3.13"),
    (["--python", ""], "name a version of Python, such as 3.13"),
  ],
)
def test_a_python_that_is_not_there_is_named(given, message):
  done = subprocess.run(
    ["bash", fakes.ROOT / "launch" / "test.sh", *given],
    capture_output=True,
    text=True,
  )
  assert done.returncode in (1, 2)
  assert message in done.stderr
  assert not list(fakes.ROOT.glob(".venv-3.99"))
