import sys

import pytest

from data_pipelines.common import progress


@pytest.mark.parametrize(
  "seconds, text",
  [
    (0.4, "0s"),
    (59.4, "59s"),
    (59.6, "1m00s"),
    (185, "3m05s"),
    (4 * 3600 + 7 * 60, "4h07m"),
    (76 * 3600, "3d04h"),
  ],
)
def test_durations_are_short(seconds, text):
  assert progress.format_seconds(seconds) == text


class Clock:
  """Time as tqdm reads it, moved by hand."""

  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr("tqdm.std.time", clock)
  return clock


def test_the_line_has_count_rate_and_eta_each_ten_seconds(capsys, clock):
  with progress.Progress("packing", 4, "img") as shown:
    for seconds in (4, 7, 4, 5):
      clock.now += seconds
      if seconds != 5:
        shown.advance()
  assert capsys.readouterr().err.splitlines() == [
    "packing 2/4   0.18 img/s  eta 00:11",
    "packing 3/4   0.15 img/s  eta 00:06",
  ]


def test_a_count_may_be_given_as_a_whole(capsys, clock):
  with progress.Progress("evaluated", 9, "images") as shown:
    clock.now += 1
    shown.reach(3)
    shown.reach(6)
  assert capsys.readouterr().err == "evaluated 6/9   6.00 images/s  eta 00:00\n"


def test_bytes_are_short(capsys, clock):
  with progress.Progress("export", 5_000_000_000, "B") as shown:
    clock.now += 2
    shown.advance(1_500_000_000)
  assert capsys.readouterr().err == (
    "export 1.50G/5.00G  750M B/s  eta 00:04\n"
  )


def test_nothing_done_yet_has_no_eta(capsys, clock):
  with progress.Progress("packing", 4, "img"):
    clock.now += 3
  assert capsys.readouterr().err == "packing 0/4  ? img/s  eta ?\n"


def test_an_unknown_total_has_no_eta(capsys, clock):
  with progress.Progress("listing", None, "img") as shown:
    clock.now += 2
    shown.advance(500)
  assert capsys.readouterr().err == "listing 500  250.00 img/s\n"


def test_an_error_inside_still_shows_how_far_it_came(capsys, clock):
  with pytest.raises(KeyError), progress.Progress("packing", 4, "img") as shown:
    clock.now += 1
    shown.advance()
    raise KeyError
  assert capsys.readouterr().err == "packing 1/4   1.00 img/s  eta 00:03\n"


def test_a_terminal_has_one_line_that_is_written_over(
  capsys, clock, monkeypatch
):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
  with progress.Progress("packing", 4, "img") as shown:
    for _ in range(3):
      clock.now += 0.15
      shown.advance()
  text = capsys.readouterr().err
  assert text.count("\n") == 1 and text.endswith("\n")
  assert [line.strip() for line in text.split("\r")][2:] == [
    "packing 2/4   6.67 img/s  eta 00:00",
    "packing 3/4   6.67 img/s  eta 00:00",
  ]
