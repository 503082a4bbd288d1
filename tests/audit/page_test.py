"""From a curation to its page, marks, and limits; and what is not there."""

import dataclasses
import html.parser
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
from pyarrow import parquet

from data_pipelines.curation import nearness
from sapiens2_jax import config as config_lib
from sapiens2_jax import curate, validation
from sapiens2_jax.audit import balance
from sapiens2_jax.audit.curation import Curation
from sapiens2_jax.audit.marks import read_marks
from sapiens2_jax.audit.page import Page
from tests import forking
from tests.data_pipelines.curation import made
from tests.report.pages import check_page

ROOT = pathlib.Path(__file__).parents[2]
FIELD = "quality.min_brightness"
LIMIT, BETTER = 124.0, 127.5  # Of brightness, as it was and should be.


def load(override):
  """Settings of the toy experiment, balanced by a scorer that is made up."""
  config = config_lib.load_config(
    "experiments/curation.py:size=toy",
    [override],
    lambda config: validation.validate(config, 1, "curation"),
  )
  settings = curate.make_settings(config)
  passes = ((*settings.passes[0], made.Scorer()), *settings.passes[1:])
  balanced = made.balanced(0)
  return dataclasses.replace(
    settings,
    passes=passes,
    embedding=balanced.embedding,
    sampling=balanced.sampling,
  )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A curation of 40 pictures with copies."""
  place = tmp_path_factory.mktemp("audit")
  made.write_pool(place / "pool", range(40))
  settings = load(f"{FIELD}={LIMIT}")
  made.curate([place / "pool"], place / "out", settings)
  return place


class Shown(html.parser.HTMLParser):
  """Of each field its images as (hash, whether kept)."""

  def __init__(self, text):
    super().__init__()
    self.sheets, self._field, self._kept = {}, "", False
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    given = dict(attrs)
    if given.get("class") == "sheet":
      self._field = given.get("data-field", "")
    if "data-kept" in given:
      self._kept = given["data-kept"] == "1"
    if "data-hash" in given:
      found = self.sheets.setdefault(self._field, [])
      found.append((given["data-hash"], self._kept))


def by_hash(curation):
  """Brightness by content hash, of images that could be read."""
  names = [curation.get("content_hash", row) for row in range(len(curation))]
  values = curation.numbers("quality_brightness")
  return {name: value for name, value in zip(names, values) if name}


def mark(text, curation, changes=None):
  """What the page saves when brightness is judged by the better limit."""
  values = by_hash(curation)
  sheets = {}
  for field, images in Shown(text).sheets.items():
    said = dict.fromkeys(name for name, _ in images)
    if field == FIELD:
      said = {n: "keep" if values[n] >= BETTER else "reject" for n in said}
    sheets[field] = {"is_whole": field == FIELD, "images": said}
  saved = {"format": "sapiens2_jax audit marks", "version": 1}
  saved |= {"curation": curation.hash, "sheets": sheets}
  return saved | (changes or {})


def run(*arguments):
  return forking.run(
    [sys.executable, "-m", "sapiens2_jax.audit", *map(str, arguments)],
    os.environ,
  )


def test_a_page_is_marked_and_its_limit_mended(place, tmp_path):
  page = tmp_path / "page.html"
  done = run("--data", place / "out", "--output", page, "--tiles", "16")
  assert done.returncode == 0, done.stderr
  assert "images" in done.stdout and "not there" not in done.stdout
  text, curation = page.read_text(), Curation(str(place / "out"))
  check_page(text)
  shown = Shown(text)
  assert list(shown.sheets) == [t.field for t in curation.thresholds]
  images = shown.sheets[FIELD]
  values = by_hash(curation)
  for kept in (True, False):
    own = [values[name] for name, is_kept in images if is_kept == kept]
    far = np.abs(np.array(own) - LIMIT)
    assert 8 <= len(own) <= 16 and (np.diff(far) >= 0).all()
    assert all((value >= LIMIT) == kept for value in own)
  (tmp_path / "marks.json").write_text(json.dumps(mark(text, curation)))
  done = run(*("--data", place / "out", "--calibrate", tmp_path / "marks.json"))
  assert done.returncode == 0, done.stderr
  override = done.stdout.splitlines()[-1].strip().removeprefix("--config.")
  name, _, value = override.partition("=")
  marked = np.array([values[name] for name, _ in images])
  assert name == FIELD
  assert marked[marked < BETTER].max() < float(value)
  assert float(value) <= marked[marked >= BETTER].min()
  assert " 0 mistakes" in done.stdout
  made.curate([place / "pool"], tmp_path / "out", load(override))
  again = Curation(str(tmp_path / "out"))
  kept = again.numbers("quality_brightness")[again.is_kept]
  assert kept.min() >= float(value) and again.hash != curation.hash


def test_decisions_say_whose_copy_a_row_is_and_its_cluster(place):
  table = parquet.read_table(place / "out" / "decisions.parquet").to_pydict()
  for name, row in zip(table["same_as"], table["same_row"]):
    assert name == (None if row < 0 else table["name"][row])
  curation = Curation(str(place / "out"))
  clustered = curation.is_kept | curation.has_decision("not sampled")
  assert ((curation.cluster >= 0) == clustered).all()
  counts = np.bincount(curation.cluster[curation.is_kept])
  assert counts.max() <= 4  # The cap.


def test_sections_are_those_of_the_curation(place):
  text = Page(Curation(str(place / "out")), 1).render()
  for expected in (
    "quality_brightness below 124",
    "Scores without limits",
    "largest groups; the first is kept",
    "same bytes",
    "Near-duplicates furthest from",
    "Clusters",
    "Not scored: scale (person_short_side), view (face_yaw)",
  ):
    assert expected in text


def test_a_curation_without_limits_or_duplicates_has_its_page(tmp_path):
  made.write_pool(tmp_path / "pool", [1])
  (tmp_path / "pool" / "001.jpg").rename(tmp_path / "pool" / "<b>&.jpg")
  near = nearness.Nearness(max_distance=-1)
  settings = made.make_settings(limits=(), near=near)
  made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  page = Page(Curation(str(tmp_path / "out")), 3)
  text = page.render()
  check_page(text)
  assert page.num_images == 0 and Shown(text).sheets == {}
  assert "not looked for" in text
  tile = page._tile(0, "", [])
  assert tile.name == "<b>&.jpg" and tile.url.startswith("data:image/jpeg")


def test_balance_counts_known_scores_before_and_after():
  class Made:
    score_columns = ("person_short_side", "quality_brightness")
    is_kept = np.array([True, True, False, False])

    def numbers(self, column):
      return np.float64(
        {
          "person_short_side": [55, 95, 0, np.nan],  # 0: no box.
          "height": [100, 100, 100, 100],
          "width": [200, 200, 200, 200],
          "quality_brightness": [10, 10, 200, 100],
        }[column]
      )

  section = balance.show_balance(Made())
  # Two bins of one image each; brightness 2, 1, 1 of 4 and then 2 of 2.
  assert section.tables[0].rows == [
    ["scale", "2", "2", "2.0", "2.0", "10"],
    ["light", "4", "2", "2.8", "1.0", "10"],
  ]
  assert (
    section.text[1] == "Not scored: view (face_yaw), head pose (face_pitch)."
  )


def test_what_is_gone_from_the_pool_is_shown_by_its_name(place, tmp_path):
  out = tmp_path / "out"
  shutil.copytree(place / "out", out)
  for name in (out / "lists").iterdir():
    listed = json.loads(name.read_text())
    listed["rows"] = [[f"no {path}", stamp] for path, stamp in listed["rows"]]
    name.write_text(json.dumps(listed))
  page = Page(Curation(str(out)), 3)
  text = page.render()
  assert page.num_missing == page.num_images > 6
  assert text.count('class="gone"') == page.num_missing
  assert "image/jpeg" not in text


def test_an_image_that_was_taken_down_is_shown_to_nobody(place, tmp_path):
  found = Curation(str(place / "out"))
  below = np.flatnonzero(found.has_decision("quality_brightness below 124"))[0]
  assert found.read_image(below, 64) is not None
  settings = dataclasses.replace(
    load(f"{FIELD}={LIMIT}"),
    takedown=frozenset({found.get("content_hash", below)}),
  )
  made.curate([place / "pool"], tmp_path / "out", settings)
  curation = Curation(str(tmp_path / "out"))
  rows = np.flatnonzero(curation.taken_down)  # The image and its exact copies.
  assert {
    curation.get("content_hash", row) for row in rows
  } == settings.takedown
  assert all(curation.read_image(row, 64) is None for row in rows)


def test_what_is_no_curation_is_named(place, tmp_path):
  with pytest.raises(ValueError, match="curation=.*missing: no such directory"):
    Curation(str(tmp_path / "missing"))
  with pytest.raises(ValueError, match=r"has no decisions\.parquet"):
    Curation(str(tmp_path))
  out = tmp_path / "out"
  shutil.copytree(place / "out", out)
  path = out / "decisions.parquet"
  table = parquet.read_table(path)
  parquet.write_table(table.slice(0, 2), path)
  with pytest.raises(ValueError, match="keeps . images, the corpus .*again"):
    Curation(str(out))
  parquet.write_table(table.drop_columns(["cluster"]), path)
  with pytest.raises(ValueError, match="lacks cluster"):
    Curation(str(out))
  shutil.rmtree(out / "corpus")
  with pytest.raises(ValueError, match="has no finished corpus"):
    Curation(str(out))


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"curation": "f" * 64}, "marks of another curation, ffffffffffff; this"),
    ({"format": "photographs"}, "format 'photographs', expected"),
    ({"version": 2}, "of version 1"),
    ({"sheets": {"quality.min_beauty": {}}}, "'quality.min_beauty'"),
    (
      {"sheets": {FIELD: {"is_whole": True}}},
      "KeyError: 'images'",
    ),
    (
      {"sheets": {FIELD: {"is_whole": True, "images": {"a": "keep"}}}},
      "KeyError: 'a'",
    ),
  ],
)
def test_marks_that_do_not_fit_are_refused(place, tmp_path, changes, message):
  curation = Curation(str(place / "out"))
  path = tmp_path / "marks.json"
  path.write_text(json.dumps(mark("", curation, changes)))
  with pytest.raises(ValueError) as caught:
    read_marks(str(path), curation)
  assert message in str(caught.value) and str(path) in str(caught.value)
  path.write_text("{")
  with pytest.raises(ValueError, match="is no JSON"):
    read_marks(str(path), curation)


def test_unsure_and_unmarked_images_are_not_counted(place, tmp_path):
  curation = Curation(str(place / "out"))
  values = by_hash(curation)
  names = list(values)[:4]
  images = dict(zip(names, ("keep", "unsure", None, "reject")))
  sheet = {"is_whole": False, "images": images}
  saved = mark("", curation, {"sheets": {FIELD: sheet}})
  (tmp_path / "marks.json").write_text(json.dumps(saved))
  found = read_marks(str(tmp_path / "marks.json"), curation)
  marks = found[FIELD]
  assert marks.values.tolist() == [values[names[0]], values[names[3]]]
  assert marks.should_keep.tolist() == [True, False]


def test_the_command_wants_one_thing_to_do():
  done = run("--data", "nowhere")
  assert done.returncode == 2
  assert done.stderr.strip() == "expected one of --output and --calibrate."
