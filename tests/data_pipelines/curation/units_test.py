"""Units: one shard in, one file out, whatever is in the shard."""

import dataclasses
import os

import pytest
from pyarrow import parquet

from data_pipelines import build_corpus
from data_pipelines.curation import pool, units
from data_pipelines.curation.scorers import make_scorer
from tests.data_pipelines import corpora
from tests.data_pipelines.curation import made


def make_task(tmp_path, *scorers, **changes):
  scorers = scorers or (make_scorer("quality"), made.Scorer())
  given = {"scores": tmp_path / "scores", "attempts": tmp_path / "attempts"}
  task = units.ScoreShards(scorers, **{**given, "batch_size": 2, **changes})
  task.load()
  return task


def find_unit(tmp_path, source):
  (tmp_path / "lists").mkdir(exist_ok=True)
  (shard,) = pool.open_pool([source], tmp_path / "lists", 100).shards
  return units.Unit(shard)


def read(task, unit):
  task(unit)
  return parquet.read_table(task.path(unit)).to_pylist()


@pytest.fixture
def poisoned(tmp_path):
  """Four pictures, of which one is what scorers trip over."""
  made.write_pool(tmp_path / "pool", [1, 2, 3])
  made.picture(9, *made.POISON).save(tmp_path / "pool" / "00 bad.png")
  return find_unit(tmp_path, tmp_path / "pool")


def test_a_row_for_each_image_with_scores_or_a_reason(tmp_path):
  made.write_pool(tmp_path / "pool", [7])
  (tmp_path / "pool" / "empty.png").write_bytes(b"")
  task = make_task(tmp_path)
  cut, good, empty = read(task, find_unit(tmp_path, tmp_path / "pool"))
  assert [row["row"] for row in (cut, good, empty)] == [0, 1, 2]
  assert cut["name"] == "007 cut.jpg" and cut["reason"] == "truncated"
  assert empty["reason"] == "empty file" and empty["made_mean"] is None
  assert good["reason"] is None and good["quality_short_side"] == 120
  assert (good["height"], good["width"]) == (160, 120)
  assert good["made_mean"] == pytest.approx(127, abs=30)


def test_folder_tar_and_corpus_give_the_same_of_an_image(tmp_path):
  made.write_pool(tmp_path / "pool", [1, 2])
  data = {p.name: p.read_bytes() for p in (tmp_path / "pool").iterdir()}
  (tmp_path / "a.tar").write_bytes(corpora.make_tar(data))
  build_corpus.build_corpus([tmp_path / "pool"], tmp_path / "corpus")
  task, found = make_task(tmp_path), []
  for name in ("pool", "a.tar", "corpus"):
    rows = read(task, find_unit(tmp_path, tmp_path / name))
    for row in rows:
      row["key"] = row["key"].split()[0]
      del row["shard"], row["row"]
    found.append(sorted(rows, key=lambda row: row["name"]))
  assert len(found[0]) == 2
  assert found[0] == found[1] == found[2]


def test_a_file_with_these_fingerprints_is_not_made_again(tmp_path):
  made.write_pool(tmp_path / "pool", [1])
  unit = find_unit(tmp_path, tmp_path / "pool")
  task = make_task(tmp_path, made.Scorer())
  task(unit)
  before = os.stat(task.path(unit)).st_mtime_ns
  (tmp_path / "pool" / "001.jpg").unlink()  # Nobody looks at it again.
  task(unit)
  assert os.stat(task.path(unit)).st_mtime_ns == before
  metadata = parquet.read_schema(task.path(unit)).metadata
  assert made.Scorer().fingerprint() in metadata[b"scorers"].decode()
  assert make_task(tmp_path, made.Raises()).path(unit) != task.path(unit)


def test_batches_do_not_change_the_file(tmp_path, poisoned):
  one = make_task(tmp_path, batch_size=1, scores=tmp_path / "one")
  many = make_task(tmp_path, batch_size=16, scores=tmp_path / "many")
  one(poisoned), many(poisoned)
  assert one.path(poisoned).read_bytes() == many.path(poisoned).read_bytes()


