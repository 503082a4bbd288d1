"""How often to save: what the formula says, and the same in all processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapiens2_jax.runtime import save_schedule
from sapiens2_jax.runtime.save_schedule import SaveSchedule

DAY = 86400.0


def test_the_interval_is_youngs():
  # A save of 5 s and a failure a day: 929.5 s.
  found = save_schedule.derived_seconds(5.0, 20.0, DAY)
  assert found == pytest.approx(929.516, abs=1e-3)


def waste(interval: float, cost: float, mtbf: float) -> float:
  """Share of time lost: to saves, and to half an interval a failure."""
  return cost / interval + interval / 2 / mtbf


@given(st.floats(0.1, 50), st.floats(3600, 30 * DAY))
def test_no_other_allowed_interval_wastes_less(cost, mtbf):
  best = save_schedule.derived_seconds(cost, 0.0, mtbf)
  at_best = waste(best, cost, mtbf)
  # Above the time that one save takes, within the bounds.
  for other in (60.0, best / 1.1, best * 1.1, 3600.0):
    if 60 <= other <= 3600 and other >= 1.25 * cost:
      assert at_best <= waste(other, cost, mtbf) * (1 + 1e-9)


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(1, 1e8))
def test_the_interval_is_bounded_and_leaves_time_to_write(cost, written, mtbf):
  found = save_schedule.derived_seconds(cost, written, mtbf)
  assert found >= 60
  assert found > cost + written
  assert found <= max(3600, 1.25 * (cost + written))


@given(st.floats(1e-6, 1e5))
def test_steps_are_whole_and_at_least_one(step_seconds):
  found = save_schedule.derived_steps(5.0, 1.0, DAY, step_seconds)
  assert isinstance(found, int) and found >= 1


def make(start=0, share=lambda name, value: value, **fields):
  defaults = {"every": 0, "keep_every": 10_000, "mtbf": DAY}
  return SaveSchedule(start, share=share, **{**defaults, **fields})


def due_steps(schedule, steps):
  return [step for step in steps if schedule.is_due(step)]


def test_a_fixed_interval_ignores_what_saves_cost():
  schedule = make(every=5, keep_every=12)
  assert due_steps(schedule, range(1, 25)) == [5, 10, 12, 15, 20, 24]
  schedule.saved(5, cost=1e3, written=1e3, trained=1.0)
  assert due_steps(schedule, range(6, 16)) == [10, 12, 15]


def test_a_derived_interval_begins_with_a_trial_and_follows_the_cost(capsys):
  schedule = make(start=1000)
  assert due_steps(schedule, range(1001, 1101)) == [1100]
  # 100 steps of 2 s; a save of 5 s: 929.5 s are 465 steps.
  schedule.saved(1100, cost=5.0, written=0.0, trained=200.0)
  assert due_steps(schedule, range(1101, 1566)) == [1565]
  assert "the next in 465 steps" in capsys.readouterr().out
  # 465 steps of 4 s, and a save that grew: sqrt(2 * 20 * DAY) are 1859 s.
  schedule.saved(1565, cost=20.0, written=9.0, trained=200.0 + 465 * 4)
  assert due_steps(schedule, range(1566, 2031)) == [2030]


def test_steps_that_take_another_time_are_looked_at_anew():
  schedule = make(start=1000, trained=500.0)
  schedule.saved(1100, cost=5.0, written=0.0, trained=700.0)
  schedule.begin(1200, 900.0)
  assert due_steps(schedule, range(1201, 1301)) == [1300]
  # 100 steps of 20 s, whatever they took before.
  schedule.saved(1300, cost=5.0, written=0.0, trained=2900.0)
  assert due_steps(schedule, range(1301, 1347)) == [1346]


def test_all_processes_take_the_interval_of_process_0():
  shared = {}
  first = make(share=shared.setdefault)
  second = make(share=shared.setdefault)
  first.saved(100, cost=5.0, written=0.0, trained=200.0)
  second.saved(100, cost=50.0, written=40.0, trained=900.0)
  steps = range(101, 2000)
  assert due_steps(first, steps) == due_steps(second, steps)
  assert shared == {"save_interval/100": 465}
