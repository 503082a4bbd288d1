"""What would end a run at its start, found before any machine is rented."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator

import jax
from ml_collections import ConfigDict

from data_pipelines.common import errors, files, storage
from data_pipelines.sources.base import ShardReadError
from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.interop.weights import find_weights
from sapiens2_jax.objectives import build_objective, stages_of
from sapiens2_jax.parallel import mesh as mesh_lib
from sapiens2_jax.planning import compiling
from sapiens2_jax.runtime import distributed
from sapiens2_jax.training import (
  checkpoints,
  data,
  matching,
  optimizer,
  stages,
  starting,
  tracking,
)
from sapiens2_jax.training import state as state_lib

_FORMAT = re.compile(r"^\w+:(?!//)")  # Of labelled images, before their path.


class _Findings:
  """All that is wrong, and all that cannot be seen from this machine."""

  def __init__(self, is_elsewhere: bool, say: Callable[[str], None]):
    self.is_elsewhere, self._say = is_elsewhere, say
    self._problems, self._codes = [], set()

  def fact(self, name: str, text: str) -> None:
    self._say(f"{name:<10} {text}")

  def is_unseen(self, field: str, specs: str) -> bool:
    """Whether paths are those of other machines; says so."""
    if not self.is_elsewhere or not (missing := _find_missing(specs)):
      return False
    self.fact("not seen", f"{field}: {', '.join(missing)} not here")
    return True

  @contextlib.contextmanager
  def looking(self, field: str) -> Iterator[None]:
    """Takes in the error of the block; some of it is of this machine alone."""
    try:
      yield
    except (ValueError, OSError, ShardReadError) as error:
      code, text = errors.exit_code(error), str(error)
      # Here the package of a bucket may lack, or the right to read it.
      is_ours = any(
        isinstance(one, (ImportError, PermissionError))
        for one in (error, error.__cause__)
      )
      if self.is_elsewhere and (is_ours or code != errors.MISTAKE):
        self.fact("not seen", f"{field}: {text}")
        return
      named = text if text.startswith(field) else f"{field}: {text}"
      self._problems.append(f"  {named}")
      self._codes.add(code)

  def close(self) -> None:
    """Tells all problems at once.

    Raises:
      ValueError, OSError: there are some; the second if all are of disks or
        networks.
    """
    if not self._problems:
      return
    count = len(self._problems)
    kind = ValueError if errors.MISTAKE in self._codes else OSError
    head = f"check: {count} problem{'s' * (count > 1)}"
    raise kind("\n".join([head, *self._problems]))


def load_config(spec: str, overrides: list[str]) -> ConfigDict:
  """The experiment with its overrides, checked; joins the other processes.

  Raises:
    ConfigError: with all mistakes.
  """

  def check(config: ConfigDict) -> validation.Problems:
    problems = validation.check_fields(config)
    if any(given.startswith("distributed") for given, _ in problems):
      return problems
    distributed.start(config.distributed)  # Before devices are counted.
    return validation.validate(config, jax.device_count())

  return config_lib.load_config(spec, overrides, check)


def refuse_scheme(workdir: str) -> None:
  """Refuses URLs of places where checkpoints cannot be kept.

  Raises:
    ValueError: it is one.
  """
  if not checkpoints.can_be_in(workdir):
    raise ValueError(
      f"workdir={workdir}: expected gs://BUCKET/NAME, or a directory on a disk "
      "that all processes share."
    )


def check_run(
  spec: str,
  overrides: list[str],
  workdir: str,
  num_devices: int,
  *,
  is_elsewhere: bool,
  say: Callable[[str], None] = print,
) -> None:
  """As `check`, of an experiment and its overrides.

  Raises:
    ConfigError: with all mistakes in them.
  """
  config = config_lib.load_config(
    spec, overrides, lambda config: validation.validate(config, num_devices)
  )
  check(config, workdir, num_devices, is_elsewhere=is_elsewhere, say=say)


def check(
  config: ConfigDict,
  workdir: str,
  num_devices: int,
  *,
  is_elsewhere: bool,
  say: Callable[[str], None] = print,
) -> None:
  """Looks at all that a run would open; computes and leaves nothing.

  Args:
    config: validated.
    workdir: path or URL.
    num_devices: of the run; none of them is needed.
    is_elsewhere: other machines run it: paths that are not here, and buckets
      that do not let this machine in, are told and no mistake.
    say: takes each line of what was found.

  Raises:
    ValueError, OSError: lists what was found that would end the run.
  """
  jax.config.update("jax_platforms", "cpu")  # Devices here are not to be used.
  found = _Findings(is_elsewhere, say)
  objective = abstract = None
  with found.looking("mesh"):
    objective = build_objective(config)
    mesh = mesh_lib.abstract_mesh(config.mesh, num_devices)
    tx = optimizer.make_optimizer(config.optim)
    abstract = state_lib.abstract_state(config, objective, tx, mesh)
    _tell_sizes(found, objective, mesh, abstract)
  if objective is not None:
    _check_data(found, objective, abstract)
  if project := config.logging.wandb_project:
    with found.looking("logging.wandb_project"):
      tracking.find_package(project)
  is_fresh = _check_workdir(found, config, workdir, abstract)
  if abstract is not None and is_fresh:
    _check_weights(found, objective, abstract)
  found.close()


def _tell_sizes(found: _Findings, objective, mesh, abstract) -> None:
  share = compiling.device_bytes(abstract)
  axes = " x ".join(f"{axis}={n}" for axis, n in mesh.shape.items())
  size = objective.encoder.architecture.name
  found.fact("config", f"{size} on {mesh.size} device(s), {axes}")
  found.fact(
    "memory",
    f"{share / 1e9:.3g} GB a device of parameters, moments and teacher; the "
    "rest tells sapiens2 plan",
  )
  for line in stages.describe_costs(objective.stages()):
    found.fact("compute", line)


def _check_data(found: _Findings, objective, abstract) -> None:
  config = objective.config
  # What measures is made for some mesh, and not run.
  ones = ConfigDict(dict.fromkeys(mesh_lib.AXES, 1))
  mesh = mesh_lib.make_mesh(ones, jax.devices()[:1])
  path = config.data.path
  if not found.is_unseen("data.path", path):
    with found.looking("data.path"):
      source = data.open_source(objective)
      found.fact("data", f"{path}: {len(source):,} images")
  for group in ("probes", "evaluation"):
    if abstract is None or not config.get(group, {}).get("every", 0):
      continue
    field, path = f"{group}.path", config[group].path
    if not found.is_unseen(field, path):
      with found.looking(field):
        objective.measurement(mesh, abstract)
        found.fact(group, f"{path}: can be measured")


def _check_workdir(
  found: _Findings, config: ConfigDict, workdir: str, abstract
) -> bool:
  """Whether the run would start anew."""
  if found.is_unseen("workdir", workdir):
    return True
  step = None
  with found.looking("workdir"):
    refuse_scheme(workdir)
    if not (storage.is_remote(workdir) and found.is_elsewhere):
      _try_to_write(workdir)
    distributed.refuse_used(workdir)
    # Not what is in its files: a run looks at that.
    newest = checkpoints.find(workdir, verify=False)
    step = newest and newest.step
    if abstract is not None:
      starting.check_fits(
        *(config, workdir, newest, abstract),
        *(validation.read_config, stages_of),
      )
    text = "starts fresh" if step is None else f"continues at step {step}"
    found.fact("workdir", f"{workdir}: {text}")
  return step is None


def _check_weights(found: _Findings, objective, abstract) -> None:
  config = objective.config
  place = config.model.init_from
  if place and not found.is_unseen("model.init_from", place):
    with found.looking("model.init_from"):
      parts = open_parts(config)
      matching.match(parts, abstract, config.model.size)
      found.fact("weights", f"from {parts.origin}")
  for name, (source, _) in objective.frozen_encoders.items():
    place = config
    for part in source.split("."):
      place = place[part]
    if not found.is_unseen(source, place):
      with found.looking(source):
        find_weights(place)
        found.fact("weights", f"{name} from {place}")


def _try_to_write(workdir: str) -> None:
  """Writes a file where the workdir is or is going to be, and removes it.

  Raises:
    OSError: nothing can be written there.
  """
  if storage.is_remote(workdir):
    path = storage.join(workdir, f".check-{secrets.token_hex(8)}")
    files.write_file(path, b"")
    storage.remove(path)
    return
  place = os.path.abspath(workdir)
  while not os.path.lexists(place):
    place = os.path.dirname(place)
  try:
    with tempfile.TemporaryFile(dir=place):
      pass
  except OSError as error:  # It names a file of a made-up name.
    raise OSError(error.errno, error.strerror, place) from error


def _find_missing(specs: str) -> list[str]:
  """Paths of a dataset spec, or of a place, that are not on this machine."""
  missing = []
  for spec in [] if os.path.exists(specs) else specs.split(";"):
    head, *options = re.split("[,=]", _FORMAT.sub("", spec.strip()))
    for path in (head, *(word for word in options if "/" in word)):
      if path and not storage.is_remote(path) and not storage.expand(path):
        missing.append(path)
  return missing
