"""Fine-tuning on a human task: encoder, head and the task's loss.

The whole encoder is trained.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from sapiens2_jax import tasks
from sapiens2_jax.models import partition
from sapiens2_jax.models import patches as patch_lib
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.from_config import build_encoder
from sapiens2_jax.pretrain import image_ops


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

  def init(self, rng: PRNGKeyArray) -> dict:
    """Draws the learned parameters of encoder and head.

    Leaves are boxed with their logical axes (`flax.linen.unbox` opens them).
    """
    arch = self.encoder.architecture
    rngs = jax.random.split(rng, 2)
    image = jnp.zeros((1, arch.patch_size, arch.patch_size, 3))
    grid = patch_lib.grid_size(
      tuple(self.config.data.image_size), arch.patch_size
    )
    features = jnp.zeros((1, *grid, arch.embed_dim))
    return {
      "encoder": self.encoder.init(rngs[0], image)["params"],
      "head": self.head.init(rngs[1], features)["params"],
    }

  def init_teacher_state(self, params: dict) -> dict:
    del params
    return {}

  def compute_targets(
    self, teacher_state: dict, batches: dict, step: Array, rng: PRNGKeyArray
  ) -> tuple[tuple, tuple, dict]:
    """No targets, no statistics, no metrics."""
    del teacher_state, batches, step, rng
    return (), (), {}

  def predict(
    self, params: dict, images: UInt8[Array, "b h w 3"]
  ) -> dict[str, Array]:
    """The head's outputs for RGB images of `data.image_size`."""
    with jax.named_scope("encoder"):
      pixels = image_ops.normalize(images.astype(jnp.float32) / 255)
      variables = {"params": params["encoder"]}
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
    """The task's loss on one microbatch.

    Args:
      params: of encoder and head.
      batch: leaves (b, ...), as `Task.element_spec` says, with index and epoch.
      targets, rng, measure: not used.

    Returns:
      Scalar float32 and metrics, each a mean over the microbatch.
    """
    del targets, rng, measure
    outputs = self.predict(params, batch["image"])
    with jax.named_scope("loss"):
      loss, metrics = self.task.loss(outputs, batch)
    return loss, {"loss": loss, **metrics}

  def update_teacher_state(
    self, teacher_state: dict, params: dict, statistics: tuple
  ) -> dict:
    del params, statistics
    return teacher_state


def build_task(config: ConfigDict) -> TaskObjective:
  """Makes what `config.model` and `config.task` describe.

  Raises:
    ValueError: if a named choice is unknown.
  """
  task = tasks.make_task(config)
  return TaskObjective(config, build_encoder(config.model), task.head(), task)
