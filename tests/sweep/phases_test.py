"""Experiments of several commands."""

import os

import pytest

from sapiens2_jax.sweep import phases as phases_lib
from sapiens2_jax.sweep.phases import Phase, run_phases, synthetic_people


def test_a_failed_phase_ends_it_and_done_ones_are_left(tmp_path, capfd):
  done = tmp_path / "done"
  done.touch()
  phases = [
    Phase("first", ("-c", "print('works')")),
    Phase("second", ("-c", "raise SystemExit(9)"), str(done)),
    Phase("third", ("-c", "raise SystemExit(3)")),
    Phase("fourth", ("-c", "print('never')")),
  ]
  with pytest.raises(ValueError, match="exit code 3 .*continues"):
    run_phases(phases)
  shown = capfd.readouterr().out
  assert "works" in shown and "2/4 second: done" in shown
  assert "never" not in shown


def test_what_needs_a_run_that_was_stopped_does_not_start(tmp_path, capfd):
  missing = str(tmp_path / "checkpoints" / "10")
  phase = Phase("probe", ("-c", "print('never')"), needs=missing)
  with pytest.raises(ValueError, match="10: this run was stopped; .*continues"):
    run_phases([phase])
  assert "never" not in capfd.readouterr().out


def test_a_run_that_was_stopped_ends_it(tmp_path, capfd):
  # After SIGTERM a run saves, and ends with code 0.
  missing = str(tmp_path / "checkpoints" / "10")
  stopped = Phase("train", ("-c", "pass"), missing)
  with pytest.raises(ValueError, match="10: this run was stopped; .*continues"):
    run_phases([stopped, Phase("probe", ("-c", "print('never')"))])
  assert "never" not in capfd.readouterr().out


def test_a_phase_is_done_anew_after_what_it_is_made_of(tmp_path):
  made, source = tmp_path / "made", tmp_path / "source"
  for path, time in ((source, 10), (made, 20)):
    path.touch()
    os.utime(path, (time, time))
  phase = Phase("", (), str(made), since=str(source))
  assert phase.is_done
  os.utime(source, (30, 30))
  assert not phase.is_done


def test_commands_get_large_pages_unless_told_otherwise(capfd, monkeypatch):
  code = "import os; print(os.environ['GLIBC_TUNABLES'])"
  monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
  run_phases([Phase("", ("-c", code))])
  assert "hugetlb=1" in capfd.readouterr().out
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
  run_phases([Phase("", ("-c", code))])
  assert "hugetlb=0" in capfd.readouterr().out


def test_people_are_named_by_their_folder():
  phase = synthetic_people("runs/test", 200, 2, "256x192")
  assert phase.title == "200 images of synthetic people (test)"
  given = dict(zip(phase.arguments[::2], phase.arguments[1::2]))
  assert (given["--count"], given["--seed"]) == ("200", "2")


def test_an_experiment_writes_what_it_measured(tmp_path, capfd):
  output = str(tmp_path / "runs")

  def run(code: str) -> None:
    phases_lib.run_experiment(
      "experiments/mine.py",
      lambda output: [Phase(output, ("-c", code))],
      lambda output: {
        "mine.md": f"measured in {output}".encode(),
        "mine.png": b"picture",
      },
      output,
    )

  run("pass")
  shown = capfd.readouterr().out
  assert f"measured in {output}" in shown
  assert f"results    {tmp_path / 'runs' / 'mine.md'}" in shown
  text = (tmp_path / "runs" / "mine.md").read_text()
  assert text == f"measured in {output}"
  assert (tmp_path / "runs" / "mine.png").read_bytes() == b"picture"
  with pytest.raises(phases_lib.FailedPhase, match="exit code 5") as caught:
    run("raise SystemExit(5)")
  assert caught.value.code == 5


@pytest.mark.parametrize(
  ("ours", "others", "found"),
  [
    ([2.0, 3.0], [0.0, 1.0], "better"),
    ([0.0, 1.0], [2.0, 3.0], "worse"),
    ([0.0, 2.0], [1.0, 3.0], "undecided"),
    ([1.0, 1.0], [1.0, 1.0], "undecided"),
  ],
)
def test_a_direction_needs_all_seeds(ours, others, found):
  mirrored = {"better": "worse", "worse": "better"}.get(found, found)
  assert phases_lib.compare(ours, others, higher_is_better=True) == found
  assert phases_lib.compare(ours, others, higher_is_better=False) == mirrored
