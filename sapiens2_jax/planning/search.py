"""Tries meshes, microbatches and rematerialisation; ranks what fits."""

import itertools
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

from sapiens2_jax.architectures import get_architecture
from sapiens2_jax.planning.plan import Plan

_MESH = ("mesh.data", "mesh.fsdp", "mesh.sequence", "mesh.tensor")
_MICROBATCHES = (8, 4, 2, 1)  # images a chip
_REMAT = ("block", "full")
_COPIES = (16, 4, 1)  # chips that hold the parameters once
_STATE_BYTES = 20  # a parameter: itself, gradient, two moments, EMA


def meshes(num_devices: int, num_slices: int) -> Iterator[dict[str, int]]:
  """Meshes to try: all chips of a slice in `fsdp`; copies of fewer chips, whose
  collectives are short; pairs in `tensor`. `data` joins slices and copies.
  """
  per_slice = num_devices // num_slices
  shapes = [(1, per_slice, 1)]
  for chips in _COPIES:
    if per_slice > chips and per_slice % chips == 0:
      shapes.append((per_slice // chips, chips, 1))
  if per_slice % 2 == 0:
    shapes.append((1, per_slice // 2, 2))
  for copies, fsdp, tensor in shapes:
    sizes = (num_slices * copies, fsdp, 1, tensor)
    yield dict(zip(_MESH, sizes))


def candidates(
  config: ConfigDict, mesh: dict[str, int]
) -> Iterator[dict[str, object]]:
  """Overrides to try on one mesh, the most promising first.

  Keeping more saves computing it again; in larger microbatches more images pay
  for gathering parameters. So the first that fits is the best of its mesh.
  """
  batch = config.data.global_batch_size
  shards = mesh["mesh.data"] * mesh["mesh.fsdp"]
  for remat in _REMAT:
    for images in _MICROBATCHES:
      steps, rest = divmod(batch, shards * images)
      if not rest:
        microbatches = {"data.accumulation_steps": steps, "model.remat": remat}
        yield mesh | microbatches


def search(
  config: ConfigDict,
  num_devices: int,
  num_slices: int,
  hbm_bytes: float,
  make_plan: Callable[[dict[str, object]], Plan | None],
) -> list[Plan]:
  """The best plan of each mesh that has one, the fastest first.

  Args:
    config: what the overrides are applied to.
    num_devices: of all slices together.
    num_slices: joined by the data-centre network.
    hbm_bytes: of a chip; a mesh whose state fills half of it is not tried.
    make_plan: overrides -> plan, None if they cannot be used.
  """
  found = []
  state = _STATE_BYTES * get_architecture(config.model.size).num_params
  for mesh in meshes(num_devices, num_slices):
    if state / (mesh["mesh.fsdp"] * mesh["mesh.tensor"]) > hbm_bytes / 2:
      continue
    plans = map(make_plan, candidates(config, mesh))
    found += itertools.islice((p for p in plans if p and p.fits), 1)
  return sorted(found, key=lambda plan: plan.step_seconds.median)


def with_overrides(config: ConfigDict, overrides: dict) -> ConfigDict:
  """A copy of the config with some fields set."""
  copy = ConfigDict(config.to_dict())
  for name, value in overrides.items():
    group, leaf = name.split(".")
    copy[group][leaf] = value
  return copy


def format_table(plans: list[Plan]) -> str:
  """One line a plan."""
  lines = [
    f"{'mesh':<28}{'microbatches':>13}{'remat':>8}{'HBM':>8}{'step s':>9}"
    f"{'MFU':>8}"
  ]
  for plan in plans:
    config = plan.config
    mesh = " ".join(
      f"{axis}={size}" for axis, size in config.mesh.items() if size != 1
    )
    speed = ("-", "-")
    if plan.cost is not None:
      speed = (f"{plan.step_seconds.median:.3f}", f"{plan.mfu:.1%}")
    lines.append(
      f"{mesh:<28}{config.data.accumulation_steps:>13}"
      f"{config.model.remat:>8}{plan.hbm_fraction:>8.0%}{speed[0]:>9}{speed[1]:>8}"
    )
  return "\n".join(lines)
