"""The page of a curation: its sections, and sheets of images to be marked."""

import base64
import dataclasses
import io
import pathlib
import shlex
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.curation import deduplicating
from data_pipelines.curation.duplicates import count_bits
from sapiens2_jax.audit import balance, choosing, drawing, marks
from sapiens2_jax.audit.curation import Curation, Threshold
from sapiens2_jax.report import colors, page
from sapiens2_jax.report.page import Figure, Section, Table

_TEMPLATE = pathlib.Path(__file__).with_name("audit.html")
_SIDE = 320  # Pixels of an image in the page, at most.
_QUALITY = 80  # Of its JPEG.
_BOX_COLOR = (255, 176, 0)
_GROUPS, _MEMBERS = 12, 8  # Groups of duplicates, and images of each.
_FAR = 12  # Near-duplicates that are shown as those furthest apart.
_MAX_READ = 20_000  # Near-duplicates whose hashes are read for that.
_CLUSTERS, _OF_EACH = 6, 8


@dataclasses.dataclass(frozen=True)
class Tile:
  """An image in the page."""

  url: str  # of its data, "" if it is not there
  name: str
  caption: str
  hash: str


@dataclasses.dataclass(frozen=True)
class Strip:
  """Images below a line of text."""

  title: str
  tiles: Sequence[Tile]
  is_kept: bool = True


@dataclasses.dataclass(frozen=True)
class Sheet:
  """Strips, of images that can be marked if they are of a config's field."""

  strips: Sequence[Strip]
  field: str = ""
  title: str = ""


