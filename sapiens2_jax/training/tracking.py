"""A run in Weights & Biases, for those who ask for it (the extra wandb)."""

from __future__ import annotations

import os
import secrets
import tempfile
import types
from collections.abc import Callable

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from data_pipelines.common import errors, files, packages, storage
from sapiens2_jax.runtime import exits

FILE = "wandb.json"  # In the workdir: which run there this one is.
_FINISH_SECONDS = 60.0  # For what is not sent yet; it stays on the disk.


def open_tracker(config: ConfigDict, workdir: str) -> Tracker | None:
  """The tracker of `logging.wandb_project`; None if that is empty.

  Raises:
    ValueError: wandb is not installed, knows no user or refuses the project.
  """
  project = config.logging.wandb_project
  return Tracker(project, config, workdir) if project else None


def find_package(project: str) -> types.ModuleType:
  """The package wandb.

  Raises:
    ValueError: it is not installed, but `logging.wandb_project` is set.
  """
  try:
    return packages.require("wandb", "wandb")
  except packages.MissingExtra as error:
    raise ValueError(f"logging.wandb_project={project}: {error}") from error


class Tracker:
  """Sends rows and pictures to one run, over all restarts of ours.

  What environment variables and files say to wandb holds, WANDB_MODE=offline
  for one. Training goes on without it if its servers are not there, or if it
  breaks; all rows are in the workdir, too.
  """

  def __init__(self, project: str, config: ConfigDict, workdir: str):
    self._wandb = find_package(project)
    self._run = None
    kinds = self._wandb.errors
    mistakes = kinds.UsageError, kinds.AuthenticationError
    is_remote = storage.is_remote(workdir)
    try:
      self._run = self._wandb.init(
        project=project,
        id=_run_id(workdir),
        name=os.path.basename(os.path.abspath(workdir)),
        resume="allow",
        dir=tempfile.mkdtemp(prefix="wandb-") if is_remote else workdir,
        config=config.to_dict(),
        settings=self._wandb.Settings(
          console="off",  # Other lines than ours would be sent, too.
          disable_git=True,
          save_code=False,
          silent=True,
          finish_timeout=_FINISH_SECONDS,
        ),
      )
      # A restart does steps again; wandb's own count of them only goes up.
      self._run.define_metric("*", step_metric="step")
      exits.before_leaving(lambda: self.close(errors.FAILURE))
    except mistakes as error:
      raise ValueError(f"logging.wandb_project={project}: {error}") from None
    except Exception as error:  # Of its service, of none of these classes.
      reason = " ".join(f"{str(error) or type(error).__name__}".split())
      logging.warning("not in Weights & Biases: %s", reason)
      self._run = None

  def write(self, group: str, step: int, row: dict[str, float | None]) -> None:
    """Sends one row; unknown values are left out."""
    known = {f"{group}/{k}": x for k, x in row.items() if x is not None}
    self._log(lambda: {"step": step, **known})

  def write_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Sends (h, w, 3) uint8."""
    self._log(lambda: {"step": step, name: self._wandb.Image(picture)})

  def close(self, exit_code: int = 0) -> None:
    """Waits until all is sent, for a minute at most."""
    run, self._run = self._run, None
    if run is not None:
      self._try(lambda: run.finish(exit_code))

  def _log(self, make: Callable[[], dict]) -> None:
    run = self._run
    if run is not None and not self._try(lambda: run.log(make())):
      self._run = None

  def _try(self, act: Callable[[], object]) -> bool:
    """Whether it did not fail: it may raise anything, of a socket say."""
    try:
      act()
    except Exception as error:
      logging.warning("no longer in Weights & Biases: %s", error)
      return False
    return True


def _run_id(workdir: str) -> str:
  """The name that the first start gave the run, in its workdir."""
  path = storage.join(workdir, FILE)
  try:
    return files.read_json(path)["id"]
  except FileNotFoundError:
    pass
  except (ValueError, KeyError, TypeError) as error:
    files.set_aside(path, repr(error))
  run_id = secrets.token_hex(6)
  files.write_json(path, {"id": run_id})
  return run_id