@pytest.mark.parametrize(
  "scorer, detail",
  [
    (made.Raises, "made: RuntimeError: tripped"),
    (made.Dies, "its process died of SIGKILL"),
    (made.Hangs, "its process died of SIGALRM"),
  ],
)
def test_an_image_that_ends_its_process_twice_is_listed(
  tmp_path, poisoned, scorer, detail
):
  task = make_task(tmp_path, scorer(), seconds=2.0)
  task.attempts.mkdir()
  # Two runs have begun this unit and died.
  (task.attempts / task.path(poisoned).stem).write_bytes(b"xx")
  bad, *others = read(task, poisoned)
  assert bad["name"] == "00 bad.png" and bad["made_mean"] is None
  assert (bad["reason"], bad["detail"]) == (units.QUARANTINED, detail)
  expected = list(make_task(tmp_path, made.Scorer()).score(poisoned))[1:]
  for row, same in zip(others, expected, strict=True):
    assert row["made_mean"] == pytest.approx(same["made_mean"], rel=1e-6)
    assert row["key"] == same["key"]
  assert not list(task.attempts.iterdir())


def test_an_error_of_a_scorer_costs_its_image_alone(tmp_path, poisoned):
  rows = read(make_task(tmp_path, made.Raises()), poisoned)
  reasons = [units.QUARANTINED, None, None, None]
  assert [row["reason"] for row in rows] == reasons


def test_a_scorer_that_never_works_stops_the_unit(tmp_path):
  made.write_pool(tmp_path / "pool", [])
  for seed in range(3):
    picture = made.picture(seed, *made.POISON)
    picture.save(tmp_path / "pool" / f"{seed}.png")
  unit = find_unit(tmp_path, tmp_path / "pool")
  task = make_task(tmp_path, made.Raises())
  with pytest.raises(ValueError, match="no image could be scored; the first"):
    task(unit)
  assert not task.path(unit).exists()


def test_an_unreadable_shard_is_an_error_and_no_death(tmp_path, poisoned):
  task = make_task(tmp_path)
  (tmp_path / "pool" / "002.jpg").unlink()
  with pytest.raises(OSError, match=r"002\.jpg: there is no such file"):
    task(poisoned)
  (mark,) = task.attempts.iterdir()
  assert mark.read_bytes() == b"" and not task.path(poisoned).exists()


@pytest.mark.parametrize(
  "answer, wrong",
  [
    ({"mean": 1.0}, "columns mean, expected mean, vector"),
    ({"mean": float("nan"), "vector": None}, "mean is nan"),
  ],
)
def test_what_a_scorer_must_not_say(tmp_path, poisoned, answer, wrong):
  scorer = made.Scorer()
  task = make_task(tmp_path, scorer)
  scorer.measure = lambda image: answer
  with pytest.raises(units.ScorerError, match=wrong):
    list(task.score(poisoned))


def test_a_later_pass_sees_some_rows_and_what_is_known_of_them(
  tmp_path, poisoned
):
  first = make_task(tmp_path)
  first(poisoned)

  unit = dataclasses.replace(
    poisoned, rows=(0, 2), earlier=str(first.path(poisoned))
  )
  task = make_task(tmp_path, made.Later())
  rows = list(task.score(unit))
  assert [row["row"] for row in rows] == [0, 2]
  assert [row["later_known"] for row in rows] == [77, 120]
  assert task.path(unit) != task.path(dataclasses.replace(unit, rows=(0, 1)))


def test_metadata_beside_an_image_is_part_of_its_key(tmp_path):
  made.write_pool(tmp_path / "pool", [1])
  (tmp_path / "pool" / "001.json").write_text('{"licence": "CC0"}')
  unit = find_unit(tmp_path, tmp_path / "pool")
  record = pool.open_shard(unit.shard).read(0)
  assert record.licence == "CC0"
  (row,) = read(make_task(tmp_path), unit)
  assert row["key"].startswith(units.hash_known(record))
  assert units.split_key(row["key"]) == (unit.shard.id, 0)
  bare = dataclasses.replace(record, licence="")
  assert units.hash_known(bare) != units.hash_known(record)
