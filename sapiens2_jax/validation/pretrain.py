"""Checks of what only pretraining has: views, masks, decoder, losses."""

from ml_collections import ConfigDict

from sapiens2_jax import errors
from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.evaluation import online
from sapiens2_jax.models.grid import token_grid
from sapiens2_jax.pretrain import masks
from sapiens2_jax.pretrain.terms.distillation import TARGETS
from sapiens2_jax.validation.bounds import Bounds, Problems, check_image_size
from sapiens2_jax.validation.common import check_tensor_axis

_BOUNDS = Bounds(
  minimum={
    "model.decoder_layers": 1,
    "model.prototypes": 2,
    "model.head_hidden_dim": 1,
    "model.bottleneck_dim": 1,
    "data.num_global": 2,
    "data.num_local": 1,
    "objective.w_mae": 0,
    "objective.w_cl": 0,
    "objective.w_koleo": 0,
    "objective.koleo_group_size": 2,
    "probes.every": 0,
    "probes.num_images": 2,
  },
  positive=(
    "objective.student_temp",
    "objective.teacher_temp_start",
    "objective.teacher_temp",
  ),
  shares=(
    "augment.jitter_probability",
    "augment.grayscale_probability",
    "augment.blur_probability",
    "augment.solarize_probability",
    "masking.block_probability",
    "objective.teacher_momentum",
    "objective.center_momentum",
  ),
  ranges=("augment.blur_sigma",),
  area_ranges=("data.global_area", "data.local_area"),
  names={"objective.target": TARGETS},
)


def _check_tokens(config: ConfigDict) -> Problems:
  """The six student sequences must have one length."""
  data, masking = config.data, config.masking
  arch = ARCHITECTURES.get(config.model.size)
  if arch is None:
    return []
  problems = [
    problem
    for name in ("image_size", "local_size")
    for problem in check_image_size(config, name, arch.patch_size)
  ]
  if problems:
    return problems
  counts = {}
  for name in ("image_size", "local_size"):
    counts[name] = token_grid(arch, tuple(data[name])).num_tokens
  try:
    hidden = masks.num_masked(counts["image_size"], masking.mask_ratio)
  except ValueError as error:
    return [(f"masking.mask_ratio={masking.mask_ratio}", str(error))]
  visible = counts["image_size"] - hidden
  if visible == counts["local_size"]:
    return []
  return [
    (
      f"data.local_size={tuple(data.local_size)}",
      f"gives {counts['local_size']} patches, but a masked global view has "
      f"{visible} visible ones; the student needs equal lengths",
    )
  ]


def _check_groups(config: ConfigDict) -> Problems:
  data, group = config.data, config.objective.koleo_group_size
  if min(data.global_batch_size, data.accumulation_steps) < 1:
    return []
  micro = data.global_batch_size // data.accumulation_steps
  if group < 2 or micro % group == 0:
    return []
  return [
    (
      f"objective.koleo_group_size={group}",
      f"does not divide a microbatch of {micro}",
    )
  ]


def _check_decoder(config: ConfigDict) -> Problems:
  model = config.model
  problems = []
  if model.decoder_heads < 1 or model.decoder_dim % (4 * model.decoder_heads):
    problems.append(
      (
        f"model.decoder_heads={model.decoder_heads}",
        f"decoder_dim={model.decoder_dim} must be a multiple of 4 a head",
      )
    )
  return problems + check_tensor_axis(config.mesh.tensor, {model.decoder_heads})


def _check_probes(config: ConfigDict) -> Problems:
  probes = config.probes
  problems = []
  if probes.every and not probes.path:
    problems.append((f"probes.every={probes.every}", "needs probes.path"))
  for name in probes.tasks:
    try:
      errors.lookup(online.TASKS, name, "task of probes")
    except ValueError as error:
      problems.append((f"probes.tasks={probes.tasks}", str(error)))
  return problems


def validate(config: ConfigDict) -> Problems:
  """Finds what is wrong with the fields that only pretraining has."""
  return (
    _BOUNDS.check(config)
    + _check_tokens(config)
    + _check_groups(config)
    + _check_decoder(config)
    + _check_probes(config)
  )
