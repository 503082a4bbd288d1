"""benchmarks/loader_memory.py."""

from tests.benchmarks.running import run


def test_memory_is_noted_and_drawn(tmp_path):
  picture = tmp_path / "memory.png"
  found = run(
    *("benchmarks/loader_memory.py", "--batches", 300, "--picture", picture),
  )
  assert picture.read_bytes().startswith(b"\x89PNG")
  assert 50 < found["worker_mb_first"] < 1000
  # Of a billion records no list is made: a byte each would be 1000 MiB.
  assert found["worker_mb_last"] - found["worker_mb_first"] < 100
