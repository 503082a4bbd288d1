r"""Continued pretraining on images of one's own, any size.

Run:    sapiens2 train --workdir runs/mine \
          --config continue:size=0.4b,images=50000 \
          --config.data.path=/data/mine \
          --config.model.init_from=sapiens2_0.4b_pretrain.safetensors
Smoke:  --config continue:size=toy (CPU, minutes), after sapiens2 quickstart
Sizes:  those of experiments/pretrain.py
Input:  model.init_from: weights of an encoder (released, imported, exported, of
        a run), behind which all else starts at random; or, with start=run, the
        workdir of a pretraining, whose decoder, head, teacher and optimizer go
        on, too
Needs:  for all sizes but the toys a TPU or GPU mesh [estimate; not yet run]

As experiments/pretrain.py but for what depends on `images`, how many there are
(1,000,000 if not given). The rule, printed at the start; all of it ours:

    batch      the power of two below a hundredth of the images, of 64 to 2048
    steps      50 epochs, but 2,000 to 100,000
    rate       a fifth of pretraining's, so that what was learned is kept, times
               the root of batch / 2048 (AdamW: arXiv 2205.10287)
    momentum   of the teacher: 0.992 to the power of batch / 2048, so that it
               follows as many images as in pretraining (arXiv 2307.13813)
    frozen     the encoder in the first tenth of the steps, at most 1,000, so
               that decoder and head learn something before they change it;
               with start=run not at all

The teacher has its last temperature from the start. The toy keeps its batch of
16 for 2048, and without `images` takes 60 steps.
"""

import dataclasses
import math
import pathlib
import sys

import ml_collections

from sapiens2_jax import errors
from sapiens2_jax.config import load_module, parse_argument

_HERE = pathlib.Path(__file__).parent
_RATE = 0.2  # of the peak learning rate of pretraining
_EPOCHS = 50
_LEAST_STEPS, _MOST_STEPS = 2000, 100_000
_STEPS_OF_EPOCH = 100  # at least, if the batch may be so small
_LEAST_BATCH = 64
# Also the values of model.init_parts. Fraction of the steps: frozen.
_STARTS = {"encoder": 0.1, "run": 0.0}
_MOST_FROZEN = 1000


@dataclasses.dataclass(frozen=True)
class Rule:
  """What follows from the number of images."""

  batch: int
  steps: int
  rate: float
  momentum: float
  frozen: int

  def show(self, images: int) -> str:
    epochs = self.steps * self.batch / images
    return (
      f"rule       {images:,} images: batch {self.batch}, {self.steps:,} steps "
      f"({epochs:.3g} epochs), peak rate {self.rate:.2g}, momentum of the "
      f"teacher {self.momentum:.6g}, encoder frozen for {self.frozen:,} steps"
    )


def make_rule(
  images: int, config: ml_collections.ConfigDict, start: str
) -> Rule:
  """The rule of the docstring, from the config of pretraining."""
  most = config.data.global_batch_size
  wanted = 2 ** int(math.log2(max(1, images / _STEPS_OF_EPOCH)))
  batch = min(most, max(wanted, _LEAST_BATCH))
  steps = math.ceil(_EPOCHS * images / batch)
  steps = min(max(steps, _LEAST_STEPS), _MOST_STEPS)
  return Rule(
    batch,
    steps,
    _RATE * config.optim.peak_lr * (batch / most) ** 0.5,
    config.objective.teacher_momentum ** (batch / most),
    min(int(_STARTS[start] * steps), _MOST_FROZEN),
  )


def get_config(argument: str = "size=0.4b") -> ml_collections.ConfigDict:
  given = parse_argument(argument, size="0.4b", images="", start="encoder")
  errors.lookup(_STARTS, given["start"], "start")
  config = load_module(_HERE / "pretrain.py").get_config(
    f"size={given['size']}"
  )
  is_toy = config.model.size.startswith("toy")
  images = _read_count(given["images"] or "1000000")
  rule = make_rule(images, config, given["start"])
  if is_toy and not given["images"]:
    frozen = int(_STARTS[given["start"]] * 60)
    rule = dataclasses.replace(rule, steps=60, frozen=frozen)
  else:
    print(rule.show(images), file=sys.stderr)
  config.model.init_from = "runs/quickstart" if is_toy else "runs/pretrain"
  config.model.init_parts = given["start"]
  config.data.global_batch_size = rule.batch
  config.optim.update(
    num_steps=rule.steps,
    warmup_steps=5 if is_toy else 100,
    peak_lr=rule.rate,
    freeze_encoder_steps=rule.frozen,
  )
  config.objective.update(
    teacher_momentum=rule.momentum,
    teacher_temp_start=config.objective.teacher_temp,
  )
  return config


def _read_count(text: str) -> int:
  if not text.isdecimal() or not int(text):
    raise ValueError(f"images={text}: expected how many there are, at least 1")
  return int(text)
