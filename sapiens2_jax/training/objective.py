"""What the trainer, and everybody else, asks of an objective."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data_pipelines.loading.examples import ExampleMaker
from data_pipelines.sources import ImageSource
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.training.state import TrainState

Batch = dict[str, Array]
OnProgress = Callable[[int], None]
OnPicture = Callable[[str, UInt8[np.ndarray, "h w 3"]], None]


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What is measured now and then, and at the end, by all processes.

  Attributes:
    prefix: of the names of its numbers: "eval" or "probe".
    every: steps.
    run: from the state, what is to be called with the number of images done,
      and what is to be called with the name of a picture and the picture, to
      names and values. Those of process 0 count.
    is_first: also before the first step of a run.
  """

  prefix: str
  every: int
  run: Callable[[TrainState, OnProgress, OnPicture], dict[str, float]]
  is_first: bool = False


class FrozenEncoder(NamedTuple):
  """An encoder in the teacher's state that is read once and never changes.

  Attributes:
    source, size: names of the config's fields that say where its weights are
      and which size they have.
  """

  source: str
  size: str


class Stage(NamedTuple):
  """Consecutive steps of a run, all of whose batches have the same shapes.

  Attributes:
    first, end: its first step, and the one after its last.
    objective: of a config with the sizes of this stage.
  """

  first: int
  end: int
  objective: "Objective"


class Objective(Protocol):
  """An encoder and how it learns.

  `compute_targets` sees the whole global batch and `loss` one microbatch, so
  that centering and Sinkhorn-Knopp are exact under gradient accumulation.

  Attributes:
    config: the resolved experiment.
    encoder: the module whose features are learned.
    encoder_names: those that `encoder_params` chooses from, the default first;
      none if there is but one.
    frozen_encoders: by their names in the teacher's state.
  """

  config: ConfigDict
  encoder: Encoder
  encoder_names: tuple[str, ...]
  frozen_encoders: Mapping[str, FrozenEncoder]

  def init(self, rng: PRNGKeyArray) -> dict:
    """Draws the learned parameters, boxed with their logical axes."""

  def init_teacher_state(
    self, params: dict, restored: dict | None = None
  ) -> dict:
    """What the step changes and no gradient does: EMA copies, statistics.

    Args:
      params: learned.
      restored: some leaves of the result, where they exist already.
    """

  def compute_targets(
    self, teacher_state: dict, batches: Batch, step: Array, rng: PRNGKeyArray
  ) -> tuple[Any, Any, dict[str, Array]]:
    """Targets from the whole global batch.

    Args:
      teacher_state: of `init_teacher_state`.
      batches: all microbatches, leaves (a, b, ...).
      step: of training.
      rng: the run's key.

    Returns:
      Targets (a, b, ...), statistics for `update_teacher_state`, metrics.
    """

  def loss(
    self,
    params: dict,
    batch: Batch,
    targets: Any,
    rng: PRNGKeyArray,
    measure: Array,
  ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The loss on one microbatch.

    Args:
      params: learned.
      batch: leaves (b, ...).
      targets: for the same examples.
      rng: the run's key.
      measure: scalar bool; whether costly metrics are wanted.

    Returns:
      Scalar float32, and metrics that are means over the microbatch: `loss`,
      and its parts as `loss_...`.
    """

  def update_teacher_state(
    self, teacher_state: dict, params: dict, statistics: Any
  ) -> dict:
    """The teacher's state after the update of `params`."""

  @staticmethod
  def encoder_params(state: Any, which: str | None = None) -> dict:
    """The part of a state, or of a tree like it, that is the encoder's.

    Args:
      state: with `params` and `teacher_state`.
      which: one of `encoder_names`; None: the first.

    Raises:
      ValueError: there is no such encoder.
    """

  def example_maker(self) -> ExampleMaker:
    """What makes an example of a record."""

  def check_source(self, source: ImageSource, given: str) -> None:
    """Looks at some records, so that a run that cannot learn does not start.

    Args:
      source: of the records.
      given: what the source is called in messages.

    Raises:
      ValueError: none of those that were looked at can be used.
    """

  def measurement(self, mesh: Mesh, abstract: TrainState) -> Measurement | None:
    """What is measured while training, None for nothing; of all processes.

    Raises:
      ValueError: the images cannot be read.
    """

  def flops(self) -> int:
    """Useful FLOPs of one training step on one image; see `training.flops`.

    At the sizes of its config: those of the last stage.
    """

  def stages(self) -> tuple[Stage, ...]:
    """All steps of a run, in order; itself is the objective of the last ones.

    The state is that of every stage, and so is the step: it takes its sizes
    from the batch.
    """

  def report(self) -> Callable:
    """What adds to the report of a run; see `report.contents.MakeContents`."""