class Page:
  """Makes the page of a curation.

  Attributes:
    num_images: that are in it, those that were not there included.
    num_missing: that were not there.
  """

  def __init__(self, curation: Curation, num_tiles: int):
    """Takes at most `num_tiles` images on each side of a threshold."""
    self._curation, self._num_tiles = curation, num_tiles
    self.num_images = self.num_missing = 0

  def render(self) -> str:
    """The whole document."""
    curation, sheets = self._curation, {}
    sections = [self._show_funnel(), self._explain()]
    columns = {t.full_column: t.scorer for t in curation.thresholds}
    for column, scorer in columns.items():
      own = [t for t in curation.thresholds if t.full_column == column]
      sections.append(self._show_column(column, own))
      sheets[column] = [self._show_threshold(t, scorer) for t in own]
    others = [n for n in curation.score_columns if n not in columns]
    sections.append(self._show_others(others))
    groups = choosing.group_duplicates(curation.same_row)
    sections.append(self._show_duplicates(groups))
    sheets["duplicates"] = self._sheets_of_duplicates(groups)
    if (curation.cluster >= 0).any():
      sections.append(self._show_clusters())
      sheets["clusters"] = self._sheets_of_clusters()
    sections.append(balance.show_balance(curation))
    num_kept = int(curation.is_kept.sum())
    return page.render(
      "Audit of a curation",
      f"{len(curation):,} images, {num_kept:,} in the corpus; "
      f"curation {curation.hash[:12]}",
      sections,
      _TEMPLATE,
      sheets=sheets,
      saved={
        "format": marks.FORMAT,
        "version": marks.VERSION,
        "curation": curation.hash,
      },
    )

  def _tiles(
    self, rows: Sequence[int], captions: Sequence[str], scorer: str = ""
  ) -> list[Tile]:
    boxes = [()] * len(rows)
    if scorer and len(rows):
      boxes = self._curation.read_boxes(scorer, rows)
    return [self._tile(*one) for one in zip(rows, captions, boxes)]

  def _tile(self, row: int, caption: str, boxes: Sequence) -> Tile:
    pixels = self._curation.read_image(row, _SIDE)
    self.num_images += 1
    self.num_missing += pixels is None
    name, key, height, width = (
      self._curation.get(column, row)
      for column in ("name", "content_hash", "height", "width")
    )
    if pixels is None:
      return Tile("", name, caption, key or "")
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    # As large as it was scored; it may have been decoded smaller.
    scale = np.float64([image.width / width, image.height / height] * 2)
    draw = ImageDraw.Draw(image)
    for box in boxes:
      draw.rectangle([*(box * scale)], outline=_BOX_COLOR, width=2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Tile(f"data:image/jpeg;base64,{data}", name, caption, key)

  def _show_funnel(self) -> Section:
    lines = self._curation.settings["funnel"]
    total, kept = lines[0]["in"], lines[-1]["kept"]
    rows = [
      [
        line["stage"],
        f"{line['in']:,}",
        f"{line['kept']:,}",
        drawing.show_share(line["kept"], line["in"]),
        drawing.show_share(line["kept"], total),
        ", ".join(f"{why}: {n:,}" for why, n in line["rejected"].items())
        or "-",
      ]
      for line in lines
    ]
    header = ("stage", "in", "kept", "of these", "of all", "left out")
    return Section(
      "funnel",
      "Funnel",
      tiles=[
        ("in the pool", f"{total:,}", ""),
        (
          "in the corpus",
          f"{kept:,}",
          f"{drawing.show_share(kept, total)} kept",
        ),
      ],
      figures=[Figure(drawing.funnel(lines), "what each stage has kept")],
      tables=[Table(rows, header)],
      legend=[("kept", _LEGEND[0][1]), _LEGEND[1]],
    )

  def _explain(self) -> Section:
    marked = f"marks-{self._curation.hash[:12]}.json"
    command = (
      "sapiens2 corpus audit "
      f"--data {shlex.quote(self._curation.directory)} --calibrate {marked}"
    )
    how = (
      "Each limit has its own section below, with the images "
      "nearest to it. Click on one that is on the wrong side; a second click "
      "says that you cannot tell. Judge each limit by what it is for: that a "
      "sharp picture shows nobody is no mistake of the limit of sharpness. "
      "Tick the box when you have looked through all: what is not marked then "
      "counts as right."
    )
    return Section(
      "marks",
      "To judge the limits",
      text=[how],
      commands=[("Then save the marks, and have limits proposed", command)],
    )

  def _layers(self, column: str, mask: np.ndarray, bins: choosing.Bins):
    """Counts that are kept, left out by `mask`, and left out by others."""
    values, is_kept = self._curation.numbers(column), self._curation.is_kept
    return [
      (bins.count(values[is_kept]), drawing.KEPT),
      (bins.count(values[mask]), drawing.REJECTED),
      (bins.count(values[~is_kept & ~mask]), colors.GRAY),
    ]

  def _show_column(self, column: str, own: list[Threshold]) -> Section:
    curation, values = self._curation, self._curation.numbers(column)
    limits = [t.value for t in own]
    bins = choosing.make_bins(values, limits)
    mask = np.zeros(len(values), bool)
    for threshold in own:
      mask |= curation.has_decision(threshold.rejects(values)[1])
    num_known = int(np.isfinite(values).sum())
    layers = self._layers(column, mask, bins)
    drawn = drawing.histogram(bins, layers, thresholds=limits)
    caption = (
      f"{num_known:,} of {len(values):,} images have this score, "
      f"{mask.sum():,} were left out by its limits. The outermost bars hold "
      f"what lies beyond{'; the axis is logarithmic' if bins.is_log else ''}."
    )
    figure = Figure(drawn, f"histogram of {column}", caption)
    return Section(column, column, figures=[figure], legend=_LEGEND)

  def _show_threshold(self, threshold: Threshold, scorer: str) -> Sheet:
    curation = self._curation
    values = curation.numbers(threshold.full_column)
    mask, reason = threshold.rejects(values)
    word = {"min": "at least", "max": "at most"}[threshold.end]
    strips = []
    for is_kept, rows, title in (
      (True, curation.is_kept & ~mask, "kept"),
      (False, curation.has_decision(reason), "left out"),
    ):
      total = int((rows & np.isfinite(values)).sum())
      rows = choosing.nearest(
        values,
        np.flatnonzero(rows),
        threshold.value,
        lambda row: curation.get("content_hash", row),
        self._num_tiles,
      )
      captions = [f"{values[row]:.4g}" for row in rows]
      count = f"{len(rows)} of {total:,}, nearest first"
      title = f"{title}: {count if len(rows) else 'none'}"
      strips.append(Strip(title, self._tiles(rows, captions, scorer), is_kept))
    title = f"{threshold.field}: {word} {threshold.value:g}"
    return Sheet(strips, threshold.field, title)

  def _show_others(self, columns: list[str]) -> Section:
    figures = []
    nothing = np.zeros(len(self._curation), bool)
    for column in columns:
      bins = choosing.make_bins(self._curation.numbers(column), num_bins=30)
      layers = self._layers(column, nothing, bins)
      drawn = drawing.histogram(bins, layers, size=drawing.SMALL)
      alt = f"histogram of {column}"
      figures.append(Figure(drawn, alt, "", column, is_small=True))
    return Section(
      "others",
      "Scores without limits",
      figures=figures,
      text=[] if figures else ["There are none."],
      legend=[_LEGEND[0], ("left out", _LEGEND[2][1])],
    )

  def _show_duplicates(self, groups: dict[int, np.ndarray]) -> Section:
    how = self._curation.settings["duplicates"]
    exact, near = (
      int(self._curation.has_decision(reason).sum())
      for reason in (deduplicating.EXACT, deduplicating.NEAR)
    )
    sizes = np.array([len(rows) + 1 for rows in groups.values()], np.int64)
    rows = [
      [f"{size} images", f"{count:,}"]
      for size, count in zip(*np.unique(sizes, return_counts=True))
    ]
    distance = how["max_distance"]
    is_on = distance >= 0
    return Section(
      "duplicates",
      "Duplicates",
      tiles=[
        ("groups", f"{len(groups):,}", ""),
        ("exact copies left out", f"{exact:,}", "the same bytes"),
        (
          "near-duplicates left out",
          f"{near:,}",
          f"PDQ at most {distance} bits apart" if is_on else "not looked for",
        ),
      ],
      tables=[Table(rows[:20], ("size of the group", "groups"))]
      if rows
      else [],
    )

  def _distances(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Bits between the PDQ hashes of pairs; NaN where one is not known."""
    both = [
      self._curation.read_values("hashes", "pdq", chosen)
      for chosen in (rows, others)
    ]
    found = np.full(len(rows), np.nan)
    for i, pair in enumerate(zip(*both)):
      if None not in pair:
        one, other = (np.frombuffer(pdq, np.uint8) for pdq in pair)
        found[i] = count_bits(one ^ other)
    return found

  def _sheets_of_duplicates(self, groups: dict[int, np.ndarray]) -> list[Sheet]:
    roots = choosing.find_roots(self._curation.same_row)
    near = np.flatnonzero(self._curation.has_decision(deduplicating.NEAR))
    near = near[:_MAX_READ]
    bits = dict(zip(near.tolist(), self._distances(near, roots[near])))

    def caption(row: int) -> str:
      if self._curation.show_decision(row) == deduplicating.EXACT:
        return "same bytes"
      distance = bits.get(row, np.nan)
      return f"{distance:.0f} bits" if np.isfinite(distance) else "near"

    def strip(root: int, copies: Sequence[int], title: str) -> Strip:
      captions = ["kept", *map(caption, copies)]
      return Strip(title, self._tiles([root, *copies], captions))

    largest = [
      strip(root, rows[: _MEMBERS - 1].tolist(), f"{len(rows) + 1} images")
      for root, rows in list(groups.items())[:_GROUPS]
    ]
    known = [row for row in bits if np.isfinite(bits[row])]
    far = sorted(known, key=lambda row: (-bits[row], row))[:_FAR]
    pairs = [strip(int(roots[row]), [row], "") for row in far]
    sheets = [
      Sheet(largest, title="The largest groups; the first is kept"),
      Sheet(pairs, title="Near-duplicates furthest from what is kept for them"),
    ]
    return [sheet for sheet in sheets if sheet.strips]

  def _cluster_counts(self) -> tuple[np.ndarray, np.ndarray]:
    cluster, is_kept = self._curation.cluster, self._curation.is_kept
    count = int(cluster.max()) + 1
    return tuple(
      np.bincount(cluster[(cluster >= 0) & mask], minlength=count)
      for mask in (np.ones_like(is_kept), is_kept)
    )

  def _show_clusters(self) -> Section:
    how = self._curation.settings["sampling"]
    before, after = self._cluster_counts()
    is_full = before > how["cap"] if how["cap"] else np.zeros(len(before), bool)
    even = [f"{choosing.count_even(counts):.1f}" for counts in (before, after)]
    return Section(
      "clusters",
      "Clusters",
      tiles=[
        ("clusters", f"{(before > 0).sum():,}", f"by {how['embedding']}"),
        ("above the cap", f"{is_full.sum():,}", f"of {how['cap'] or '-'}"),
        ("even over", even[1], f"clusters; {even[0]} before the sampling"),
      ],
      figures=[
        Figure(
          drawing.clusters(before, after, how["cap"]), "sizes of the clusters"
        )
      ],
      legend=_LEGEND[:2],
    )

  def _sheets_of_clusters(self) -> list[Sheet]:
    cluster = self._curation.cluster
    before, after = self._cluster_counts()
    sheets = []
    for number in np.argsort(-before, kind="stable")[:_CLUSTERS]:
      if not before[number]:
        continue
      strips = []
      for is_kept, title in ((True, "kept"), (False, "not taken")):
        rows = np.flatnonzero(
          (cluster == number) & (self._curation.is_kept == is_kept)
        )[:_OF_EACH]
        if len(rows):
          tiles = self._tiles(rows, [""] * len(rows))
          strips.append(Strip(title, tiles, is_kept))
      title = f"Cluster {number}: {after[number]:,} of {before[number]:,} kept"
      sheets.append(Sheet(strips, title=title))
    return sheets


_LEGEND = (
  ("in the corpus", colors.to_rgb(drawing.KEPT)),
  ("left out here", colors.to_rgb(drawing.REJECTED)),
  ("left out by others", colors.to_rgb(colors.GRAY)),
)
