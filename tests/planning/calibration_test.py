"""What measurements make of estimates."""

import json

import pytest

from sapiens2_jax.chips import CHIPS
from sapiens2_jax.planning import calibration
from tests.end_to_end.commands import ROOT


def stored_rows():
  with open(ROOT / "docs" / "calibration.jsonl") as file:
    return [json.loads(line) for line in file]


def test_the_table_is_that_of_the_stored_runs():
  assert calibration.summarize(stored_rows()) == calibration.CALIBRATIONS


def test_every_run_names_its_source_and_chips_have_three():
  rows = stored_rows()
  assert all("github.com/" in row["source"] for row in rows)
  found = calibration.CALIBRATIONS
  assert len(rows) == found[calibration.ANY].runs >= 9
  assert all(found[chip].runs >= 3 for chip in ("v5e", "v5p", "v6e"))


def test_a_chip_with_few_runs_claims_no_narrow_range(monkeypatch):
  spread = calibration.Spread
  table = {
    "v5e": calibration.Calibration("v5e", 1, spread(1.5, 1.5, 1.5), None, None),
    calibration.ANY: calibration.Calibration(
      calibration.ANY, 9, spread(1.0, 1.2, 1.8), None, None
    ),
  }
  monkeypatch.setattr(calibration, "CALIBRATIONS", table)
  found = calibration.find_calibration("v5e").roofline
  assert found.median == 1.5
  assert (found.low, found.high) == pytest.approx((1.25, 2.25))


def test_ratios_are_sorted_and_their_median_corrects():
  rows = [
    {
      "chip": "v5e",
      "measured_seconds": measured,
      "estimated_seconds": 2.0,
      "scheduled_seconds": 4.0,
      "mixed_seconds": 3.0,
    }
    for measured in (6.0, 4.0, 4.8)
  ]
  found = calibration.summarize(rows)
  assert set(found) == {"v5e", calibration.ANY}
  assert found["v5e"].roofline == calibration.Spread(2.0, 2.4, 3.0)
  assert found["v5e"].cycles == calibration.Spread(1.0, 1.2, 1.5)
  assert found["v5e"].mixed == calibration.Spread(1.333, 1.6, 2.0)
  step = found["v5e"].correct(10.0)
  assert step == calibration.Spread(20.0, 24.0, 30.0)


def test_a_chip_without_a_run_has_the_spread_of_all():
  own = {calibration.find_calibration(chip).chip for chip in CHIPS}
  assert own == set(calibration.CALIBRATIONS)
  assert calibration.find_calibration("v4").chip == calibration.ANY
