"""Stories of jobs under faults; and that the simulation can tell."""

import re

import pytest

from data_pipelines.common import jsonl, locks
from sapiens2_jax.runtime import goodput, peers
from sapiens2_jax.training import verification
from tests.runtime import simulation

# Seeds that once told of a fault of ours, and what it was.
FOUND = {
  24: "a frozen holder went on when its lock was gone",
  153: "a process that froze before it took the lock",
  154: "damage of the lock counted as a sign of life",
  168: "process 0 froze before the others knew who had died",
  169: "a frozen process on the same machine was never followed",
  178: "a restart of the job was refused for ever",
  291: "an older start wrote its lock again over the damaged one of a later",
  5292: "a start that froze for seconds wrote over the lock of another",
  398: "a save was committed after a freeze",
}


@pytest.fixture(autouse=True)
def locks_settle(monkeypatch):
  monkeypatch.setattr(locks, "SETTLE", 0.2)


@pytest.mark.parametrize("seed", FOUND)
def test_a_story_that_went_wrong_once_ends_well(seed):
  assert simulation.simulate(seed)


def test_a_thousand_stories_end_well():
  assert simulation.find_violation(range(1000)) is None


@pytest.mark.slow
def test_thousands_of_stories_end_well():
  # All: python -m tests.runtime.simulation --seeds 10000
  assert simulation.find_violation(range(1000, 4000)) is None


def test_a_seed_tells_the_same_story_again():
  assert simulation.simulate(7) == simulation.simulate(7)


def _never_look(self):
  self._seen = self._clock.now()


def _keep_rows(path, step):
  """Leaves the rows after the step of a resume."""


def _oldest_first(root, skipped):
  return min(root.steps(), default=None)


def _nobody_is_silent(self, signs, now):
  return {}


def _forget_down_time(self, step, now):
  self.updated = now
  self.starts += 1


# What is broken, and in what words the simulation tells.
MUTATIONS = {
  "locks are not looked at": (
    locks.Lock,
    "_look",
    _never_look,
    "writes .* after a later one did",
  ),
  "a save is committed without a look": (
    simulation.Process,
    "check_lock",
    lambda self: None,
    "writes .* after a later one did",
  ),
  "a lock is never taken over": (
    locks,
    "STALE",
    1e9,
    "never ended|is not done",
  ),
  "a live process is taken for dead": (
    locks.Lock,
    "_has_ended",
    lambda self, text: True,
    "lived and lost its lock",
  ),
  "damage is a sign of life": (
    locks,
    "_parse",
    lambda text: (locks.Owner("a", 1), "x", "0"),
    "is not done|without a cause",
  ),
  "what was read before a freeze counts": (
    locks.Lock,
    "_read",
    lambda self: (self._clock.now(), self._disk.read(self._path)),
    "after a later one did",
  ),
  "rows are kept after a resume": (
    jsonl,
    "drop_rows_from",
    _keep_rows,
    "the record holds steps",
  ),
  "an older checkpoint is restored": (
    verification,
    "_newest_step",
    _oldest_first,
    "starts at .*, not at",
  ),
  "silent processes are not noticed": (
    peers.Liveness,
    "update",
    _nobody_is_silent,
    "did not notice",
  ),
  "the ledger forgets the time between starts": (
    goodput.Ledger,
    "resume",
    _forget_down_time,
    "the ledger is off",
  ),
}
NUM_SEEDS = 300


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_fault_in_the_modules_is_found(name, monkeypatch):
  where, attribute, broken, words = MUTATIONS[name]
  monkeypatch.setattr(where, attribute, broken)
  found = simulation.find_violation(range(NUM_SEEDS))
  assert found is not None, f"no story of {NUM_SEEDS} tells of it"
  first, *story = found.splitlines()
  assert re.search(words, first), found
  assert story[-1].endswith(first.partition(": ")[2])
