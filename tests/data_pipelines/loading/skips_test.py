import json

import pytest

from data_pipelines.loading import skips


def _bad(number, reason="truncated"):
  return skips.Skipped(f"{number}.jpg", reason, "detail")


def test_each_skipped_image_is_one_line_of_the_file(tmp_path):
  path = tmp_path / "skipped.jsonl"
  monitor = skips.SkipMonitor(path, max_skipped_fraction=1.0)
  monitor.update(4, 8, [_bad(1), _bad(2, "empty file")])
  monitor.update(5, 8, [])
  monitor.update(6, 8, [_bad(3)])
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(line["step"], line["name"]) for line in lines] == [
    (4, "1.jpg"),
    (4, "2.jpg"),
    (6, "3.jpg"),
  ]
  assert lines[1]["reason"] == "empty file" and lines[1]["detail"] == "detail"
  assert monitor.counts == {"truncated": 2, "empty file": 1}


def test_a_clean_run_writes_no_file(tmp_path):
  monitor = skips.SkipMonitor(tmp_path / "s.jsonl", max_skipped_fraction=0.0)
  monitor.update(0, 1000, [])
  assert not (tmp_path / "s.jsonl").exists()


def test_too_many_skipped_says_how_many_why_and_where(tmp_path):
  path = tmp_path / "skipped.jsonl"
  monitor = skips.SkipMonitor(path, max_skipped_fraction=0.1)
  monitor.update(0, 90, [_bad(i) for i in range(8)])
  with pytest.raises(skips.TooManySkipped) as caught:
    monitor.update(1, 10, [_bad(i, "empty file") for i in range(8, 12)])
  message = str(caught.value)
  assert message == (
    "step 1: 12 of 112 images could not be used (10.7%, max_skipped_fraction="
    "10.0%): 8 truncated, 4 empty file; for example 0.jpg, 1.jpg, 2.jpg. "
    f"All are listed in {path}."
  )
  assert len(path.read_text().splitlines()) == 12


def test_the_limit_itself_is_allowed(tmp_path):
  monitor = skips.SkipMonitor(tmp_path / "s.jsonl", max_skipped_fraction=0.1)
  monitor.update(0, 90, [_bad(i) for i in range(10)])


def test_few_reads_never_stop_a_run(tmp_path):
  monitor = skips.SkipMonitor(tmp_path / "s.jsonl", max_skipped_fraction=0.0)
  monitor.update(0, skips.MIN_EXAMPLES - 2, [_bad(0)])
  with pytest.raises(skips.TooManySkipped):
    monitor.update(1, 0, [_bad(1)])


def test_a_resumed_run_does_not_list_a_step_twice(tmp_path):
  path = tmp_path / "skipped.jsonl"
  monitor = skips.SkipMonitor(path, max_skipped_fraction=1.0)
  for step in range(4):
    monitor.update(step, 8, [_bad(step)])
  once = path.read_text()
  with path.open("a") as file:
    file.write('{"step": 4, "na')  # Killed while writing.
  monitor = skips.SkipMonitor(path, max_skipped_fraction=1.0, start_step=2)
  for step in range(2, 4):
    monitor.update(step, 8, [_bad(step)])
  assert path.read_text() == once


def test_a_fraction_out_of_range_is_refused(tmp_path):
  with pytest.raises(ValueError, match="max_skipped_fraction=1.5"):
    skips.SkipMonitor(tmp_path / "s.jsonl", max_skipped_fraction=1.5)
