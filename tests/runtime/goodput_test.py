"""Wall time is accounted for, once, over all restarts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.common import files, storage
from sapiens2_jax.runtime import goodput
from sapiens2_jax.runtime.goodput import PHASES, Ledger, Timeline


def total(ledger: Ledger) -> float:
  return sum(ledger.seconds.values())


def test_a_timeline_spends_time_on_what_was_going_on():
  now = [100.0]
  line = Timeline(clock=lambda: now[0])
  now[0] = 103.0
  line.enter("compile", 0)
  now[0] = 110.0
  line.enter("step", 0)
  now[0] = 112.0
  assert line.unchanged() == 2.0
  line.enter("save", 1)
  assert line.ledger.seconds["start"] == 3.0
  assert line.ledger.seconds["compile"] == 7.0
  assert line.ledger.seconds["step"] == 2.0
  assert line.ledger.trained == 2.0
  assert total(line.ledger) == 12.0


def test_a_restart_loses_the_steps_after_its_checkpoint():
  ledger = Ledger(started=1000.0, updated=1000.0)
  ledger.spend("step", 30.0)
  ledger.mark(10)
  ledger.spend("save", 2.0)
  ledger.spend("step", 12.0)
  ledger.resume(10, now=1050.0)
  assert ledger.seconds["step"] == 30.0
  assert ledger.seconds["lost"] == 12.0
  assert ledger.seconds["down"] == 6.0
  assert ledger.starts == 2
  assert total(ledger) == ledger.updated - ledger.started == 50.0
  # Again from the same checkpoint: nothing more is lost.
  ledger.resume(10, now=1051.0)
  assert ledger.seconds["lost"] == 12.0


def test_a_start_from_scratch_loses_everything():
  ledger = Ledger(started=0.0, updated=0.0)
  ledger.spend("step", 5.0)
  ledger.resume(0, now=5.0)
  assert ledger.seconds["lost"] == 5.0
  assert ledger.seconds["step"] == 0.0


def test_an_unknown_checkpoint_loses_nothing_that_is_known():
  ledger = Ledger(started=0.0, updated=0.0)
  ledger.spend("step", 5.0)
  ledger.resume(7, now=5.0)
  assert ledger.seconds["lost"] == 0.0


def test_only_the_newest_marks_are_kept():
  ledger = Ledger(started=0.0, updated=0.0)
  for step in range(300):
    ledger.mark(step)
  assert sorted(ledger.marks) == list(range(300 - goodput.NUM_MARKS, 300))


events = st.lists(
  st.tuples(
    st.sampled_from((*PHASES, "mark", "resume")), st.floats(0, 1e4), st.just(0)
  ),
  max_size=30,
)


@given(events)
def test_the_parts_add_up_to_the_wall_time(events):
  ledger = Ledger(started=50.0, updated=50.0)
  for number, (what, seconds, _) in enumerate(events):
    if what == "mark":
      ledger.mark(number)
    elif what == "resume":
      step = max(ledger.marks, default=0)
      ledger.resume(step, now=ledger.updated + seconds)
    else:
      ledger.spend(what, seconds)
    assert min(ledger.seconds.values()) >= 0
  wall = ledger.updated - ledger.started
  assert total(ledger) == pytest.approx(wall, abs=1e-6)


def test_a_ledger_is_read_as_it_was_written(tmp_path):
  assert goodput.load(str(tmp_path)) is None
  ledger = Ledger(started=1.0, updated=1.0)
  ledger.spend("step", 3.0)
  ledger.mark(5)
  goodput.save(ledger, str(tmp_path))
  assert goodput.load(str(tmp_path)) == ledger


@pytest.mark.parametrize(
  "damage",
  [
    b"",
    b"\0" * 50,
    b"[]",
    b'{"seconds": {}, "marks": {}}',
    b'{"started": 1, "updated": "x", "seconds": {}, "marks": {}, "starts": 1}',
    b'{"started": 1, "updated": 1, "seconds": {"step": null}, "marks": {}}',
    b'{"started": 1, "updated": 1, "seconds": {}, "marks": {"a": 1}}',
  ],
)
def test_a_damaged_ledger_is_set_aside_and_time_counted_anew(
  tmp_path, damage, caplog
):
  path = tmp_path / goodput.FILE
  path.write_bytes(damage)
  assert goodput.load(str(tmp_path)) is None
  assert not path.exists()
  assert path.with_name(f"{goodput.FILE}.damaged").read_bytes() == damage
  assert len(caplog.messages) == 1 and str(path) in caplog.text


def test_the_line_has_shares():
  ledger = Ledger(started=0.0, updated=0.0)
  ledger.spend("step", 90.0)
  ledger.spend("save", 10.0)
  assert ledger.line().startswith(
    "goodput    90% of 1m40s in 1 start; start 0%"
  )
  assert "save 10%" in ledger.line()


def test_a_bucket_keeps_the_ledger_and_what_was_damaged(caplog):
  workdir = "memory://goodput/run"
  assert goodput.load(workdir) is None
  ledger = Ledger(started=1000.0, updated=1001.0)
  goodput.save(ledger, workdir)
  assert goodput.load(workdir) == ledger
  files.write_file(f"{workdir}/goodput.json", b"{")
  assert goodput.load(workdir) is None
  assert storage.list_sizes(workdir) == {"goodput.json.damaged": 1}
  assert f"{workdir}/goodput.json: damaged" in caplog.text
  storage.remove_tree("memory://goodput")
