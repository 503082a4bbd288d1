import json
import os
import pathlib
import shutil

import pytest

from data_pipelines.common import directories
from data_pipelines.common.files import write_json


def _names(path):
  return sorted(p.name for p in path.iterdir())


def test_output_appears_whole(tmp_path):
  output = tmp_path / "new" / "out"
  with directories.replaced(output) as path:
    (path / "a").write_text("1")
    assert not output.exists()
  assert _names(output) == ["a"] and _names(tmp_path / "new") == ["out"]


def test_output_is_replaced_not_merged(tmp_path):
  output = tmp_path / "out"
  for name in ("a", "b"):
    with directories.replaced(output) as path:
      (path / name).write_text("1")
  assert _names(output) == ["b"] and _names(tmp_path) == ["out"]


def test_a_failing_block_leaves_what_was_there(tmp_path):
  output = tmp_path / "out"
  with directories.replaced(output) as path:
    (path / "a").write_text("1")
  with pytest.raises(KeyboardInterrupt):
    with directories.replaced(output) as path:
      (path / "b").write_text("1")
      raise KeyboardInterrupt
  assert _names(output) == ["a"] and _names(tmp_path) == ["out"]


def test_remains_of_a_killed_writer_are_cleaned_up(tmp_path):
  (tmp_path / ".out.partial").mkdir()
  (tmp_path / ".out.previous").mkdir()
  (tmp_path / ".out.previous" / "a").write_text("1")
  with pytest.raises(OSError):
    with directories.replaced(tmp_path / "out"):
      raise OSError
  # The older output, moved aside by the killed writer, is back.
  assert _names(tmp_path) == ["out"] and _names(tmp_path / "out") == ["a"]


def test_foreign_directories_are_refused(tmp_path):
  check = directories.check_output
  check(tmp_path, "m.json", kind="x")
  check(tmp_path / "none", "m.json", kind="x")
  write_json(tmp_path / "m.json", {"kind": "x"})
  check(tmp_path, "m.json", kind="x")
  with pytest.raises(ValueError, match="is not empty"):
    check(tmp_path, "m.json", kind="y")
  (tmp_path / "m.json").write_text("{")
  with pytest.raises(ValueError, match="is not empty"):
    check(tmp_path, "m.json", kind="x")
  with pytest.raises(ValueError, match="is a file"):
    check(tmp_path / "m.json", "m.json", kind="x")


def _update(output, **contents):
  with directories.updated(output, "m.json") as path:
    for name, text in contents.items():
      (path / name).write_text(text)
    sizes = {name: len(text) for name, text in contents.items()}
    _write_plainly(path / "m.json", {"files": sizes})


def _write_plainly(path, value):
  pathlib.Path(path).write_text(json.dumps(value))


def test_an_update_replaces_what_it_listed_and_keeps_the_rest(tmp_path):
  output = tmp_path / "out"
  _update(output, a="1", b="1")
  (output / "mine").write_text("mine")
  (output / ".git").mkdir()
  _update(output, b="22", c="22")
  assert _names(output) == [".git", "b", "c", "m.json", "mine"]
  assert (output / "b").read_text() == "22"
  assert directories.read_marker(output, "m.json")["files"] == {"b": 2, "c": 2}
  assert _names(tmp_path) == ["out"]


def test_a_failing_update_changes_nothing(tmp_path):
  output = tmp_path / "out"
  _update(output, a="1")
  with pytest.raises(KeyboardInterrupt):
    with directories.updated(output, "m.json") as path:
      (path / "b").write_text("1")
      raise KeyboardInterrupt
  assert _names(output) == ["a", "m.json"] and _names(tmp_path) == ["out"]


def test_an_update_that_is_killed_while_it_moves_says_so(tmp_path, monkeypatch):
  output = tmp_path / "out"
  _update(output, a="1", b="1")

  replace = os.replace

  def kill(source, target):
    if not str(target).endswith(".lock"):
      raise KeyboardInterrupt
    replace(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", kill)
    patch.setattr(directories.files, "write_json", _write_plainly)
    with pytest.raises(KeyboardInterrupt):
      _update(output, b="22", c="22")
  marker = directories.read_marker(output, "m.json")
  assert marker["files"] == {"a": None, "b": None, "c": None}
  _update(output, c="3")
  assert _names(output) == ["c", "m.json"]


def test_an_update_removes_nothing_elsewhere(tmp_path):
  (tmp_path / "mine").write_text("mine")
  output = tmp_path / "out"
  _update(output, a="1")
  write_json(output / "m.json", {"files": {"../mine": 1, "a": 1}})
  _update(output, b="1")
  assert _names(tmp_path) == ["mine", "out"]
  assert _names(output) == ["b", "m.json"]


def test_a_full_disk_is_noticed_before(tmp_path, monkeypatch):
  directories.check_free(tmp_path / "not" / "yet", 1000)
  usage = shutil.disk_usage(tmp_path)._replace(free=1_500_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  directories.check_free(tmp_path, 1_500_000_000)
  with pytest.raises(OSError, match="needs 2.50 GB, its disk has 1.50 GB"):
    directories.check_free(tmp_path / "not" / "yet", 2_500_000_000)
