"""The commands of docs/launching.md and of the launchers' headers work."""

import os
import re
import subprocess
import sys

import pytest

from tests.launch import fakes

DOCS = (fakes.ROOT / "docs" / "launching.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", DOCS, re.DOTALL)
DRY_RUNS = [
  command
  for block in BLOCKS
  for command in re.findall(
    r"^(?:bash launch|python launch|sapiens2 sweep)(?:.*\\\n)*.*$", block, re.M
  )
  if "--dry_run" in command
]


def run(command: str, **options) -> str:
  # As in a shell with the virtual environment activated.
  here = os.path.dirname(sys.executable)
  options.setdefault("env", os.environ)
  path = f"{here}:{options['env']['PATH']}"
  options["env"] = {**options["env"], "PATH": path}
  done = subprocess.run(
    ["bash", "-c", command],
    cwd=fakes.ROOT,
    capture_output=True,
    text=True,
    **options,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize(
  "command", [c for c in DRY_RUNS if c.startswith("bash")]
)
def test_commands_of_the_docs_print_what_they_would_do(command):
  printed = run(command)
  assert "-m sapiens2_jax.train" in printed
  assert "size=0.4b" in printed


@pytest.mark.slow
def test_python_commands_of_the_docs_work(tmp_path):
  sweep = next(c for c in DRY_RUNS if c.startswith("sapiens2 sweep"))
  sweep = sweep.replace("sapiens2", "python -m sapiens2_jax", 1)
  assert run(sweep).count("bash launch/slurm.sh") == 8
  jobset = next(b for b in BLOCKS if "jobset.py" in b).split(" >p04.yaml")[0]
  assert "kind: JobSet" in run(jobset)


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_the_command_in_a_launchers_header_works(launcher):
  text = (fakes.ROOT / "launch" / f"{launcher}.sh").read_text()
  lines = re.search(r"^#   bash launch(?:.*\\\n)*.*", text, re.M)[0]
  command = re.sub(r"^#", "", lines, flags=re.M)
  assert "size=0.4b" in run(f"{command} --dry_run")


def test_the_docs_name_every_launcher_and_exit_code():
  for name in (*fakes.LAUNCHERS, "jobset", "host"):
    assert re.search(rf"launch/{name}\.(sh|py)", DOCS)
  assert len(DRY_RUNS) == 4
