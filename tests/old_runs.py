"""Runs and corpora that the first version of this code wrote."""

import dataclasses
import pathlib
import tarfile

from sapiens2_jax.architectures import ARCHITECTURES, Architecture

_FOLDER = pathlib.Path(__file__).with_name("data") / "old_runs"

# Of both runs; as in tests/data/make_old_runs.py.
ARCHITECTURES["smallest"] = Architecture(
  "smallest", 8, 2, 2, num_full_first=1, num_full_last=0
)
ARCHITECTURES["smallest_4k"] = dataclasses.replace(
  ARCHITECTURES["smallest"],
  name="smallest_4k",
  window_size=4,
  num_window_layers=1,
)


def unpack(name: str, directory: pathlib.Path) -> None:
  """Unpacks an archive of tests/data/old_runs.

  Paths within the runs are relative to the directory: a test that reads their
  data unpacks "corpora" there too and works in it.

  Args:
    name: "corpora" (`photographs`, `labelled`), "pretrain" or "normal" (a
      workdir of this name), or "written" (`transformers` and `reference`,
      exports of pretrain, and `evaluated`, the metric of normal).
    directory: where to.
  """
  with tarfile.open(_FOLDER / f"{name}.tar.xz") as archive:
    archive.extractall(directory, filter="data")
