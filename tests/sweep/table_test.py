import io
import re

import pytest

from sapiens2_jax.sweep import status as status_lib
from sapiens2_jax.sweep import table
from sapiens2_jax.sweep.status import Status
from tests.sweep import workdirs

WAITING = Status("waiting")
RUNNING = Status("running", 40, 1.25, 22.4, 65.0)
DONE = Status("done", 220, 0.5, 23.0)


class Terminal(io.StringIO):
  """Applies the escape codes that the table uses."""

  def isatty(self):
    return True

  def screen(self) -> list[str]:
    lines = []
    parts = re.split(r"\x1b\[(\d+)F\x1b\[J", self.getvalue())
    lines += parts[0].splitlines()
    for up, text in zip(parts[1::2], parts[2::2]):
      del lines[len(lines) - int(up) :]
      lines += text.splitlines()
    return lines


def test_unknown_values_are_a_dash():
  row = table.cells("a", WAITING, 220)
  assert row == ("a", "waiting", "0/220", "-", "-", "-")
  row = table.cells("a", RUNNING, 220)
  assert row == ("a", "running", "40/220", "1.250", "22.4", "1m05s")


def test_columns_are_aligned():
  rows = [table.cells("long name", DONE, 220), table.cells("a", RUNNING, 220)]
  assert table.format_table(rows) == [
    "point      state       step   loss  img/s    eta",
    "long name  done     220/220  0.500   23.0      -",
    "a          running   40/220  1.250   22.4  1m05s",
  ]


def test_a_terminal_shows_one_table_that_changes(monkeypatch):
  monkeypatch.setenv("COLUMNS", "100")
  monkeypatch.setenv("LINES", "24")
  out = Terminal()
  shown = table.Table(["a", "b"], [220, 220], out)
  for statuses in ([WAITING, WAITING], [RUNNING, WAITING], [DONE, RUNNING]):
    shown.show(statuses)
  screen = out.screen()
  assert len(screen) == 3
  assert [line.split()[1] for line in screen] == ["state", "done", "running"]


def test_lines_are_no_wider_than_the_terminal(monkeypatch):
  monkeypatch.setenv("COLUMNS", "30")
  monkeypatch.setenv("LINES", "24")
  out = Terminal()
  table.Table(["a" * 40], [220], out).show([RUNNING])
  assert max(map(len, out.screen())) <= 29


@pytest.mark.parametrize(
  ("focus", "rows"), [(0, "012"), (4, "345"), (9, "789")]
)
def test_a_low_terminal_shows_the_rows_around_the_running_one(focus, rows):
  lines = ["header", *"0123456789"]
  assert table.window(lines, 5, focus) == ["header", *rows]


def test_a_log_gets_a_line_when_something_changes():
  now = [0.0]
  out = io.StringIO()
  shown = table.Table(["a", "b"], [220, 220], out, clock=lambda: now[0])
  for seconds, statuses in (
    (0, [WAITING, WAITING]),
    (1, [RUNNING, WAITING]),
    (20, [RUNNING, WAITING]),
    (40, [RUNNING, WAITING]),
    (41, [DONE, RUNNING]),
  ):
    now[0] = float(seconds)
    shown.show(statuses)
  lines = out.getvalue().splitlines()
  assert [line.split()[:2] for line in lines] == [
    ["a:", "running"],
    ["a:", "running"],
    ["a:", "done"],
    ["b:", "running"],
  ]
  assert lines[0].endswith("step 40/220  loss 1.250  22.4 img/s  eta 1m05s")
  assert "\x1b" not in out.getvalue()


def test_a_status_is_read_from_the_workdir(tmp_path):
  waiting, stopped, done = workdirs.make_points(
    tmp_path,
    '[{"seed": i} for i in range(3)]',
    *("optim.num_steps=5", "optim.warmup_steps=2"),
  )
  workdirs.write_run(stopped, 3)
  workdirs.write_run(done, 5, saved=True)
  states = [status_lib.stored_state(p) for p in (waiting, stopped, done)]
  assert states == ["waiting", "stopped", "done"]
  assert status_lib.read_status(waiting, "waiting") == WAITING
  found = status_lib.read_status(stopped, "running")
  assert (found.step, found.images_per_second, found.eta) == (3, 21.0, 4.0)
  assert status_lib.read_status(done, "done").eta is None
  # The first row of each holds compiling.
  assert status_lib.typical_speed(done) == 26.0
  assert status_lib.typical_speed(waiting) is None


def test_a_last_step_that_was_logged_but_not_saved_is_not_done(tmp_path):
  (point,) = workdirs.make_points(
    tmp_path, "[{}]", *("optim.num_steps=5", "optim.warmup_steps=2")
  )
  workdirs.write_run(point, 5)
  assert status_lib.stored_state(point) == "stopped"
