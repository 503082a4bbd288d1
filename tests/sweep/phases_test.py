"""Experiments of several commands."""

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
    run_phases(phases, tmp_path)
  shown = capfd.readouterr().out
  assert "works" in shown and "2/4 second: done" in shown
  assert "never" not in shown


def test_what_needs_a_run_that_was_stopped_does_not_start(tmp_path, capfd):
  missing = str(tmp_path / "checkpoints" / "10")
  phase = Phase("probe", ("-c", "print('never')"), needs=missing)
  with pytest.raises(ValueError, match="10: this run was stopped; .*continues"):
    run_phases([phase], tmp_path)
  assert "never" not in capfd.readouterr().out


def test_commands_run_in_the_root(tmp_path, capfd):
  run_phases([Phase("", ("-c", "import os; print(os.getcwd())"))], tmp_path)
  assert str(tmp_path) in capfd.readouterr().out


def test_commands_get_large_pages_unless_told_otherwise(
  tmp_path, capfd, monkeypatch
):
  code = "import os; print(os.environ['GLIBC_TUNABLES'])"
  monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
  run_phases([Phase("", ("-c", code))], tmp_path)
  assert "hugetlb=1" in capfd.readouterr().out
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
  run_phases([Phase("", ("-c", code))], tmp_path)
  assert "hugetlb=0" in capfd.readouterr().out


def test_people_are_named_by_their_folder():
  phase = synthetic_people("runs/test", 200, 2, "256x192")
  assert phase.title == "200 images of synthetic people (test)"
  given = dict(zip(phase.arguments[::2], phase.arguments[1::2]))
  assert (given["--count"], given["--seed"]) == ("200", "2")


def test_the_command_of_an_experiment(tmp_path, monkeypatch, capfd):
  file = str(tmp_path / "experiments" / "mine.py")
  monkeypatch.setattr("sys.argv", [file, "--output", str(tmp_path / "runs")])

  def run(code: str) -> None:
    phases_lib.run_experiment(
      file,
      "An experiment.",
      lambda output: [Phase(output, ("-c", code))],
      lambda output: {
        "mine.md": f"measured in {output}".encode(),
        "mine.png": b"picture",
      },
    )

  run("import os; print(os.getcwd())")
  shown = capfd.readouterr().out
  assert f"\n{tmp_path}\n" in shown
  assert f"measured in {tmp_path / 'runs'}" in shown
  assert f"results    {tmp_path / 'runs' / 'mine.md'}" in shown
  text = (tmp_path / "runs" / "mine.md").read_text()
  assert text == f"measured in {tmp_path / 'runs'}"
  assert (tmp_path / "runs" / "mine.png").read_bytes() == b"picture"
  with pytest.raises(SystemExit, match="mine: exit code 5"):
    run("raise SystemExit(5)")


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
