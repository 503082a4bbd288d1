"""Rows of steps go on, whatever happened to their file."""

import random

import pytest

from data_pipelines.common import files, jsonl, storage

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


@pytest.fixture
def bucket(monkeypatch):
  """A scheme that keeps all in this process; pieces are of a few rows."""
  monkeypatch.setattr(jsonl, "PIECE_BYTES", 40)
  yield "memory://rows/r.jsonl"
  storage.remove_tree("memory://rows")


@pytest.mark.parametrize("seed", range(20))
def test_kills_and_restarts_leave_the_rows_of_an_undisturbed_run(
  seed, bucket, tmp_path
):
  """In a bucket, on a disk, and where one was copied to the other."""
  rng = random.Random(seed)
  path, saved, places = bucket, 0, 0
  while saved < 30:
    if rng.random() < 0.3:  # The run goes on elsewhere.
      places += 1
      other = f"{tmp_path}/{places}/r.jsonl"
      path = _copy(path, bucket if path != bucket else other)
    jsonl.drop_rows_from(path, saved)
    rows = jsonl.Appender(path)
    for step in range(saved, 30):
      rows.write({"step": step})
      if rng.random() < 0.3:
        rows.show()
      if rng.random() < 0.3:
        rows.sync()
        saved = step + 1
      if rng.random() < 0.1:
        break  # Killed.
    else:
      rows.sync()
      saved = 30
    rows.close()
    found = [row["step"] for row in jsonl.read_steps(path)[0]]
    assert found[:saved] == [*range(saved)] and found == sorted({*found})
  jsonl.drop_rows_from(path, 30)
  assert found == [*range(30)]


def _copy(source: str, target: str) -> str:
  """Copies all pieces, and nothing else is there then."""
  directory, name = target.rsplit("/", 1)
  storage.remove_tree(directory)
  for found in storage.find(source.rsplit("/", 1)[0]):
    data = storage.read_bytes(storage.join(source.rsplit("/", 1)[0], found))
    files.write_file(storage.join(directory, found), data)
  return target


def test_what_is_written_to_a_bucket_grows_with_the_rows(bucket, monkeypatch):
  written = []
  monkeypatch.setattr(
    jsonl.files, "write_file", lambda path, data: written.append(len(data))
  )
  rows, sizes = jsonl.Appender(bucket), []
  for step in range(400):
    rows.write({"step": step})
    rows.sync()
    sizes.append(sum(written))
  assert sizes[399] < 2.3 * sizes[199] and max(written) < 60


def test_a_bucket_that_does_not_answer_is_no_damage(bucket, monkeypatch):
  rows = jsonl.Appender(bucket)
  rows.write({"step": 1})
  rows.sync()

  def fail(path):
    raise OSError(f"{path}: 503")

  with monkeypatch.context() as patched:
    patched.setattr(jsonl.storage, "read_bytes", fail)
    with pytest.raises(OSError, match="rows/r.jsonl: 503"):
      jsonl.drop_rows_from(bucket, 1)
  assert jsonl.read_steps(bucket) == ([{"step": 1}], 0)
