"""The joint pretraining objective, assembled.

    L = w_mae * L_MAE + w_cl * L_CL + w_koleo * L_KoLeo

The student sees masked global views and whole local ones in one encoder call;
the teacher, an EMA of encoder and projection head, sees whole global views.

Source: arXiv 2604.21681 section 3. Layouts are batch-major, (b, v, ...), so
that joining and splitting views never moves data between devices.
"""

import dataclasses
import functools

import einops
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.models import patches as patch_lib
from sapiens2_jax.models.decoder import Decoder
from sapiens2_jax.models.encoder import Encoder
from sapiens2_jax.models.from_config import block_settings, build_encoder
from sapiens2_jax.models.projection_head import ProjectionHead
from sapiens2_jax.models.rope import Rope
from sapiens2_jax.pretrain import (
  distillation,
  keys,
  masks,
  reconstruction,
  views,
)
from sapiens2_jax.pretrain.koleo import koleo_loss
from sapiens2_jax.pretrain.views import Batch

RANK_SAMPLES = 256  # images that RankMe is measured on


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainObjective:
  """See `training.objective.Objective`.

  Attributes:
    config: the resolved experiment (see experiments/pretrain.py).
    encoder, decoder, head: the modules that `params` belong to.
  """

  config: ConfigDict
  encoder: Encoder
  decoder: Decoder
  head: ProjectionHead

  @functools.cached_property
  def grid(self) -> tuple[int, int]:
    """(rows, cols) of patches in a global view."""
    size = self.encoder.architecture.patch_size
    return patch_lib.grid_size(tuple(self.config.data.image_size), size)

  def init(self, rng: PRNGKeyArray) -> dict:
    """Draws the learned parameters of encoder, decoder and head.

    Leaves are boxed with their logical axes (`flax.linen.unbox` opens them).
    """
    arch = self.encoder.architecture
    rngs = jax.random.split(rng, 3)
    image = jnp.zeros((1, arch.patch_size, arch.patch_size, 3))
    features = jnp.zeros((1, 1, arch.embed_dim))
    ids = jnp.zeros((1, 1), jnp.int32)
    return {
      "encoder": self.encoder.init(rngs[0], image)["params"],
      "decoder": self.decoder.init(rngs[1], features, ids, ids, (1, 1))[
        "params"
      ],
      "head": self.head.init(rngs[2], features)["params"],
    }

  def init_teacher_state(self, params: dict) -> dict:
    """The EMA teacher and the center, which are not learned."""
    center = jnp.zeros((self.head.num_prototypes,))
    teacher = {name: params[name] for name in ("encoder", "head")}
    return {"teacher": jax.tree.map(jnp.copy, teacher), "center": center}

  def global_patches(self, batch: Batch, rng: PRNGKeyArray) -> Array:
    """Flipped, normalised pixels of the global views, (b, v, n, p)."""
    return self._patchify(views.global_views(batch, rng))

  def local_patches(self, batch: Batch, rng: PRNGKeyArray) -> Array:
    """Flipped, augmented, normalised local views, (b, v, n, p)."""
    settings = self.config.augment.to_dict()
    return self._patchify(views.local_views(batch, rng, settings))

  def draw_masks(self, batch: Batch, rng: PRNGKeyArray) -> tuple[Array, Array]:
    """Visible and masked patches of each global view, (b, v, n | m)."""
    count = batch["global_crops"].shape[1]
    draw = functools.partial(
      masks.draw_mask, grid=self.grid, **self.config.masking.to_dict()
    )
    mask_keys = keys.example_keys(
      rng, keys.MASK, batch["index"], batch["epoch"], count
    )
    return jax.vmap(jax.vmap(draw))(mask_keys)

  def compute_targets(
    self, teacher_state: dict, batches: Batch, step: Array, rng: PRNGKeyArray
  ) -> tuple[Array, Array, dict]:
    """Runs the teacher over the whole global batch.

    Args:
      teacher_state: teacher and center.
      batches: all microbatches, leaves (a, b, ...).
      step: of training.
      rng: the run's key.

    Returns:
      Targets (a, b, g, k), the batch mean of the teacher's logits, metrics.
    """
    with jax.named_scope("teacher"):
      logits = map_microbatches(
        lambda batch: self._teacher_logits(
          teacher_state["teacher"], batch, rng
        ),
        batches,
      )
    temperature = self._teacher_temperature(step)
    objective = self.config.objective
    targets = errors.lookup(TARGETS, objective.target, "objective.target")(
      logits, teacher_state["center"], temperature
    )
    metrics = {
      "teacher_entropy": distillation.entropy(targets),
      "teacher_temp": temperature,
    }
    return targets, jnp.mean(logits, axis=(0, 1, 2)), metrics

  def loss(
    self,
    params: dict,
    batch: Batch,
    targets: Float[Array, "b g k"],
    rng: PRNGKeyArray,
    measure: Array,
  ) -> tuple[Array, dict]:
    """The student's loss on one microbatch.

    Args:
      params: of encoder, decoder and head.
      batch: leaves (b, ...).
      targets: the teacher's, for the same images.
      rng: the run's key.
      measure: scalar bool; whether the costly metrics are wanted.

    Returns:
      Scalar float32 and metrics, each a mean over the microbatch.
    """
    config = self.config.objective
    with jax.named_scope("augment"):
      patches = self.global_patches(batch, rng)
      visible_ids, masked_ids = self.draw_masks(batch, rng)
    dense, cls = self.encode_student(params, batch, patches, visible_ids, rng)

    with jax.named_scope("decoder"):
      predictions = self.reconstruct(params, dense, visible_ids, masked_ids)
      hidden = jnp.take_along_axis(patches, masked_ids[..., None], axis=2)
      loss_mae = jnp.mean(reconstruction.patch_errors(predictions, hidden))

    with jax.named_scope("head"):
      logits = self.head.apply({"params": params["head"]}, cls)
      loss_cl = distillation.distillation_loss(
        logits, targets, config.student_temp
      )

    num_global = patches.shape[1]
    koleo = [
      koleo_loss(cls[:, view], group_size=config.koleo_group_size)
      for view in range(num_global)
    ]
    loss_koleo = sum(koleo) / num_global

    loss = (
      config.w_mae * loss_mae
      + config.w_cl * loss_cl
      + config.w_koleo * loss_koleo
    )
    features = lax.stop_gradient(cls[:, 0])
    metrics = {
      "loss": loss,
      "loss_mae": loss_mae,
      "loss_cl": loss_cl,
      "loss_koleo": loss_koleo,
      "feature_std": distillation.feature_std(features),
      "rank_me": lax.cond(
        measure,
        distillation.rank_me,
        lambda _: jnp.float32(jnp.nan),
        features[:RANK_SAMPLES],
      ),
    }
    return loss, metrics

  def update_teacher_state(
    self, teacher_state: dict, params: dict, batch_mean: Array
  ) -> dict:
    """EMA of teacher and center after the student's update."""
    config = self.config.objective
    momentum = config.teacher_momentum

    def average(old: Array, new: Array) -> Array:
      return old * momentum + new * (1 - momentum)

    student = {name: params[name] for name in teacher_state["teacher"]}
    center = distillation.update_center(
      teacher_state["center"], batch_mean, config.center_momentum
    )
    teacher = jax.tree.map(average, teacher_state["teacher"], student)
    return {"teacher": teacher, "center": center}

  def encode_student(
    self,
    params: dict,
    batch: Batch,
    patches: Array,
    visible_ids: Array,
    rng: PRNGKeyArray,
  ) -> tuple[Array, Array]:
    """All views through the encoder, in one call.

    Returns:
      Visible patch features of the global views (b, g, n, d), and [cls] of
      all views (b, v, d).
    """
    variables = {"params": params["encoder"]}
    tokenize = functools.partial(
      self.encoder.apply, variables, method="tokenize"
    )
    x, rope = tokenize(patches, self.grid, visible_ids)
    with jax.named_scope("augment"):
      local = self.local_patches(batch, rng)
    size = self.encoder.architecture.patch_size
    local_grid = patch_lib.grid_size(tuple(self.config.data.local_size), size)
    local_x, local_rope = tokenize(local, local_grid)
    shape = (*local_x.shape[:-1], rope.cos.shape[-1])
    rope = Rope(
      *(
        jnp.concatenate([a, jnp.broadcast_to(b, shape)], axis=1)
        for a, b in zip((rope.cos, rope.sin), (local_rope.cos, local_rope.sin))
      )
    )
    x = jnp.concatenate([x, local_x], axis=1)
    with jax.named_scope("student"):
      tokens, cls = self.encoder.apply(
        variables, x, rope, patches.shape[1], method="encode_views"
      )
    prefix = self.encoder.architecture.num_prefix_tokens
    return tokens[:, :, prefix:], cls

  def reconstruct(
    self, params: dict, features: Array, visible_ids: Array, masked_ids: Array
  ) -> Float[Array, "b v m p"]:
    """Predicted normalised pixels of the masked patches."""
    flat = [
      einops.rearrange(a, "b v ... -> (b v) ...")
      for a in (features, visible_ids, masked_ids)
    ]
    out = self.decoder.apply({"params": params["decoder"]}, *flat, self.grid)
    return out.reshape(*masked_ids.shape, -1)

  def _teacher_logits(
    self, teacher: dict, batch: Batch, rng: PRNGKeyArray
  ) -> Float[Array, "b g k"]:
    patches = self.global_patches(batch, rng)
    b, g = patches.shape[:2]
    variables = {"params": teacher["encoder"]}
    x, rope = self.encoder.apply(
      variables,
      patches.reshape(b * g, *patches.shape[2:]),
      self.grid,
      method="tokenize",
    )
    cls = self.encoder.apply(variables, x, rope, method="encode_cls")
    logits = self.head.apply({"params": teacher["head"]}, cls)
    return logits.reshape(b, g, -1)

  def _teacher_temperature(self, step: Array) -> Array:
    config = self.config.objective
    progress = jnp.clip(step / max(1, config.teacher_temp_steps), 0.0, 1.0)
    change = config.teacher_temp - config.teacher_temp_start
    return config.teacher_temp_start + change * progress

  def _patchify(self, seen: views.Views) -> Array:
    return patch_lib.patchify(seen.images, self.encoder.architecture.patch_size)


