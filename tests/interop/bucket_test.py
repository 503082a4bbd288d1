"""What reads a run reads one in a bucket: weights, exports, reports."""

import jax
import numpy as np
import pytest

from data_pipelines.common import storage
from sapiens2_jax.interop import exports, integrity, weights
from sapiens2_jax.interop.load import load_pretrained
from sapiens2_jax.interop.parts import open_parts
from sapiens2_jax.report import facts
from sapiens2_jax.report.contents import Contents
from sapiens2_jax.report.page import Verdict
from sapiens2_jax.report.run import read_run
from sapiens2_jax.report.writing import write_report
from sapiens2_jax.training import writers
from sapiens2_jax.training.state import by_path
from sapiens2_jax.validation import read_config
from tests import tiny
from tests.data_pipelines import fake_bucket
from tests.data_pipelines.fake_bucket import read_all
from tests.interop import runs

RUN = "gs://runs/a"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """The directory that the bucket is of; a/ is a run of a few rows."""
  root = tmp_path_factory.mktemp("bucket")
  with fake_bucket.serving(root):
    runs.write_run(RUN)
    rows = writers.Writers(RUN, 0)
    for step in range(5):  # The checkpoint is of step 3.
      rows.write_metrics(step, {"loss": 1.0 / (step + 1)})
      rows.write_speed(step, {"step_seconds": 1.0, "images_per_second": 8.0})
    rows.sync()
    rows.close()
    yield root


def test_weights_and_exports_are_those_of_a_copy_on_a_disk(root, tmp_path):
  assert weights.find_weights(RUN).description == f"{RUN}, step 3, teacher"
  _, params = load_pretrained(f"{RUN}/")
  expected = runs.as_numpy(runs.toy_params())
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  written = []
  for number, path in enumerate((RUN, f"{RUN}/checkpoints/3", root / "a")):
    found, output = weights.find_weights(path), tmp_path / str(number)
    request = exports.make_request(found, "reference", None)
    name = exports.write_export(
      output, found, weights.read_weights(found), request
    )
    assert exports.find_damage(output, request) == []
    written.append((output / name).read_bytes())
  assert written[0] == written[1] == written[2]


def export(output, source=RUN, kind="transformers", **options) -> dict:
  """Returns the request."""
  found = weights.find_weights(source)
  request = exports.make_request(found, kind, None)
  exports.check_output(output, kind)
  read = weights.read_weights(found)
  exports.write_export(output, found, read, request, **options)
  return request


def assert_loaded(place: str) -> None:
  _, params = load_pretrained(place)
  expected = runs.as_numpy(runs.toy_params())
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_an_export_in_a_bucket_is_the_one_on_a_disk(root, tmp_path):
  place = "gs://runs/export"
  request = export(place, shard_bytes=2 * 2**20)
  export(str(tmp_path / "export"), shard_bytes=2 * 2**20)
  assert read_all(root / "export") == read_all(tmp_path / "export")
  assert len([*(root / "export").glob("*.safetensors")]) > 1
  assert not (root / ".export.lock").exists()
  assert exports.find_damage(place, request) == []
  assert_loaded(place)
  with pytest.raises(ValueError, match="no earlier export of format reference"):
    exports.check_output(place, "reference")

  shard = min((root / "export").glob("*.safetensors"))
  data = bytearray(shard.read_bytes())
  data[-1] ^= 1
  shard.write_bytes(data)
  assert f"{place}/{shard.name}: SHA-256 is" in "".join(
    exports.find_damage(place, request)
  )
  with pytest.raises(ValueError, match=f"{place}/{shard.name}: SHA-256 is"):
    load_pretrained(place)
  # Fewer shards: the others go, what export did not write stays.
  (root / "export" / "mine.txt").write_text("mine")
  request = export(place)
  assert exports.find_damage(place, request) == []
  assert {path.name for path in (root / "export").iterdir()} == {
    *("README.md", "config.json", "export.json", "mine.txt"),
    *("model.safetensors", "preprocessor_config.json"),
  }
  assert_loaded(place)


