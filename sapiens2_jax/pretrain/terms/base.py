"""What a term of the pretraining loss is asked, and what it is given."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float
from ml_collections import ConfigDict

from sapiens2_jax.models.decoder import DecoderOutput
from sapiens2_jax.pretrain.modules import Learned, Sizes
from sapiens2_jax.pretrain.views import Views
from sapiens2_jax.report.metrics import Note
from sapiens2_jax.training.objective import FrozenEncoder


class TeacherOutputs(NamedTuple):
  """What the EMA teacher makes of the whole global views of a microbatch.

  Attributes:
    params: of the teacher's modules: encoder and `Term.teacher_modules`.
    views: what was seen.
    cls: (b, g, d); None unless a term reads it, or the patches.
    patches: (b, g, n, d); None unless a term `reads_teacher_patches`.
    encode: (encoder params, encoder) -> cls and patches of the same views by
      other weights, and another encoder if one is given.
  """

  params: dict
  views: Views
  cls: Float[Array, "b g d"] | None
  patches: Float[Array, "b g n d"] | None
  encode: Callable[..., tuple[Array, Array]]


@dataclasses.dataclass
class StudentOutputs:
  """What the student makes of the views of one microbatch.

  Attributes:
    params: of all modules.
    views: what was seen.
    cls: (b, v, d), global views first; local ones only if a term
      `reads_local_views`.
    patches: (b, g, n, d) features of the visible patches.
    decode: computes `decoded`.
    decoded: of the decoder, for the masked patches; computed on first use.
  """

  params: dict
  views: Views
  cls: Float[Array, "b v d"]
  patches: Float[Array, "b g n d"]
  decode: Callable[[], DecoderOutput]

  @functools.cached_property
  def decoded(self) -> DecoderOutput:
    return self.decode()


class Term:
  """One term of the loss; the base has no modules, targets or statistics.

  Attributes:
    reads_local_views: its loss needs [cls] of the local views.
    reads_teacher: it needs the teacher's [cls] of the global views.
    reads_teacher_patches: it needs the teacher's patch features.
    reads_whole_views: it encodes the whole global views by other weights.
    teacher_modules: names of the modules of which the teacher has an EMA copy.
    frozen_encoders: those among its statistics that a run starts with.
    loss_note: what is known of its loss.
  """

  reads_local_views = False
  reads_teacher = False
  reads_teacher_patches = False
  reads_whole_views = False
  teacher_modules: tuple[str, ...] = ()
  frozen_encoders: Mapping[str, FrozenEncoder] = {}
  loss_note = ""

  def __init__(self, config: ConfigDict, weight: float):
    self.config, self.weight = config, weight

  def modules(self) -> Mapping[str, Learned]:
    """Learned modules beside the encoder, by name; terms may share them."""
    return {}

  def init_statistics(self, params: dict) -> dict:
    """What it keeps from step to step, float32; by a name of its own.

    Args:
      params: of all modules, the teacher's of those that it has.
    """
    return {}

  def project(self, teacher: TeacherOutputs, statistics: dict, step: Array):
    """What `targets` needs of one microbatch; leaves (b, ...)."""
    return ()

  def targets(
    self, projected: Any, statistics: dict, step: Array
  ) -> tuple[Any, Any, dict]:
    """Targets of the whole global batch.

    Args:
      projected: of `project`, leaves (a, b, ...) for all microbatches.
      statistics: the teacher's state.
      step: of training.

    Returns:
      Targets (a, b, ...) for `loss`; what `update_statistics` needs; metrics.
    """
    return (), (), {}

  def loss(
    self, student: StudentOutputs, targets: Any
  ) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Scalar float32 of one microbatch, without its weight; and metrics."""
    raise NotImplementedError

  def update_statistics(
    self, statistics: dict, found: Any, teacher: dict
  ) -> dict:
    """Those of `init_statistics` after a step.

    Args:
      statistics: the teacher's state before it.
      found: by `targets`.
      teacher: EMA parameters after it.
    """
    return {}

  def flops(self, sizes: Sizes) -> tuple[int, int]:
    """Forward pass beside the encoder's: learned, and the teacher's."""
    return 0, 0

  def notes(self) -> dict[str, Note]:
    """What is known of its metrics, for people; its loss is called `loss`."""
    return {"loss": Note(self.loss_note)} if self.loss_note else {}
