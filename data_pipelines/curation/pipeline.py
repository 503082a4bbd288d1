"""All stages of a curation, from inputs to a corpus."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.building import workspace
from data_pipelines.common import directories, files, locks
from data_pipelines.curation import (
  deciding,
  deduplicating,
  nearness,
  ordering,
  packing,
  pool,
  running,
  sampling,
  units,
)
from data_pipelines.curation.engine import Engine
from data_pipelines.curation.rows import Rows
from data_pipelines.curation.scorers.base import Scorer

_FORMAT = {"format": "sapiens2_jax curation"}
_MARKER = "curation.json"


@dataclasses.dataclass(frozen=True)
class Settings:
  """What to keep; the corpus depends on this and on the pool, on no more.

  Attributes:
    passes: scorers of each decoding pass, the cheap ones first; a pass sees
      what the limits of those before have kept.
    limits: ranges of columns.
    near: which images count as one.
    best: columns by which the best of near-duplicates is found: the largest
      value of the first that differs, then the least content hash. Beside
      those of scorers: num_pixels, num_bytes.
    takedown: SHA-256 of images to remove, lower-case hex.
    takedown_near: remove the near-duplicates of these as well.
    embedding: column of vectors to balance by, "" for no balancing.
    sampling: how to balance.
    shard_size: records a shard of the corpus.
  """

  passes: tuple[tuple[Scorer, ...], ...]
  limits: tuple[deciding.Limit, ...] = ()
  near: nearness.Nearness = nearness.Nearness()
  best: tuple[str, ...] = (deduplicating.NUM_PIXELS, "num_bytes")
  takedown: frozenset[str] = frozenset()
  takedown_near: bool = True
  embedding: str = ""
  sampling: sampling.Sampling = sampling.Sampling()
  shard_size: int = 1000


@dataclasses.dataclass(frozen=True)
class Work:
  """How to do it; the corpus does not depend on this.

  Attributes:
    engine: where.
    files_per_shard: of folders, the unit of work.
    batch_size, seconds: see `units.ScoreShards`.
  """

  engine: Engine = Engine()
  files_per_shard: int = 1000
  batch_size: int = 16
  seconds: float = 120.0


def curate(
  inputs: Sequence[str | os.PathLike],
  output: str | os.PathLike,
  settings: Settings,
  work: Work,
) -> dict:
  """Curates a pool into `output`/corpus.

  Scores stay in `output`/scores: of a pool that grew only what is new is
  scored, and the corpus is that of a curation from scratch. After a kill the
  same call continues.

  Args:
    inputs: folders, tars, globs of tars, corpora; paths or URLs.
    output: directory on a disk that all workers see.
    settings: what to keep.
    work: how.

  Returns:
    The manifest of the corpus.

  Raises:
    ValueError: inputs without images, nothing that is kept, a column that no
      scorer makes, an output that holds something else or is in use.
    OSError: something cannot be read or written; what is done stays done.
  """
  workspace.check_local(output)
  output = pathlib.Path(os.path.abspath(output))
  _check_columns(settings)
  directories.check_output(output, _MARKER, **_FORMAT)
  output.mkdir(parents=True, exist_ok=True)
  with locks.held(output) as lock:
    files.write_json(output / _MARKER, _FORMAT)
    for name in ("lists", "scores", "tables"):
      (output / name).mkdir(exist_ok=True)
      files.remove_partial(output / name)
    found = pool.open_pool(inputs, output / "lists", work.files_per_shard)
    return _curate(found, output, settings, work, lock)


def _curate(
  found: pool.Pool,
  output: pathlib.Path,
  settings: Settings,
  work: Work,
  lock: locks.Lock,
) -> dict:
  rows = decisions = task = made = None
  for number, scorers in enumerate(settings.passes):
    if rows is None:
      made = [units.Unit(shard) for shard in found.shards]
    else:
      made = _survivors(rows, decisions, task, made)
    task = units.ScoreShards(
      scorers,
      output / "scores",
      output / "attempts",
      work.batch_size,
      work.seconds,
    )
    label = f"scoring {number + 1}"
    running.do_units(work.engine, task, made, task.path, label, task.attempts)
    if rows is None:
      rows = Rows(task, made, found.gone, output / "tables")
      decisions = deciding.Decisions(len(rows))
    elif made:
      rows.add(task, made)
    decisions.reject(
      "decode",
      [(make_mask(rows, some), kind) for kind, some in rows.problems.items()],
    )
    for scorer in scorers:
      _apply_limits(rows, decisions, settings.limits, scorer)
  tables = output / "tables"
  down = deduplicating.take_down(rows, decisions, settings.takedown)
  deduplicating.remove_exact(rows, decisions)
  if settings.near.compares_hashes or settings.near.compares_vectors:
    deduplicating.remove_near(
      rows,
      decisions,
      down if settings.takedown_near else down[:0],
      tables,
      work.engine,
      settings.near,
      settings.best,
    )
  _balance(rows, decisions, settings.embedding, settings.sampling, tables)
  lock.check()
  return _pack(rows, decisions, found, output, settings, work.engine)


def _survivors(
  rows: Rows,
  decisions: deciding.Decisions,
  task: units.ScoreShards,
  made: list[units.Unit],
) -> list[units.Unit]:
  """The units of the next pass: what is kept of each shard."""
  kept = rows.places(decisions.kept)
  return [
    units.Unit(
      unit.shard, tuple(kept[unit.shard.id].tolist()), str(task.path(unit))
    )
    for unit in made
    if unit.shard.id in kept
  ]


def _apply_limits(
  rows: Rows,
  decisions: deciding.Decisions,
  limits: Sequence[deciding.Limit],
  scorer: Scorer,
) -> None:
  prefix = f"{scorer.name}_"
  own = [limit for limit in limits if limit.column.startswith(prefix)]
  found = [
    one for limit in own for one in limit.check(rows.numbers(limit.column))
  ]
  if found:
    decisions.reject(scorer.name, found)


def _balance(
  rows: Rows,
  decisions: deciding.Decisions,
  column: str,
  how: sampling.Sampling,
  tables: pathlib.Path,
) -> None:
  if not column or not (how.target or how.cap):
    return
  kept, path = decisions.kept, tables / "vectors.npy"
  known = rows.write_arrays(column, kept, path)
  decisions.reject(
    "embedded", [(make_mask(rows, kept[~known]), "no embedding")]
  )
  kept = kept[known]
  if len(kept):
    vectors = np.load(path, mmap_mode="r")
    levels = sampling.cluster(vectors, how.clusters, how.seed)
    decisions.clusters[kept] = levels[0]
    keys = read_keys(rows, kept)
    taken = sampling.sample(
      levels, keys, target=how.target, cap=how.cap, seed=how.seed
    )
    left = np.setdiff1d(kept, kept[taken])
    decisions.reject("balance", [(make_mask(rows, left), "not sampled")])
  path.unlink()


def read_keys(rows: Rows, some: np.ndarray) -> np.ndarray:
  """(m,) uint64, the starts of the content hashes of some rows."""
  blocks = [
    ordering.read_prefix(rows.content(some[start : start + units.BLOCK]))
    for start in range(0, len(some), units.BLOCK)
  ]
  return np.concatenate([np.empty(0, np.uint64), *blocks])


def make_mask(rows: Rows, numbers: np.ndarray) -> np.ndarray:
  """(n,) bool, True for some rows."""
  mask = np.zeros(len(rows), bool)
  mask[numbers] = True
  return mask


def _pack(
  rows: Rows,
  decisions: deciding.Decisions,
  found: pool.Pool,
  output: pathlib.Path,
  settings: Settings,
  engine: Engine,
) -> dict:
  reasons = np.array(decisions.reasons, object)
  rows.write(output / "decisions.parquet", decisions, settings.takedown)
  kept = decisions.kept
  if not len(kept):
    raise ValueError(
      f"nothing is kept of {len(rows)} images; see the lines above, and "
      f"{output / 'decisions.parquet'}."
    )
  left_out = np.flatnonzero(decisions.codes)
  same_as = decisions.same_as[left_out]
  names = [
    rows.texts(name, some)
    for name, some in (
      ("name", left_out),
      ("name", np.maximum(same_as, 0)),
      ("detail", left_out),
    )
  ]
  rejected, copies = [], []
  for row, same, name, other, detail in zip(left_out, same_as, *names):
    reason, other = reasons[decisions.codes[row]], other if same >= 0 else ""
    if reason == deduplicating.EXACT:
      copies.append({"name": name, "same_as": other})
    else:
      detail = detail or other
      rejected.append({"name": name, "reason": reason, "detail": detail})
  return packing.pack(
    engine,
    output,
    rows.select(kept),
    found.shards,
    shard_size=settings.shard_size,
    rejected=rejected,
    duplicates=copies,
    provenance={"curation": _describe(settings, decisions)},
  )


def _describe(settings: Settings, decisions: deciding.Decisions) -> dict:
  """What the manifest says of a curation; nothing of where the pool was."""
  scorers = [scorer for group in settings.passes for scorer in group]
  return {
    "funnel": decisions.funnel,
    "scorers": {scorer.name: scorer.fingerprint() for scorer in scorers},
    "limits": {
      limit.column: [
        end if np.isfinite(end) else None for end in (limit.low, limit.high)
      ]
      for limit in settings.limits
      if np.isfinite(limit.low) or np.isfinite(limit.high)
    },
    "duplicates": {
      **dataclasses.asdict(settings.near),
      "best": list(settings.best),
    },
    "takedown": {
      "num_hashes": len(settings.takedown),
      "near": settings.takedown_near,
    },
    "sampling": {
      "embedding": settings.embedding,
      **dataclasses.asdict(settings.sampling),
      "clusters": list(settings.sampling.clusters),  # As JSON has it.
    },
  }


def _check_columns(settings: Settings) -> None:
  """Raises ValueError if a setting names a column that no scorer makes."""
  kinds = {deduplicating.NUM_PIXELS: "int64", "num_bytes": "int64"}
  names = [scorer.name for group in settings.passes for scorer in group]
  if not names or len(set(names)) < len(names):
    raise ValueError(
      f"scorers {', '.join(names) or '-'}: expected each one once, and at "
      "least one in the first pass."
    )
  for group in settings.passes:
    for scorer in group:
      for column, kind in scorer.columns.items():
        kinds[f"{scorer.name}_{column}"] = kind
  numbers = ("int32", "int64", "float32", "bool")
  wanted = {limit.column: numbers for limit in settings.limits}
  wanted |= dict.fromkeys(settings.best, numbers)
  if settings.near.compares_hashes:
    wanted |= {nearness.PDQ: ("binary",)}
  for column in filter(None, (settings.embedding, settings.near.embedding)):
    wanted[column] = ("list<float32>",)
  for column, expected in wanted.items():
    if kinds.get(column) not in expected:
      found = kinds.get(column, "no such column")
      known = sorted(name for name, kind in kinds.items() if kind in expected)
      raise ValueError(
        f"{column}: {found}, expected one of {', '.join(known) or 'none'}."
      )
