"""What docs/finetuning.md says of losses that transformers does not have."""

import pathlib
import re
import shlex
import sys

import numpy as np
import pytest
import torch
import transformers

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.interop import transformers_config
from tests.data_pipelines.annotated import made
from tests.end_to_end import commands
from tests.interop import task_samples

SECTION = "## Losses nobody else has\n"
SIZE = (64, 48)


def _section():
  docs = pathlib.Path(__file__).parents[2] / "docs" / "finetuning.md"
  return docs.read_text().split(SECTION)[1].split("\n## ")[0]


def _model(task):
  config = transformers_config.model_config(
    ARCHITECTURES["tiny"],
    image_size=SIZE,
    layer_scale_init=1.0,
    dtype="float32",
    head=task_samples.HEADS[task],
  )
  config = transformers.Sapiens2Config(**config)
  return getattr(transformers, config.architectures[0])(config)


@pytest.mark.parametrize("task", ["normal", "pointmap", "matting"])
def test_transformers_has_no_loss_of_maps(task):
  """If it has one now, take the sentence out of docs/finetuning.md."""
  channels = 4 if task == "matting" else 3
  labels = torch.zeros(1, channels, *SIZE)
  with pytest.raises(NotImplementedError, match="Training is not yet"):
    _model(task)(torch.zeros(1, 3, *SIZE), labels=labels)


def test_transformers_has_the_losses_of_parts_and_pose():
  labels = torch.zeros(1, *SIZE, dtype=torch.int64)
  images = torch.zeros(1, 3, *SIZE)
  assert _model("segmentation")(images, labels=labels).loss.requires_grad
  heatmaps = torch.zeros(1, 308, SIZE[0] // 4, SIZE[1] // 4)
  weights = torch.ones_like(heatmaps)
  found = _model("pose")(images, labels=heatmaps, label_weights=weights)
  assert found.loss.requires_grad


@pytest.mark.slow
def test_what_is_trained_here_loads_there(tmp_path):
  for number in range(8):
    made.write_image(tmp_path / f"people/rgb/{number}.png", SIZE, number)
    mask = np.zeros(SIZE, np.uint8)
    mask[20:50, 10:40] = 255
    made.write_pixels(tmp_path / f"people/mask/{number}.png", mask)
    normal = np.zeros((*SIZE, 3), np.float32)
    normal[..., number % 2 * 2] = 1
    made.write_array(tmp_path / f"people/normal/{number}.npy", normal)
  section = _section()
  lines = re.sub(r"\\\n\s+", "", section).splitlines()
  train, export = (line for line in lines if line.startswith("    sapiens2 "))
  train = train.replace("size=0.4b", "size=toy")
  train = re.sub(r" --config.model.init_from=\S+", "", train)
  train = train.replace("/data/labelled", f"folders:{tmp_path}/people")
  small = {
    "optim.num_steps": 2,
    "optim.warmup_steps": 1,
    "data.image_size": "(64, 48)",
    "data.global_batch_size": 8,
    "data.augment": False,
    "evaluation.path": "",
    "evaluation.every": 0,
  }
  options = [f"--config.{name}={value}" for name, value in small.items()]
  for command in ([*shlex.split(train), *options], shlex.split(export)):
    program = [sys.executable, "-m", "sapiens2_jax", *command[1:]]
    done = commands.run(program, commands.environment(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
  (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
  names = {"images": torch.zeros(1, 3, *SIZE)}
  exec(code.replace("hf/", f"{tmp_path}/hf"), names)
  assert names["normals"].shape == (1, 3, *SIZE)
  assert torch.isfinite(names["normals"]).all()
