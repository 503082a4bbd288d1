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
