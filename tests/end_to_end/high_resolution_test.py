"""A small 4K model: trained, killed, continued, exported and read again."""

import json
import signal

import jax
import numpy as np
import pytest

from sapiens2_jax.interop.tensors import open_tensors
from sapiens2_jax.training import writers
from tests.end_to_end import commands, resuming

pytestmark = pytest.mark.slow
NUM_STEPS = 12
OPTIONS = (
  "model.size=tiny_4k",  # Images of 4 x 3 windows.
  "model.window_chunk=5",  # the last chunk of a view is not full
  f"optim.num_steps={NUM_STEPS}",
  "checkpoint.every=4",
)


def run(*command: str) -> str:
  done = commands.run(list(command), commands.environment())
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def run_verb(name: str, **flags) -> str:
  given = [f"--{flag}={value}" for flag, value in flags.items()]
  return run(*commands.tiny_command_of(name, *given))


def test_from_training_to_export_and_back(tmp_path):
  data = commands.write_images(tmp_path / "images")
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  run(*commands.tiny_command(whole, data, *OPTIONS))
  command = commands.tiny_command(killed, data, *OPTIONS)
  commands.run_until(
    command,
    commands.environment(),
    lambda: (killed / "checkpoints" / "4").exists(),
    signal.SIGKILL,
  )
  assert "resumed at step" in run(*command)
  jax.tree.map(
    np.testing.assert_array_equal,
    *(resuming.read_tree(path, NUM_STEPS) for path in (whole, killed)),
  )
  rows = [
    (path / writers.METRICS_FILE).read_bytes() for path in (whole, killed)
  ]
  assert rows[0] == rows[1]
  losses = writers.read_metrics(str(whole))
  assert losses[-1]["loss_mae"] < losses[0]["loss_mae"]

  first, again = tmp_path / "first", tmp_path / "again"
  run_verb("export", checkpoint=whole, format="reference", output=first)
  name = "sapiens2_tiny_4k_pretrain.safetensors"
  keys = open_tensors(first / name)
  assert keys["tokenizer.local_pos_embed"].shape == (1, 17, 48)
  assert "tokenizer.blocks.1.attn.wq.weight" in keys
  run_verb("import", checkpoint=first / name, output=tmp_path / "import")
  run_verb(
    "export", checkpoint=tmp_path / "import", format="reference", output=again
  )
  assert (first / name).read_bytes() == (again / name).read_bytes()
  refused = commands.run(
    commands.tiny_command_of(
      *("export", f"--checkpoint={whole}", "--format=transformers"),
      f"--output={tmp_path / 'refused'}",
    ),
    commands.environment(),
  )
  assert refused.returncode == 2
  assert "has no local stage" in refused.stderr
  assert "--format reference" in refused.stderr
  assert not (tmp_path / "refused").exists()

  run_verb("report", checkpoint=whole)
  summary = json.loads((whole / "report" / "summary.json").read_text())
  assert np.isfinite(summary["reconstruction"]["shown_loss"])
