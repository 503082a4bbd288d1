"""What an export directory holds, keeps, and says of itself."""

import hashlib
import json
import os
import pathlib
import re
import shutil

import pytest

from sapiens2_jax.interop import exports, shards, tensors, weights
from tests.interop import runs, samples
from tests.interop.samples import TOY


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return str(runs.write_run(tmp_path_factory.mktemp("run")))


def _export(source, output, kind="transformers", dtype=None, limit=None):
  found = weights.find_weights(source)
  request = exports.make_request(found, kind, dtype)
  exports.check_output(str(output), kind)
  exports.write_export(
    str(output),
    found,
    weights.read_weights(found),
    request,
    limit or shards.SHARD_BYTES,
  )
  return request


def _names(path):
  return {p.name for p in path.iterdir()}


ALONE = {
  *("README.md", "config.json", "export.json", "model.safetensors"),
  "preprocessor_config.json",
}


def test_each_file_has_its_hash_and_no_directory_is_named(tmp_path, workdir):
  request = _export(workdir, tmp_path / "out", limit=3_000_000)
  text = (tmp_path / "out" / "export.json").read_text()
  marker = json.loads(text)
  written = _names(tmp_path / "out") - {"README.md", "export.json"}
  assert set(marker["files"]) == set(marker["sha256"]) == written
  assert len([name for name in written if name.startswith("model-")]) == 4
  for name in written:
    data = (tmp_path / "out" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == marker["sha256"][name]
    assert len(data) == marker["files"][name]
  assert marker["request"] == request
  assert request["source"] == pathlib.Path(workdir).name
  for file in ("export.json", "README.md"):
    text = (tmp_path / "out" / file).read_text()
    assert str(tmp_path.parent) not in text and os.getcwd() not in text


def test_it_is_done_while_all_files_are_whole(tmp_path, workdir):
  output = tmp_path / "out"
  request = _export(workdir, output, limit=3_000_000)
  assert exports.find_damage(str(output), request) == []
  assert exports.find_damage(str(output), {**request, "dtype": "x"}) is None
  card = output / "README.md"
  card.write_text("mine")
  assert exports.find_damage(str(output), request) == []
  card.unlink()
  assert exports.find_damage(str(output), request)
  card.write_text("mine")
  for shard in sorted(output.glob("model-*.safetensors")):
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    assert exports.find_damage(str(output), request)
    shard.write_bytes(data)
  assert exports.find_damage(str(output), request) == []


def test_other_files_stay_and_old_shards_go(tmp_path, workdir):
  output = tmp_path / "out"
  (output / ".git").mkdir(parents=True)
  (output / ".git" / "HEAD").write_text("main")
  (output / "notes.txt").write_text("mine")
  _export(workdir, output, limit=3_000_000)
  assert len(list(output.glob("model-*.safetensors"))) == 4
  _export(workdir, output)
  assert _names(output) == ALONE | {".git", "notes.txt"}
  assert (output / ".git" / "HEAD").read_text() == "main"
  assert (output / "notes.txt").read_text() == "mine"
  _export(workdir, output, limit=3_000_000)
  assert not (output / "model.safetensors").exists()
  assert (output / tensors.INDEX_NAME).exists()


def test_an_edited_card_stays(tmp_path, workdir):
  output = tmp_path / "out"
  card = output / "README.md"

  def noted():
    return json.loads((output / "export.json").read_text())["card"]

  _export(workdir, output)
  assert noted() == hashlib.sha256(card.read_bytes()).hexdigest()
  _export(workdir, output, dtype="bfloat16")
  assert "bfloat16" in card.read_text() and noted()
  card.write_text("mine")
  for _ in range(2):
    _export(workdir, output)
    assert card.read_text() == "mine" and noted() is None
  card.unlink()
  _export(workdir, output)
  assert "float32" in card.read_text() and noted()


@pytest.mark.parametrize(
  "name", ["model.safetensors", "other.safetensors", "config.json"]
)
def test_files_of_others_are_not_replaced(tmp_path, workdir, name):
  output = tmp_path / "out"
  output.mkdir()
  (output / name).write_text("{}")
  with pytest.raises(ValueError, match=f"holds {name}, which export did not"):
    _export(workdir, output)
  assert _names(output) == {name}


def test_another_format_goes_elsewhere(tmp_path, workdir):
  _export(workdir, tmp_path / "out")
  with pytest.raises(ValueError, match="no earlier export of format reference"):
    exports.check_output(str(tmp_path / "out"), "reference")
  (tmp_path / "out" / "export.json").write_text("{")
  with pytest.raises(ValueError, match="export.json: cannot be read"):
    exports.check_output(str(tmp_path / "out"), "transformers")
  file = tmp_path / "file"
  file.write_text("")
  with pytest.raises(ValueError, match="is a file"):
    exports.check_output(str(file), "reference")


def test_exports_of_earlier_versions_are_replaced(tmp_path, workdir):
  output = tmp_path / "out"
  _export(workdir, output)
  marker = json.loads((output / "export.json").read_text())
  del marker["card"], marker["sha256_of_this"]
  name = "model.safetensors"
  marker["sha256"] = {name: marker["sha256"][name]}
  marker["request"]["source"] = os.path.abspath(workdir)
  (output / "export.json").write_text(json.dumps(marker))
  (output / "README.md").unlink()
  request = _export(workdir, output)
  assert (
    exports.find_damage(str(output), request) == [] and _names(output) == ALONE
  )


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_full_disk_is_an_error_before_anything_is_written(
  tmp_path, monkeypatch, command
):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with pytest.raises(OSError, match="out: needs 0.01 GB, its disk has 0.01"):
    if command == "export":
      _export(file, tmp_path / "out")
    else:
      found = weights.find_weights(file)
      loaded = weights.read_weights(found)
      weights.write_import(str(tmp_path / "out"), loaded, found)
  assert _names(tmp_path) == {"toy.safetensors"}


def _flip(path, at=-1, bit=1):
  data = bytearray(path.read_bytes())
  data[at] ^= bit
  path.write_bytes(data)


def test_a_flipped_bit_of_an_export_is_found_and_mended(tmp_path, workdir):
  output = tmp_path / "out"
  request = _export(workdir, output)
  for name in ("model.safetensors", "config.json"):
    _flip(output / name)
    (problem,) = exports.find_damage(str(output), request)
    assert problem.startswith(f"{output / name}: SHA-256 is ")
    with pytest.raises(ValueError, match=f"{name}: SHA-256.*export again"):
      weights.read_weights(weights.find_weights(output))
    _export(workdir, output)
    assert exports.find_damage(str(output), request) == []
  weights.read_weights(weights.find_weights(output))
  # Beside weights of others the marker says nothing.
  (output / "model.safetensors").rename(tmp_path / "alone.safetensors")
  _flip(tmp_path / "alone.safetensors")
  weights.read_weights(weights.find_weights(tmp_path / "alone.safetensors"))


@pytest.mark.parametrize("name", ["export.json", "weights.json"])
def test_an_edited_marker_is_refused(tmp_path, workdir, name):
  output = tmp_path / "out"
  if name == "export.json":
    _export(workdir, output)
  else:
    file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
    found = weights.find_weights(file)
    weights.write_import(str(output), weights.read_weights(found), found)
  text = (output / name).read_bytes()
  edited = re.sub(rb'("image_size": \[\s*\d*)\d', rb"\g<1>7", text)
  assert edited != text
  for damaged, message in (
    (edited, "its SHA-256 is not the one in it"),
    (text[:-9], "cannot be read"),
    (b"[" * 100_000, "cannot be read"),
    (b"[]", "expected a JSON object"),
  ):
    (output / name).write_bytes(damaged)
    with pytest.raises(ValueError, match=f"{output / name}: {message}"):
      weights.read_weights(weights.find_weights(output))
  (output / name).write_bytes(b"\xef\xbb\xbf" + text)  # A byte order mark.
  weights.read_weights(weights.find_weights(output))


def test_an_import_deletes_no_file_of_others(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  found = weights.find_weights(file)
  loaded, output = weights.read_weights(found), tmp_path / "out"
  weights.write_import(str(output), loaded, found)
  weights.write_import(str(output), loaded, found)
  (output / "notes.txt").write_text("mine")
  with pytest.raises(ValueError, match="out: holds notes.txt, which no import"):
    weights.write_import(str(output), loaded, found)
  assert (output / "notes.txt").read_text() == "mine"


def test_a_flipped_bit_of_an_import_is_found(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  found = weights.find_weights(file)
  weights.write_import(
    str(tmp_path / "out"), weights.read_weights(found), found
  )
  params = tmp_path / "out" / "params"
  listed = json.loads((params.parent / "weights.json").read_text())["files"]
  assert {*listed} == {
    p.relative_to(params.parent).as_posix()
    for p in params.rglob("*")
    if p.is_file()
  }
  largest = max(params.rglob("*"), key=lambda p: p.stat().st_size)
  _flip(largest, at=largest.stat().st_size // 2)
  with pytest.raises(ValueError, match=f"{largest}: SHA-256.*import again"):
    weights.read_weights(weights.find_weights(params.parent))
  marker = params.parent / "weights.json"
  marker.write_text(marker.read_text().replace("sha256", "wha256", 1))
  with pytest.raises(ValueError, match="weights.json: damaged .*import again"):
    weights.read_weights(weights.find_weights(params.parent))
