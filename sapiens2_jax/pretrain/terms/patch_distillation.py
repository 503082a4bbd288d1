"""L_iBOT: self-distillation of single patches over prototypes.

The student never sees mask tokens. `objective.ibot_tokens` says where it
answers: at "visible" patches, whose features must agree with those that the
teacher has of the whole image (an anchor of local features); or at "masked"
ones, where the decoder must foretell what the teacher makes of what the student
does not see (as in iBOT, in feature space instead of pixels).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.models.from_config import compute_dtype
from sapiens2_jax.models.layers import dense
from sapiens2_jax.pretrain import modules as modules_lib
from sapiens2_jax.pretrain.terms import base
from sapiens2_jax.pretrain.terms.distillation import PrototypeTerm, Rows

TOKENS = dict.fromkeys(("visible", "masked"))  # by `objective.ibot_tokens`
# By `objective.ibot_head`: the head of [cls], or another one.
HEADS = {"shared": "head", "own": "patch_head"}
_PROJECTION = "patch_projection"


def patch_distillation_loss(
  logits: Rows, targets: Rows, temperature: float
) -> Float[Array, ""]:
  """Mean cross-entropy in nats of each patch with its own target.

  Args:
    logits: of the student, not yet divided by its temperature.
    targets: probabilities of the teacher for the same patches.

  Source: iBOT (arXiv 2111.07832), DINOv3 (arXiv 2508.10104).
  """
  scores = logits.astype(jnp.float32) / temperature
  targets = lax.stop_gradient(targets)
  agreement = jnp.sum(targets * scores, axis=-1)
  return jnp.mean(jax.nn.logsumexp(scores, axis=-1) - agreement)


def choose_patches(
  ids: Int[Array, "b g n"], count: int
) -> tuple[np.ndarray, Int[Array, "b g k"]]:
  """Evenly spaced places in `ids`, and the ids there; all where count is 0.

  Which patches those are is random, as `ids` are.
  """
  total = ids.shape[-1]
  count = min(count or total, total)
  places = np.arange(count) * total // count
  return places, ids[..., places]


class PatchDistillation(PrototypeTerm):
  """Patches predict the teacher's prototypes of the same patches."""

  reads_teacher_patches = True
  center, entropy = "patch_center", "patch_entropy"

  def __init__(self, config: ConfigDict, weight: float):
    super().__init__(config, weight)
    head = config.objective.ibot_head
    self.head = errors.lookup(HEADS, head, "objective.ibot_head")
    self._is_masked = config.objective.ibot_tokens == "masked"
    self.teacher_modules = (self.head,)

  def modules(self) -> dict[str, modules_lib.Learned]:
    found = super().modules()
    if self._is_masked:
      features = jnp.zeros((1, 1, self.config.model.decoder_dim))
      found["decoder"] = modules_lib.build_decoder(self.config)
      found[_PROJECTION] = modules_lib.Learned(self._projection(), (features,))
    return found

  def project(self, teacher: base.TeacherOutputs, *_) -> Array:
    views = teacher.views
    ids = views.masked_ids if self._is_masked else views.visible_ids
    _, ids = choose_patches(ids, self.config.objective.ibot_num_patches)
    features = jnp.take_along_axis(teacher.patches, ids[..., None], axis=2)
    return self.logits_of_views(teacher.params, features)

  def loss(
    self, student: base.StudentOutputs, targets: Float[Array, "b g n k"]
  ):
    with jax.named_scope("patch_head"):
      features, ids = student.patches, student.views.visible_ids
      if self._is_masked:
        ids = student.views.masked_ids
        features = self._projection().apply(
          {"params": student.params[_PROJECTION]}, student.decoded.features
        )
      places, _ = choose_patches(ids, targets.shape[2])
      logits = self.logits_of_views(student.params, features[:, :, places])
      temperature = self.config.objective.student_temp
      return patch_distillation_loss(logits, targets, temperature), {}

  def flops(self, sizes: modules_lib.Sizes) -> tuple[int, int]:
    total = sizes.masked if self._is_masked else sizes.visible
    count = min(self.config.objective.ibot_num_patches or total, total)
    heads = sizes.num_global * count * modules_lib.head_flops(self.config)
    learned = heads
    if self._is_masked:
      width = self.config.model.decoder_dim
      embed_dim = get_architecture(self.config.model.size).embed_dim
      learned += sizes.num_global * 2 * sizes.masked * width * embed_dim
    if self._is_masked and not self.config.objective.w_mae:
      learned += sizes.num_global * modules_lib.decoder_flops(
        self.config, sizes
      )
    return learned, heads

  def _projection(self) -> nn.Module:
    """From the decoder's features to those that a head takes."""
    return dense(
      get_architecture(self.config.model.size).embed_dim,
      ("mlp", "embed"),
      dtype=compute_dtype(self.config.model),
    )
