"""What a process is told about the others, and who counts as alive."""

import pytest
from ml_collections import ConfigDict

from sapiens2_jax.runtime import distributed, gathering
from sapiens2_jax.runtime.peers import Liveness, Peers

VARIABLES = {
  "JAX_COORDINATOR_ADDRESS": "host0:1234",
  "JAX_NUM_PROCESSES": "4",
  "JAX_PROCESS_ID": "3",
}


def settings(environ=(), **fields):
  unset = {"coordinator_address": "", "num_processes": -1, "process_id": -1}
  return distributed.settings(ConfigDict({**unset, **fields}), dict(environ))


def test_a_process_that_is_told_nothing_is_alone():
  assert settings() == {}


def test_variables_are_read_where_the_config_says_nothing():
  expected = {
    "coordinator_address": "host0:1234",
    "num_processes": 4,
    "process_id": 3,
  }
  assert settings(VARIABLES) == expected
  assert settings(VARIABLES, process_id=0) == {**expected, "process_id": 0}


@pytest.mark.parametrize("missing", list(VARIABLES))
def test_a_missing_variable_is_named(missing):
  some = {key: value for key, value in VARIABLES.items() if key != missing}
  with pytest.raises(ValueError, match=rf"but .*{missing}.* is missing"):
    settings(some)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"process_id": 4}, "process_id=4: expected 0 to num_processes - 1 = 3"),
    ({"coordinator_address": "host0"}, "host0: expected HOST:PORT"),
  ],
)
def test_values_that_do_not_fit_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    settings(VARIABLES, **fields)


def test_a_variable_that_is_no_number_is_named():
  with pytest.raises(ValueError, match="JAX_PROCESS_ID=one: expected a number"):
    settings({**VARIABLES, "JAX_PROCESS_ID": "one"})


def test_a_process_is_dead_when_its_sign_stays_the_same():
  liveness = Liveness([1, 2], timeout=10, now=0)
  assert liveness.update({1: "a"}, now=9) == {}
  # 1 was seen at 9; of 2 nothing was ever seen.
  assert liveness.update({1: "a"}, now=12) == {2: 12}
  assert liveness.update({1: "a", 2: "b"}, now=20) == {1: 11}
  assert liveness.update({1: "c", 2: "b"}, now=31) == {2: 11}


@pytest.mark.parametrize("index", [0, 1])
def test_one_process_does_what_is_no_work_for_many(monkeypatch, index):
  calls = []
  monkeypatch.setattr(distributed, "start", lambda _: calls.append("start"))
  monkeypatch.setattr(distributed, "finish", lambda: calls.append("finish"))
  monkeypatch.setattr(distributed.jax, "process_index", lambda: index)
  monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)

  def work():
    # What it reads, it reads by itself.
    calls.append("work")
    assert gathering.gather(7) == [7]
    assert gathering.by_process().share(5) == range(5)

  distributed.by_one(None, work)
  assert gathering.by_process().count == 2
  assert calls == ["start", *["work"] * (index == 0), "finish"]


class Frozen:
  """A client whose calls process 0 took and never answers."""

  def key_value_set(self, *given, **named):
    raise SystemError("is not asked here")


def beside_frozen(time, told):
  """Process 1 of two; `time[0]` is now, and `told` why it left."""
  return Peers(
    Frozen(),
    1,
    2,
    timeout=20,
    address="host0:1",
    now=lambda: time[0],
    leave=lambda *given: told.append(given),
  )


def test_a_process_0_that_does_not_answer_is_named():
  told, time = [], [0.0]
  peers = beside_frozen(time, told)
  for time[0] in range(0, 22, 2):
    peers.look_for_answers()
  assert not told
  time[0] = 24.0
  peers.look_for_answers()
  ((message, code),) = told
  assert code == 1
  assert message.startswith(
    "process 0 (coordinator at host0:1) did not answer for 24 s"
  )


def test_a_process_that_was_frozen_itself_blames_nobody():
  told, time = [], [0.0]
  peers = beside_frozen(time, told)
  peers.look_for_answers()
  for time[0] in (300.0, 302.0):
    peers.look_for_answers()
  assert not told