def test_a_file_in_a_bucket_is_imported_to_one(root):
  export("gs://runs/released", kind="reference")
  (root / "released" / "export.json").unlink()
  file = "sapiens2_toy_pretrain.safetensors"
  source, place = f"gs://runs/released/{file}", "gs://runs/import"
  for _ in range(2):
    found = weights.find_weights(source)
    weights.write_import(place, weights.read_weights(found), found)
    marker = integrity.read_marker(place, weights.IMPORT_MARKER)
    assert {*storage.find(place)} == {*marker["files"], weights.IMPORT_MARKER}
  assert weights.find_weights(place).kind == "import"
  assert_loaded(place)
  config = tiny.load_config("model.size=toy", f"model.init_from={place}/")
  parts = open_parts(config)
  expected = by_path({"params": {"encoder": runs.toy_params()}})
  assert {n: x.shape for n, x in parts.arrays.items()} == {
    n: x.shape for n, x in expected.items()
  }
  storage.upload(root / "released" / file, f"{place}/other")
  with pytest.raises(ValueError, match=f"{place}: holds other, which no"):
    weights.check_import_output(place)
  storage.remove(f"{place}/other")
  (root / "released" / file).rename(root / "released" / "model.pth")
  with pytest.raises(ValueError, match="gs://runs/released/model.pth: a pick"):
    load_pretrained("gs://runs/released")


def test_what_is_killed_while_it_is_uploaded_is_taken_for_nothing(
  root, monkeypatch
):
  """The second export differs in half of its files."""
  place = "gs://runs/killed"
  export(place, shard_bytes=2 * 2**20)
  runs.write_run("gs://runs/other", "seed=1")
  real, left = storage.transfer, []

  def transfer(source, target, advance):
    if place in str(target) and "lock" not in str(target):
      if not left:
        raise OSError("killed")
      left.pop()
    real(source, target, advance)

  for count in range(4):
    monkeypatch.setattr(storage, "transfer", transfer)
    left[:] = [None] * count
    with pytest.raises(OSError, match="killed"):
      export(place, "gs://runs/other", shard_bytes=3 * 2**20)
    monkeypatch.setattr(storage, "transfer", real)
    if count:
      with pytest.raises(ValueError, match="export again"):
        load_pretrained(place)
    else:
      assert_loaded(place)
  export(place, shard_bytes=2 * 2**20)
  assert_loaded(place)
  wanted = integrity.read_marker(place, exports.MARKER)["files"]
  assert {*storage.find(place)} == {*wanted, exports.CARD, exports.MARKER}


def test_a_fingerprint_tells_another_checkpoint(root):
  first = weights.find_weights(RUN).fingerprint
  assert weights.find_weights(RUN).fingerprint == first
  runs.write_run("gs://runs/other", "seed=1")
  assert weights.find_weights("gs://runs/other").fingerprint != first


def test_what_is_no_run_is_named(root):
  with pytest.raises(ValueError, match="gs://runs/none: no such file or dir"):
    weights.find_weights("gs://runs/none")
  with pytest.raises(ValueError, match="gs://runs/none: no such directory"):
    read_run("gs://runs/none", read_config)


def test_a_report_is_read_from_and_written_to_the_bucket(root, capsys):
  run = read_run(f"{RUN}/", read_config)
  assert [row["step"] for row in run.metrics] == [0, 1, 2]
  assert run.step == 3 and run.saved.endswith(" UTC")
  contents = Contents(
    title="a run",
    verdict=Verdict("It has learned."),
    highlights=None,
    experiment="pretrain:size=toy",
    facts=[],
    sections=[],
    notes={},
    commands=[],
    credits=[],
    missing="",
    can_export=True,
  )
  page = write_report(run, contents)
  assert page == f"{RUN}/report/index.html"
  assert "a run" in storage.read_bytes(page).decode()
  assert (root / "a" / "report" / "summary.json").exists()
  assert not (root / "a" / ".report.lock").exists()
  lines = [command for _, command in facts.next_commands(run, contents)]
  assert f"--checkpoint {RUN} --format transformers --output a/export" in (
    "\n".join(lines)
  )
