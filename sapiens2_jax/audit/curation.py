"""Reads what a curation has left: decisions, scores, and images of the pool."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.common import packages
from data_pipelines.common.images import ImageDecodeError, decode_image
from data_pipelines.corpus import manifest as manifests
from data_pipelines.curation import deciding, deduplicating, pool, units

DECISIONS = "decisions.parquet"
_PLACE = ("shard", "row")
_OWN = ("same_row", "cluster", "taken_down")
# Held in memory; scores are read one column at a time.
_HELD = (*_PLACE, "name", "content_hash", "height", "width")


@dataclasses.dataclass(frozen=True)
class Threshold:
  """One end of the range that a column must lie in.

  Attributes:
    scorer: its name.
    column: of the scorer, without prefix.
    end: "min" or "max".
    value: the last one that is kept.
  """

  scorer: str
  column: str
  end: str
  value: float

  @property
  def full_column(self) -> str:
    """The column with prefix."""
    return f"{self.scorer}_{self.column}"

  @property
  def field(self) -> str:
    """Of the config."""
    return f"{self.scorer}.{self.end}_{self.column}"

  def rejects(self, values: np.ndarray) -> tuple[np.ndarray, str]:
    """Which values it takes out, and the reason that decisions name."""
    ends = {{"min": "low", "max": "high"}[self.end]: self.value}
    ((mask, reason),) = deciding.Limit(self.full_column, **ends).check(values)
    return mask, reason


class Curation:
  """One row an image, in the order of decisions.parquet.

  Attributes:
    directory: as it was given.
    hash: names this curation; another pool or limit gives another one.
    settings: what the manifest of the corpus says of the curation.
    thresholds: by column, the lower end first.
    is_kept: (n,) bool, in the corpus.
    same_row: (n,) int64, of a duplicate the row kept for it, else -1.
    cluster: (n,) int64, -1 where there is none.
    taken_down: (n,) bool, images that are to be shown to nobody.
  """

  def __init__(self, directory: str):
    """Reads all but the images.

    Raises:
      ValueError: no such directory, not that of a finished curation, or of
        an older version.
    """
    parquet = packages.require("pyarrow.parquet", "curation")
    self.directory, self._root = directory, pathlib.Path(directory)
    if not self._root.is_dir():
      raise ValueError(f"curation={directory}: no such directory.")
    self._path = path = self._root / DECISIONS
    if not path.is_file():
      raise ValueError(
        f"curation={directory}: has no {DECISIONS}; expected the output of "
        "sapiens2_jax.curate."
      )
    if not manifests.is_corpus(self._root / "corpus"):
      raise ValueError(
        f"curation={directory}: has no finished corpus; run "
        "sapiens2_jax.curate again."
      )
    manifest = manifests.read_manifest(self._root / "corpus")
    self.hash, self.settings = manifest["inputs_hash"], manifest["curation"]
    self._schema = parquet.read_schema(path)
    missing = {*_OWN} - {*self._schema.names}
    if missing:
      raise ValueError(
        f"{path}: lacks {', '.join(sorted(missing))}; run "
        "sapiens2_jax.curate again."
      )
    self._table = parquet.read_table(
      path, columns=list(_HELD), read_dictionary=["shard"]
    )
    codes = self._read("decision").dictionary_encode().combine_chunks()
    self._reasons = codes.dictionary.to_pylist()
    self._codes = codes.indices.to_numpy()
    self.is_kept = self.has_decision("")
    num_kept = int(self.is_kept.sum())
    if num_kept != manifest["num_records"]:
      raise ValueError(
        f"{path}: keeps {num_kept} images, the corpus "
        f"{manifest['num_records']}; run sapiens2_jax.curate again."
      )
    self.same_row, self.cluster, self.taken_down = (
      self._read(name).to_numpy() for name in _OWN
    )
    for reason in (deduplicating.TAKEN_DOWN, deduplicating.NEAR_TAKEN_DOWN):
      self.taken_down = self.taken_down | self.has_decision(reason)
    self.thresholds = _read_thresholds(self.settings)
    self._opened = {}

  def __len__(self) -> int:
    return self._table.num_rows

  def _read(self, column: str):
    parquet = packages.require("pyarrow.parquet", "curation")
    return parquet.read_table(self._path, columns=[column])[column]

  @property
  def score_columns(self) -> list[str]:
    """Columns of numbers that scorers made, with prefix."""
    arrow = packages.require("pyarrow", "curation")
    return [
      field.name
      for field in self._schema
      if field.name.startswith(tuple(f"{s}_" for s in self.settings["scorers"]))
      and (
        arrow.types.is_integer(field.type)
        or arrow.types.is_floating(field.type)
      )
    ]

  def has_decision(self, reason: str) -> np.ndarray:
    """(n,) bool, of the images that were left out for a reason."""
    if reason not in self._reasons:
      return np.zeros(len(self), bool)
    return self._codes == self._reasons.index(reason)

  def show_decision(self, row: int) -> str:
    """Why an image was left out, "" if it was not."""
    return self._reasons[self._codes[row]]

  def numbers(self, column: str) -> np.ndarray:
    """(n,) float64, NaN where a number is not known."""
    return self._read(column).cast("float64").to_numpy()

  def get(self, column: str, row: int) -> object:
    """What a column says of one image, None if it is not known."""
    return self._table[column][int(row)].as_py()

  def find(self, hashes: Sequence[str]) -> dict[str, int]:
    """Some row of each content hash; those that are not there are left out."""
    compute = packages.require("pyarrow.compute", "curation")
    arrow = packages.require("pyarrow", "curation")
    wanted = arrow.array(list(hashes), arrow.string())
    found = compute.index_in(self._table["content_hash"], value_set=wanted)
    found = found.combine_chunks().fill_null(-1).to_numpy()
    rows = np.flatnonzero(found >= 0)
    return {hashes[found[row]]: int(row) for row in rows}

  def read_image(self, row: int, side: int) -> np.ndarray | None:
    """Reads an image from the pool.

    Args:
      row: of the table.
      side: both sides of what is returned may be larger, neither needs be.

    Returns:
      (h, w, 3) uint8; None if it is to be seen by nobody, or not there any
      more as it was.
    """
    known = self.get("content_hash", row)
    if self.taken_down[row] or known is None:
      return None
    shard, number = (self.get(name, row) for name in _PLACE)
    opened = self._open(shard)
    try:
      record = opened.read(number) if opened else None
      if record is None or record.content_hash != known:
        return None
      return decode_image(record.image, min_size=(side, side))
    except (ImageDecodeError, OSError, ValueError, IndexError):
      return None

  def _open(self, shard: str) -> pool.ShardRows | None:
    if shard not in self._opened:
      self._opened[shard] = None
      parquet = packages.require("pyarrow.parquet", "curation")
      for path in self._score_files(shard)[:1]:
        known = json.loads(parquet.read_schema(path).metadata[b"shard"])
        if known["listing"]:  # Of a curation that was moved.
          listing = pathlib.Path(known["listing"]).name
          known["listing"] = str(self._root / "lists" / listing)
        try:
          self._opened[shard] = pool.open_shard(pool.Shard(**known))
        except (OSError, ValueError):
          pass  # It is gone; its images are shown by name.
    return self._opened[shard]

  def _score_files(self, shard: str) -> list[pathlib.Path]:
    return sorted((self._root / "scores").glob(f"{shard}-*.parquet"))

  def read_values(
    self, scorer: str, column: str, rows: Sequence[int]
  ) -> list[object]:
    """A column that decisions do not have, such as boxes, for some rows.

    Returns:
      A value for each row, None where it is not known.
    """
    parquet = packages.require("pyarrow.parquet", "curation")
    name, own = f"{scorer}_{column}", self.settings["scorers"].get(scorer)
    places = self._table.select(list(_PLACE)).take(np.array(rows, np.int64))
    places = list(zip(*places.to_pydict().values()))
    found = {}
    for shard in {shard for shard, _ in places}:
      for path in self._score_files(shard):
        schema = parquet.read_schema(path)
        made_by = json.loads(schema.metadata[b"scorers"])
        # Scores of other settings stay there.
        if name in schema.names and made_by.get(scorer) == own:
          table = parquet.read_table(path, columns=[*_PLACE, name])
          for *place, value in zip(*table.to_pydict().values()):
            found[tuple(place)] = value
    return [found.get(place) for place in places]

  def read_boxes(self, scorer: str, rows: Sequence[int]) -> list[np.ndarray]:
    """For each row (n, 4) left, top, right, bottom in pixels."""
    for column in (units.BOXES, "box"):
      values = self.read_values(scorer, column, rows)
      if any(value is not None for value in values):
        return [np.float32(v or []).reshape(-1, 4) for v in values]
    return [np.zeros((0, 4), np.float32)] * len(rows)


def _read_thresholds(settings: dict) -> tuple[Threshold, ...]:
  found = []
  for column, ends in sorted(settings["limits"].items()):
    # The longest: a scorer's name may begin with that of another one.
    scorer = max(
      (s for s in settings["scorers"] if column.startswith(f"{s}_")), key=len
    )
    short = column.removeprefix(f"{scorer}_")
    found += [
      Threshold(scorer, short, end, value)
      for end, value in zip(("min", "max"), ends)
      if value is not None
    ]
  return tuple(found)
