"""L_distill: features of a frozen teacher, that may be larger.

Beside the EMA teacher, or instead of it where the weights of its terms are 0.
The teacher sees the whole global views, the student its visible patches of
them. A run reads `objective.distill_from` once, at its start: the teacher is
part of the state, and of its checkpoints.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.from_config import build_encoder, compute_dtype
from sapiens2_jax.models.grid import pixels_per_token
from sapiens2_jax.models.layers import dense, normalize_features
from sapiens2_jax.pretrain.modules import Learned, Sizes
from sapiens2_jax.pretrain.terms import base
from sapiens2_jax.report.metrics import Note
from sapiens2_jax.training import flops
from sapiens2_jax.training.objective import FrozenEncoder

_TEACHER = "distill_teacher"
_CLS, _PATCHES = "distill_cls", "distill_patches"


def cosine_distance(
  features: Float[ArrayLike, "*b d"], targets: Float[ArrayLike, "*b d"]
) -> Float[Array, ""]:
  """Mean of 1 - cos, in [0, 2], in float32; no gradient to `targets`.

  Source: AM-RADIO (arXiv 2312.06709), its loss of [cls] and nine tenths of its
  loss of patches. The last tenth, smooth L1, is left out: between features of
  length 1 the square of their difference is the same number twice. Ours.
  """
  x = normalize_features(features)
  y = normalize_features(lax.stop_gradient(targets))
  return 1 - jnp.mean(jnp.sum(x * y, axis=-1))


class FrozenTeacher(base.Term):
  """[cls] and visible patches, projected, point where the teacher's do.

  Source: AM-RADIO (a projection each for [cls] and patches, equal weights);
  DMAE (arXiv 2208.12256: a masked student); linear projections, a teacher of
  the whole view: ours.
  """

  reads_whole_views = True
  frozen_encoders = {
    _TEACHER: FrozenEncoder("objective.distill_from", "objective.distill_size")
  }

  def __init__(self, config: ConfigDict, weight: float):
    super().__init__(config, weight)
    self._teacher = build_encoder(config.model, config.objective.distill_size)

  def modules(self) -> dict[str, Learned]:
    width = get_architecture(self.config.model.size).embed_dim
    one = Learned(self._projection(), (jnp.zeros((1, width)),))
    return {_CLS: one, _PATCHES: one}

  def init_statistics(self, params: dict) -> dict:
    """Drawn: the weights themselves come when a run starts."""
    side = pixels_per_token(self._teacher.architecture)
    image = jnp.zeros((1, side, side, 3))
    return {_TEACHER: self._teacher.init(jax.random.key(0), image)["params"]}

  def project(
    self, teacher: base.TeacherOutputs, statistics: dict, step: Array
  ):
    ids = teacher.views.visible_ids[..., None]
    cls, patches = teacher.encode(statistics[_TEACHER], self._teacher)
    return cls, jnp.take_along_axis(patches, ids, axis=2)

  def targets(self, projected: tuple, statistics: dict, step: Array):
    return projected, (), {}

  def loss(self, student: base.StudentOutputs, targets: tuple):
    cls, patches = targets
    found = {
      _CLS: (student.cls[:, : cls.shape[1]], cls),
      _PATCHES: (student.patches, patches),
    }
    with jax.named_scope("head"):
      parts = {
        name: cosine_distance(
          self._projection().apply({"params": student.params[name]}, x), y
        )
        for name, (x, y) in found.items()
      }
    return sum(parts.values()), parts

  def update_statistics(self, statistics: dict, found: tuple, teacher: dict):
    return {_TEACHER: statistics[_TEACHER]}

  def flops(self, sizes: Sizes) -> tuple[int, int]:
    student = get_architecture(self.config.model.size)
    teacher = self._teacher.architecture
    tokens = sizes.patches + teacher.num_prefix_tokens
    widths = student.embed_dim * teacher.embed_dim
    return (
      sizes.num_global * 2 * widths * (1 + sizes.visible),
      sizes.num_global * flops.encoder_flops(teacher, sizes.patches, tokens),
    )

  def notes(self) -> dict[str, Note]:
    text = "1 - cosine to the frozen teacher's"
    return {
      "loss": Note("the sum of the two distances to the frozen teacher."),
      _CLS: Note(f"{text} [cls]; at 0 they agree, 1 is what chance gives."),
      _PATCHES: Note(f"{text} patches, the mean over the visible ones."),
    }

  def _projection(self) -> nn.Module:
    """From the student's width to the teacher's."""
    return dense(
      self._teacher.architecture.embed_dim,
      ("mlp", "embed"),
      dtype=compute_dtype(self.config.model),
    )
