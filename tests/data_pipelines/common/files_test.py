import json
import os

import pytest

from data_pipelines.common import files, jsonl


def test_what_was_there_is_replaced_and_directories_are_made(tmp_path):
  path = tmp_path / "new" / "a.txt"
  for data in (b"one", b"two"):
    files.write_file(path, data)
    assert path.read_bytes() == data
  assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, kind):
  files.write_file(tmp_path / "a", b"before")
  with pytest.raises(kind), files.whole_file(tmp_path / "a") as file:
    file.write(b"half")
    raise kind
  assert os.listdir(tmp_path) == ["a"]
  assert (tmp_path / "a").read_bytes() == b"before"


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
  calls = []
  fsync, replace = os.fsync, os.replace
  monkeypatch.setattr(
    os, "fsync", lambda file: calls.append("fsync") or fsync(file)
  )
  monkeypatch.setattr(
    os, "replace", lambda *given: calls.append("replace") or replace(*given)
  )
  files.write_file(tmp_path / "a", b"data")
  assert calls == ["fsync", "replace"]


def test_a_directory_appears_whole(tmp_path):
  with files.whole_path(tmp_path / "parts") as partial:
    os.mkdir(partial)
    files.write_file(os.path.join(partial, "0"), b"0")
    assert not (tmp_path / "parts").exists()
  assert (tmp_path / "parts" / "0").read_bytes() == b"0"
  with pytest.raises(OSError), files.whole_path(tmp_path / "more") as partial:
    os.mkdir(partial)
    files.write_file(os.path.join(partial, "0"), b"0")
    raise OSError
  assert os.listdir(tmp_path) == ["parts"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
  with files.whole_file(tmp_path / "a") as first:
    first.write(b"first")
    with files.whole_file(tmp_path / "a") as second:
      second.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
  assert (tmp_path / "a").read_bytes() == b"first"


def test_only_what_killed_processes_left_is_removed(tmp_path):
  for name in (".a.7-0f.partial", "a.partial", ".a", "a"):
    (tmp_path / name).write_bytes(b"x")
  files.remove_partial(tmp_path)
  assert sorted(os.listdir(tmp_path)) == [".a", "a", "a.partial"]
  files.remove_partial("memory://bucket")  # Where nothing is ever left.


def test_json_is_readable_and_comes_back(tmp_path):
  value = {"path": "caf\udce9", "list": [1, None]}
  files.write_json(tmp_path / "a.json", value)
  text = (tmp_path / "a.json").read_text("ascii")
  assert text == json.dumps(value, indent=2) + "\n"
  assert files.read_json(tmp_path / "a.json") == value


def test_rows_of_a_step_on_are_dropped_whole(tmp_path):
  path = tmp_path / "rows.jsonl"
  path.write_text('{"step": 1}\n{"step": 2, "a": "é"}\n{"step": 3}\n{"st')
  jsonl.drop_rows_from(path, 3)
  assert path.read_text("utf-8") == '{"step": 1}\n{"step": 2, "a": "é"}\n'


@pytest.mark.parametrize("data", [b"", b"{", b"\0\0", b"\xff", b"[" * 10**5])
def test_a_file_that_is_no_json_is_named(tmp_path, data):
  (tmp_path / "a.json").write_bytes(data)
  with pytest.raises(ValueError, match="a.json: damaged: no JSON"):
    files.read_json(tmp_path / "a.json")
