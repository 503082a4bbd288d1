"""Rows of steps go on, whatever happened to their file."""

import pytest

from data_pipelines.common import jsonl

GOOD = b'{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize(
  ("damage", "count"),
  [
    (b"\0" * 40 + b"\n", 1),
    (b"\0" * 40, 0),  # As a last line that a kill cut off.
    (b'{"step": 3\n', 1),
    (b'{"loss": 3}\n[1]\nnull\n{"step": "3"}\n{"step": true}\n', 5),
    (b'{"step": "\xff\xfe"}\n', 1),
    (b"[" * 9999 + b"\n", 1),
  ],
  ids=("zeros", "torn zeros", "torn", "no rows", "no text", "deep"),
)
def test_damaged_lines_are_left_out_said_and_kept(
  tmp_path, damage, count, caplog
):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(damage + GOOD if count else GOOD + damage)
  before = path.read_bytes()
  assert jsonl.read_steps(path) == ([{"step": 1}, {"step": 2}], count)
  jsonl.drop_rows_from(path, 2)
  assert path.read_bytes() == b'{"step": 1}\n'
  kept = tmp_path / "metrics.jsonl.damaged"
  assert kept.exists() == bool(count)
  if count:
    assert kept.read_bytes() == before
    assert [str(path) in line for line in caplog.messages] == [True]
    assert f"{count} line(s) are no rows" in caplog.text


def test_what_is_no_file_is_set_aside(tmp_path, caplog):
  path = tmp_path / "metrics.jsonl"
  (path / "inside").mkdir(parents=True)
  for _ in range(2):
    jsonl.drop_rows_from(path, 2)
    assert path.read_bytes() == b""
    assert (tmp_path / "metrics.jsonl.damaged" / "inside").is_dir()
  assert len(caplog.messages) == 1