def _sinkhorn(logits: Array, center: Array, temperature: Array) -> Array:
  del center
  return distillation.sinkhorn_targets(logits, temperature)


TARGETS = {"center": distillation.center_targets, "sinkhorn": _sinkhorn}


def map_microbatches(function, batches: dict):
  """Applies `function` to each microbatch; leaves (a, b, ...)."""
  if jax.tree.leaves(batches)[0].shape[0] == 1:
    out = function(jax.tree.map(lambda x: x[0], batches))
    return jax.tree.map(lambda x: x[None], out)
  return lax.map(function, batches)


def build_pretrain(config: ConfigDict) -> PretrainObjective:
  """Makes the modules that `config.model` and `config.objective` describe.

  Raises:
    ValueError: if a named choice is unknown, or the config is of a task.
  """
  if "task" in config:
    raise ValueError(
      f"task.name={config.task.name}: expected a config of pretraining."
    )
  model = config.model
  shared = block_settings(model)
  encoder = build_encoder(model)
  decoder = Decoder(
    patch_dim=encoder.architecture.patch_size**2 * 3,
    embed_dim=model.decoder_dim,
    num_layers=model.decoder_layers,
    num_heads=model.decoder_heads,
    **shared,
  )
  head = ProjectionHead(
    num_prototypes=model.prototypes,
    hidden_dim=model.head_hidden_dim,
    bottleneck_dim=model.bottleneck_dim,
    dtype=shared["dtype"],
  )
  return PretrainObjective(config, encoder, decoder, head)
