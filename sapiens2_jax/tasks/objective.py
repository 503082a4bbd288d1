"""Fine-tuning on a human task: encoder, head and the task's loss.

The whole encoder is trained, but for `optim.frozen_stages`, or what LoRA adds
to it (`model.lora_rank`).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data_pipelines import sources
from data_pipelines.open_source import open_field
from sapiens2_jax import tasks
from sapiens2_jax.models import lora, partition
from sapiens2_jax.models import pixels as pixel_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.from_config import build_encoder
from sapiens2_jax.models.grid import TokenGrid
from sapiens2_jax.runtime import distributed
from sapiens2_jax.tasks.columns import side_by_side
from sapiens2_jax.tasks.evaluate import evaluate
from sapiens2_jax.tasks.examples import (
  TaskExamples,
  check_examples,
  check_labels,
)
from sapiens2_jax.training import flops, freezing
from sapiens2_jax.training.data import check_shared
from sapiens2_jax.training.objective import (
  Measurement,
  OnPicture,
  OnProgress,
  Stage,
)
from sapiens2_jax.training.state import TrainState
from sapiens2_jax.training.step import jit_predict

_LORA = 2  # purpose of a key; encoder and head have the others


@dataclasses.dataclass(frozen=True, eq=False)
class TaskObjective:
  """See `training.objective.Objective`.

  It has no teacher.

  Attributes:
    config: the resolved experiment (see experiments/finetune.py).
    encoder, head: the modules that `params` belong to.
    task: gives the loss.
  """

  config: ConfigDict
  encoder: Encoder
  head: nn.Module
  task: tasks.Task
  encoder_names = ()
  frozen_encoders = {}

  @functools.cached_property
  def grid(self) -> TokenGrid:
    """Of what the network sees."""
    return self.encoder.grid(tuple(self.config.data.image_size))

  def init(self, rng: PRNGKeyArray) -> dict:
    rngs = jax.random.split(rng, 2)
    side = self.grid.pixels_per_token
    image = jnp.zeros((1, side, side, 3))
    embed_dim = self.encoder.architecture.embed_dim
    features = jnp.zeros((1, *self.grid.shape, embed_dim))
    params = {
      "encoder": self.encoder.init(rngs[0], image)["params"],
      "head": self.head.init(rngs[1], features)["params"],
    }
    if rank := self.config.model.lora_rank:
      key = jax.random.fold_in(rng, _LORA)
      params["lora"] = lora.init(key, params["encoder"], rank)
    return params

  def init_teacher_state(
    self, params: dict, restored: dict | None = None
  ) -> dict:
    return {}

  def compute_targets(
    self, teacher_state: dict, batches: dict, step: Array, rng: PRNGKeyArray
  ) -> tuple[tuple, tuple, dict]:
    """No targets, no statistics, no metrics."""
    return (), (), {}

  def predict(
    self, params: dict, images: UInt8[Array, "b h w 3"]
  ) -> dict[str, Array]:
    """The head's outputs for RGB images of `data.image_size`."""
    with jax.named_scope("encoder"):
      variables = {"params": params["encoder"]}
      if "lora" in params:
        variables[lora.COLLECTION] = params["lora"]
      pixels = pixel_lib.from_uint8(images)
      features = self.encoder.apply(variables, pixels).patches
    with jax.named_scope("head"):
      features = partition.constrain(features, "batch", None, None, None)
      return self.head.apply({"params": params["head"]}, features)

  def loss(
    self,
    params: dict,
    batch: dict[str, Array],
    targets: tuple,
    rng: PRNGKeyArray,
    measure: Array,
  ) -> tuple[Float[Array, ""], dict]:
    """The task's loss; leaves are those of `Task.element_spec`."""
    params = freezing.stop_gradient(params, self.config.optim.frozen_stages)
    outputs = self.predict(params, batch["image"])
    with jax.named_scope("loss"):
      loss, metrics = self.task.loss(outputs, batch)
    return loss, {"loss": loss, **metrics}

  def update_teacher_state(
    self, teacher_state: dict, params: dict, statistics: tuple
  ) -> dict:
    return teacher_state

  @staticmethod
  def encoder_params(state: Any, which: str | None = None) -> dict:
    if which is not None:
      raise ValueError(f"encoder {which!r}: a task has one encoder alone.")
    return state.params["encoder"]

  def example_maker(self) -> TaskExamples:
    data = self.config.data
    return TaskExamples(
      self.task,
      augment=data.augment,
      seed=self.config.seed,
      max_pixels=data.max_pixels,
    )

  def check_source(self, source: sources.ImageSource, given: str) -> None:
    check_labels(source, self.task, given)
    check_examples(source, self.example_maker(), given)

  def measurement(self, mesh: Mesh, abstract: TrainState) -> Measurement | None:
    """The task's metric on `evaluation.path`."""
    evaluation, data = self.config.evaluation, self.config.data
    if not evaluation.every:
      return None
    source = open_field("evaluation.path", evaluation.path)
    given = f"evaluation.path={evaluation.path}"
    check_labels(source, self.task, given)
    check_shared(source, given)
    source = sources.RetryingSource(
      source, attempts=data.read_attempts, timeout=data.read_timeout
    )
    apply_fn = jit_predict(self, self.config, mesh, abstract)
    batch_size = data.global_batch_size // data.accumulation_steps

    def run(
      state: TrainState, on_progress: OnProgress, on_picture: OnPicture
    ) -> dict[str, float]:
      numbers = itertools.count()

      def show(*given) -> None:
        name = f"{next(numbers):02d}"
        on_picture(name, side_by_side(self.task, *given))

      return evaluate(
        self.task,
        apply_fn,
        state.params,
        source,
        batch_size=batch_size // apply_fn.part.count,
        num_images=evaluation.num_images,
        max_pixels=data.max_pixels,
        on_progress=on_progress,
        part=apply_fn.part,
        num_shown=evaluation.num_pictures if distributed.is_writer() else 0,
        on_shown=show,
      )

    return Measurement("eval", evaluation.every, run)

  def flops(self) -> int:
    arch, patches = self.encoder.architecture, self.grid.num_tokens
    tokens = patches + arch.num_prefix_tokens
    encoder = flops.encoder_flops(arch, patches, tokens)
    features = jax.ShapeDtypeStruct(
      (1, *self.grid.shape, arch.embed_dim), jnp.float32
    )
    rng = jax.eval_shape(lambda: jax.random.key(0))
    traced = jax.make_jaxpr(self.head.init_with_output)(rng, features)
    learned = 3 * (encoder + flops.layer_flops(traced.jaxpr))
    return learned - flops.stem_flops(arch, patches)

  def stages(self) -> tuple[Stage, ...]:
    return (Stage(0, self.config.optim.num_steps, self),)

  def report(self) -> Callable:
    # Not at the top: it draws, and asks for this module.
    from sapiens2_jax.tasks.report import contents

    return functools.partial(contents.make_contents, self)


def matches(config: ConfigDict) -> bool:
  """Whether a config describes fine-tuning on a task."""
  return "task" in config


def build_task(config: ConfigDict) -> TaskObjective:
  """Makes what `config.model` and `config.task` describe.

  Raises:
    ValueError: if a named choice is unknown, or the config is of no task.
  """
  if not matches(config):
    raise ValueError("the config is of pretraining; expected one of a task.")
  task = tasks.make_task(config)
  return TaskObjective(config, build_encoder(config.model), task.head(), task)
