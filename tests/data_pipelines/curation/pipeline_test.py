"""Whole curations: what is kept, growth, take-down, balance, mistakes."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import verify
from data_pipelines.curation import deciding, nearness
from data_pipelines.curation.scorers import make_scorer
from data_pipelines.open_source import open_source
from tests.data_pipelines import corpora
from tests.data_pipelines.curation import made
from tests.photographs import _encode


def hash_file(path):
  return hashlib.sha256(path.read_bytes()).hexdigest()


def names(output):
  source = open_source(output / "corpus")
  return sorted(source.name(index) for index in range(len(source)))


def lines(output, name):
  text = (output / "corpus" / f"{name}.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


def test_a_pool_becomes_a_corpus_with_its_funnel(tmp_path, capsys):
  made.write_pool(tmp_path / "pool", range(10))
  dark = made.picture(50).point(lambda level: level // 16)
  dark.save(tmp_path / "pool" / "dark.png")
  manifest = made.curate([tmp_path / "pool"], tmp_path / "out")
  # 10 pictures; two copies, three worse ones, two broken, a dark one.
  assert [
    (line["stage"], line["in"], line["kept"], line["rejected"])
    for line in manifest["curation"]["funnel"]
  ] == [
    ("decode", 18, 16, {"truncated": 2}),
    ("quality", 16, 15, {"quality_brightness below 20": 1}),
    ("exact", 15, 13, {"exact duplicate": 2}),
    ("near", 13, 10, {"near duplicate": 3}),
  ]
  assert "quality_brightness below 20 1" in capsys.readouterr().out
  assert not list(verify.verify_corpus(tmp_path / "out" / "corpus"))
  kept = names(tmp_path / "out")
  # Of near ones that of more bytes; which of two copies is decided by hash.
  assert [name[:3] for name in kept] == [f"{seed:03}" for seed in range(10)]
  assert manifest["rejected"]["by_reason"] == {
    "near duplicate": 3,
    "quality_brightness below 20": 1,
    "truncated": 2,
  }
  near = {
    row["name"]: row["detail"][:3]
    for row in lines(tmp_path / "out", "rejected")
    if row["reason"] == "near duplicate"
  }
  assert near == {"a 000.jpg": "000", "a 004.jpg": "004", "a 008.jpg": "008"}
  copies = lines(tmp_path / "out", "duplicates")
  assert sorted(row["name"][:3] for row in copies) == ["000", "005"]


def test_records_carry_scores_and_keep_what_was_known(tmp_path):
  class Boxes(made.Scorer):
    columns = {"boxes": "list<float32>", "is_good": "bool", "note": "string"}

    def measure(self, image):
      boxes = [1.0, 2.0, 30.0, 40.0, 5.0, 6.0, 7.0, 8.5]
      return {"boxes": boxes, "is_good": True, "note": None}

  made.Boxes, Boxes.__qualname__, Boxes.__module__ = (
    Boxes,
    "Boxes",
    (made.__name__),
  )
  made.write_pool(tmp_path / "pool", [1])
  (tmp_path / "pool" / "001.json").write_text('{"licence": "CC0"}')
  made.curate(
    [tmp_path / "pool"], tmp_path / "out", made.make_settings(Boxes())
  )
  record = open_source(tmp_path / "out" / "corpus")[0]
  assert record.licence == "CC0" and record.name == "001.jpg"
  assert record.person_boxes == ((1, 2, 30, 40), (5, 6, 7, 8.5))
  assert record.scores["made_is_good"] == 1
  assert record.scores["quality_short_side"] == 120
  assert {"hashes_pdq", "made_note", "made_boxes"}.isdisjoint(record.scores)


def test_a_second_run_does_nothing(tmp_path):
  made.write_pool(tmp_path / "pool", range(6))
  first = made.curate([tmp_path / "pool"], tmp_path / "out")

  def times():
    return {
      path: path.stat().st_mtime_ns
      for name in ("corpus", "scores", "lists")
      for path in (tmp_path / "out" / name).iterdir()
    }

  before, engine = times(), made.InProcess()
  again = made.curate([tmp_path / "pool"], tmp_path / "out", on=engine)
  assert again == first and times() == before
  assert engine.num_units == 0


def test_a_grown_pool_gives_the_corpus_from_scratch(tmp_path, capsys):
  made.write_pool(tmp_path / "pool", range(0, 20, 2))
  made.curate([tmp_path / "pool"], tmp_path / "out")
  made.write_pool(tmp_path / "pool", range(1, 20, 2))
  (tmp_path / "pool" / "002.jpg").unlink()
  (tmp_path / "pool" / "006.jpg").write_bytes(
    _encode(made.picture(600), "JPEG")
  )
  engine = made.InProcess()
  old = set((tmp_path / "out" / "scores").iterdir())
  capsys.readouterr()
  made.curate([tmp_path / "pool"], tmp_path / "out", on=engine)
  assert " 2 removed, 8 as before" in capsys.readouterr().out
  made.curate([tmp_path / "pool"], tmp_path / "scratch")
  assert made.contents(tmp_path / "out") == made.contents(tmp_path / "scratch")
  # Scored was what is new: 10 pictures, 2 copies, 1 cut file, 1 that changed.
  new = set((tmp_path / "out" / "scores").iterdir()) - old
  assert sum(parquet.read_metadata(path).num_rows for path in new) == 14


def test_decisions_count_no_image_that_is_gone(tmp_path):
  made.write_pool(tmp_path / "pool", range(10))
  made.curate([tmp_path / "pool"], tmp_path / "out")
  gone = {"001.jpg", "004.jpg"}
  for name in gone:
    (tmp_path / "pool" / name).unlink()
  made.curate([tmp_path / "pool"], tmp_path / "out")
  path = tmp_path / "out" / "decisions.parquet"
  table = parquet.read_table(path).to_pydict()
  assert not gone & {*table["name"]}
  copies = [
    pair for pair in zip(table["same_as"], table["same_row"]) if pair[0]
  ]
  assert copies and all(table["name"][row] == name for name, row in copies)
  assert max(row for _, row in copies) > 2  # Behind those that are gone.


def test_neither_form_nor_order_of_the_pool_matters(tmp_path):
  made.write_pool(tmp_path / "pool", range(9))
  files = [(p.name, p.read_bytes()) for p in (tmp_path / "pool").iterdir()]
  files.sort(reverse=True)
  half = len(files) // 2
  for name, part in (("z", files[half:]), ("a", files[:half])):
    path = tmp_path / f"{name}.tar"
    path.write_bytes(corpora.make_tar(dict(part)))
  made.curate([tmp_path / "pool"], tmp_path / "of_folder")
  made.curate([tmp_path / "z.tar", tmp_path / "a.tar"], tmp_path / "of_tars")
  expected = made.contents(tmp_path / "of_folder")
  assert made.contents(tmp_path / "of_tars") == expected
  # What is curated already loses nothing but what was left out.
  made.curate([tmp_path / "of_tars" / "corpus"], tmp_path / "again")
  assert names(tmp_path / "again") == names(tmp_path / "of_tars")


def test_a_hash_takes_down_an_image_and_what_is_near(tmp_path, capsys):
  made.write_pool(tmp_path / "pool", range(10))
  made.curate([tmp_path / "pool"], tmp_path / "out")
  listed = frozenset([hash_file(tmp_path / "pool" / "004.jpg")])
  settings = made.make_settings(takedown=listed)
  capsys.readouterr()
  manifest = made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  out = capsys.readouterr().out
  assert "9 records: 0 new, 1 removed, 9 as before" in out
  assert not [name for name in names(tmp_path / "out") if "004" in name]
  by_reason = manifest["rejected"]["by_reason"]
  assert by_reason["taken down"] == by_reason["near a taken down image"] == 1
  settings = dataclasses.replace(settings, takedown_near=False)
  made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  assert "a 004.jpg" in names(tmp_path / "out")


def test_balance_caps_clusters_and_is_of_the_seed(tmp_path):
  made.write_pool(tmp_path / "pool", range(30, 60))
  settings = made.balanced(10)
  manifest = made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  line = manifest["curation"]["funnel"][-1]
  assert (line["stage"], line["in"], line["kept"]) == ("balance", 30, 10)
  made.curate([tmp_path / "pool"], tmp_path / "again", settings)
  assert made.contents(tmp_path / "out") == made.contents(tmp_path / "again")


def test_a_later_pass_scores_survivors_alone(tmp_path):
  made.write_pool(tmp_path / "pool", range(6))
  made.picture(50).point(lambda level: level // 16).save(
    tmp_path / "pool" / "dark.png"
  )
  first = (make_scorer("quality"), make_scorer("hashes"))
  mean = deciding.Limit("made_mean", high=127)
  settings = made.make_settings(passes=(first, (made.Scorer(),)))
  settings = dataclasses.replace(settings, limits=(*settings.limits, mean))
  engine = made.InProcess()
  manifest = made.curate(
    [tmp_path / "pool"], tmp_path / "out", settings, on=engine
  )
  together = made.make_settings(limits=settings.limits)
  made.curate([tmp_path / "pool"], tmp_path / "one_pass", together)
  assert names(tmp_path / "out") == names(tmp_path / "one_pass")
  stages = [line["stage"] for line in manifest["curation"]["funnel"]]
  assert stages == ["decode", "quality", "decode", "made", "exact", "near"]
  rows = parquet.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
  (dark,) = [row for row in rows if row["name"] == "dark.png"]
  assert dark["made_mean"] is None
  assert dark["decision"] == "quality_brightness below 20"


def test_a_kill_while_packing_is_continued(tmp_path):
  made.write_pool(tmp_path / "pool", range(20))
  made.curate([tmp_path / "pool"], tmp_path / "expected")

  class Dying(made.InProcess):
    def map_units(self, job, units):
      if type(job).__name__ == "PackShards":
        super().map_units(job, units[:1])
        raise KeyboardInterrupt
      return super().map_units(job, units)

  with pytest.raises(KeyboardInterrupt):
    made.curate([tmp_path / "pool"], tmp_path / "out", on=Dying())
  assert not (tmp_path / "out" / "corpus").exists()
  engine = made.InProcess()
  made.curate([tmp_path / "pool"], tmp_path / "out", on=engine)
  assert engine.num_units == 2  # Of three shards.
  assert made.contents(tmp_path / "out") == made.contents(tmp_path / "expected")
  found = {path.name for path in (tmp_path / "out").iterdir()}
  assert not [name for name in found if name.startswith("packing")]


def test_an_image_that_changes_before_it_is_packed_is_named(tmp_path):
  made.write_pool(tmp_path / "pool", [1, 2])
  path = tmp_path / "pool" / "002.jpg"

  class Late(made.InProcess):
    def map_units(self, job, units):
      if type(job).__name__ == "PackShards":
        shutil.copy(tmp_path / "pool" / "001.jpg", path)
      return super().map_units(job, units)

  with pytest.raises(OSError, match=r"002\.jpg: has other bytes"):
    made.curate([tmp_path / "pool"], tmp_path / "out", on=Late())


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"best": ("size",)}, "size: no such column, expected one of"),
    ({"limits": (deciding.Limit("made_vector"),)}, "made_vector: list"),
    ({"passes": ((made.Scorer(),),), "limits": ()}, "hashes_pdq: no such"),
    ({"passes": ((made.Scorer(),) * 2,)}, "made, made: expected each one once"),
  ],
)
def test_settings_that_do_not_fit_the_scorers(tmp_path, changes, message):
  made.write_pool(tmp_path / "pool", [1])
  settings = made.make_settings(**changes)
  with pytest.raises(ValueError, match=message):
    made.curate([tmp_path / "pool"], tmp_path / "out", settings)


def test_outputs_and_inputs_that_are_refused(tmp_path):
  made.write_pool(tmp_path / "pool", [1])
  with pytest.raises(ValueError, match="is not empty and no earlier output"):
    made.curate([tmp_path / "pool"], tmp_path / "pool")
  (tmp_path / "none").mkdir()
  with pytest.raises(ValueError, match="none: no images"):
    made.curate([tmp_path / "none"], tmp_path / "out")
  limit = deciding.Limit("quality_short_side", low=1000)
  settings = made.make_settings(limits=(limit,))
  with pytest.raises(ValueError, match="nothing is kept of 1 images"):
    made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  assert not manifests.is_corpus(tmp_path / "out" / "corpus")


def test_similar_embeddings_join_groups_that_hashes_found(tmp_path):
  """Scorer's vectors are of coarse levels; a turned picture has others."""
  made.write_pool(tmp_path / "pool", [4, 8])
  made.picture(4).transpose(Image.Transpose.ROTATE_180).save(
    tmp_path / "pool" / "turned.png"
  )

  class Turned(made.Scorer):
    def measure(self, image):
      corner = image.astype(np.float32)
      corner = corner[:40, :40].mean((0, 1)) + corner[-40:, -40:].mean((0, 1))
      return {"mean": 0.0, "vector": (corner - 255).tolist()}

  made.Turned, Turned.__qualname__ = Turned, "Turned"
  Turned.__module__ = made.__name__
  settings = made.make_settings(Turned())
  made.curate([tmp_path / "pool"], tmp_path / "apart", settings)
  assert len(names(tmp_path / "apart")) == 3
  near = nearness.Nearness(embedding="made_vector", min_similarity=0.9999)
  settings = dataclasses.replace(settings, near=near)
  manifest = made.curate([tmp_path / "pool"], tmp_path / "out", settings)
  assert manifest["curation"]["funnel"][-1]["rejected"] == {"near duplicate": 3}
  assert manifest["curation"]["duplicates"]["min_similarity"] == 0.9999
  assert "turned.png" in names(tmp_path / "out")  # Of most bytes.
  assert len(names(tmp_path / "out")) == 2
