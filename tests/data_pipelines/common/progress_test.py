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


def test_the_line_has_count_rate_and_eta(capsys, monkeypatch):
  clock = iter([0.0, 4.0, 11.0, 11.0, 20.0])
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  with progress.Progress("packing", 4, "img") as shown:
    shown.advance()
    shown.advance()
  assert capsys.readouterr().err.splitlines() == [
    "packing 2/4  0.2 img/s  eta 11s",
    "packing 2/4  0.1 img/s  eta 20s",
  ]


def test_nothing_done_yet_has_no_eta(capsys):
  with progress.Progress("packing", 4, "img"):
    pass
  assert capsys.readouterr().err == "packing 0/4  0.0 img/s  eta -\n"


def test_an_unknown_total_has_no_eta(capsys, monkeypatch):
  clock = iter([0.0, 1.0, 2.0, 2.0])
  monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
  with progress.Progress("listing", None, "img") as shown:
    shown.advance(500)
  assert capsys.readouterr().err == "listing 500  250.0 img/s  eta -\n"
