"""Stand-ins for gcloud, xpk, sbatch, srun, scontrol and the trainer."""

import json
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
SPEC = "experiments/pretrain.py:size=toy"
FLAGS = {
  "tpu_vm": [
    *("--name", "p04", "--accelerator_type", "v5p-256", "--spot"),
    *("--zone", "us-east5-a", "--runtime_version", "v2-alpha-tpuv5"),
  ],
  "gke": [
    *("--cluster", "tpus", "--workload", "p04", "--tpu_type", "v5p-256"),
    *("--docker_image", "gcr.io/x/y:1"),
  ],
  "slurm": ["--nodes", "4", "--gpus_per_node", "8", "--time", "24:00:00"],
}
LAUNCHERS = tuple(FLAGS)

# Each writes down its words; and does what the real one would do with them.
_PROGRAMS = {
  # The check; and the trainer: the first process only, SLURM starts one.
  "python": """
note "$@"
case " $* " in *" --check "*) exit "${CHECK_EXIT:-0}" ;; esac
exit "${TRAIN_EXIT:-0}"
""",
  "gcloud": """
note "$@"
case " $* " in
  *" describe "*--format=*) echo "${STATE:-ACTIVE}" ;;
  *" describe "*) exit 1 ;;
  *" ssh "*)
    for word in "$@"; do
      case $word in
        --command=*flock*) cd "$REPOSITORY/.." && bash -c "${word#*=}
          wait" ;;
      esac
    done ;;
esac
""",
  # As Kubernetes: $$ is a $, and $(NAME) a variable of the container.
  "xpk": """
note "$@"
for word in "$@"; do
  case $word in
    --command=*)
      cd "$REPOSITORY" && bash -c "($(expand "${word#*=}")) & wait \\$!"
  esac
done
""",
  "sbatch": """
note "$@"
for word in "$@"; do
  case $word in
    --chdir=*) cd "$REPOSITORY"; shift ;;
    --*) shift ;;
    *) break ;;
  esac
done
SLURM_JOB_ID=7 bash "$@"
""",
  "srun": 'note "$@"; shift; "$@" || exit "${SRUN_EXIT:-$?}"',
  "scontrol": 'note "$@"',
  # Without a session of its own, and waited for.
  "setsid": 'note; "$@"',
}
_HEADER = """#!/usr/bin/env bash
note() { python3 "$FAKES/note.py" "$(basename "$0")" "$@"; }
expand() { python3 "$FAKES/expand.py" "$1"; }
"""
_NOTE = """
import json, os, sys
with open(os.path.join(os.environ["FAKES"], "calls.jsonl"), "a") as file:
  file.write(json.dumps(sys.argv[1:]) + "\\n")
"""
_EXPAND = """
import sys
from tests.launch.fakes import kubernetes_expands
sys.stdout.write(kubernetes_expands(sys.argv[1]))
"""
VARIABLES = {"HOME": "/replaced", "x": "replaced"}


def kubernetes_expands(text: str) -> str:
  """What a container is given for a word of `command` or `args`."""
  result, i = "", 0
  while i < len(text):
    end = text.find(")", i)
    if text.startswith("$$", i):
      result, i = result + "$", i + 2
    elif text.startswith("$(", i) and text[i + 2 : end] in VARIABLES:
      result, i = result + VARIABLES[text[i + 2 : end]], end + 1
    else:
      result, i = result + text[i], i + 1
  return result


class Cluster:
  """A folder of stand-ins, and what was called."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    folder.mkdir()
    for name, text in _PROGRAMS.items():
      path = folder / name
      path.write_text(_HEADER + text)
      path.chmod(0o755)
    (folder / "note.py").write_text(_NOTE)
    (folder / "expand.py").write_text(_EXPAND)
    # A machine that has none of them.
    self.bare = folder / "bare"
    self.bare.mkdir()
    for name in ("basename", "bash", "dirname"):
      (self.bare / name).symlink_to(shutil.which(name))
    # A TPU VM has the repository in the home directory.
    self.home = folder / "home"
    (self.home / "sapiens2_jax").mkdir(parents=True)
    shutil.copytree(ROOT / "launch", self.home / "sapiens2_jax" / "launch")
    self.env = {
      **os.environ,
      "FAKES": str(folder),
      "PATH": f"{folder}:{os.environ['PATH']}",
      "PYTHON": "python",
      "PYTHONPATH": str(ROOT),
      "REPOSITORY": str(self.home / "sapiens2_jax"),
    }

  def run(self, *words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
      words,
      cwd=self.home,
      env={**self.env, **env},
      capture_output=True,
      text=True,
      timeout=240,
    )

  def calls(self, program: str | None = None) -> list[list[str]]:
    """Words of all calls so far, or of those of one program."""
    path = self.folder / "calls.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    calls = [json.loads(line) for line in lines]
    return [c for c in calls if program is None or c[0] == program]

  def started(self) -> list[list[str]]:
    """Words of the train commands that were not only checks."""
    return [call for call in self.calls("python") if "--check" not in call]

  def forget(self) -> None:
    (self.folder / "calls.jsonl").unlink(missing_ok=True)


def seconds_to_stop() -> float:
  """What a run may take after SIGTERM, with what it tells the others."""
  # The stand-ins import this module, with any Python.
  from sapiens2_jax import validation

  return validation.default_config("pretrain").distributed.stop_timeout + 25


def launch(launcher: str, *words: str) -> list[str]:
  return ["bash", str(ROOT / "launch" / f"{launcher}.sh"), *words]


def train_flags(workdir: str = "gs://b/run", *overrides: str) -> list[str]:
  return [
    *("--config", SPEC, "--workdir", workdir),
    *(f"--config.{override}" for override in overrides),
  ]
