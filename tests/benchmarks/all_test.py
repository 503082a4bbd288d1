"""No benchmark is forgotten by the tests."""

import pathlib

from tests.end_to_end.commands import ROOT

# Run by the benchmark that needs them, or with it.
PARTS = {
  "conversion_steps": "conversion",
  "safety_vector": "similarity",
  "decoder": "calibration",
  "first_steps_parts": "first_steps",
  "true_step": "first_steps",
  "published": "calibration",
  "torch_layers": "torch_step",
  "torchvision_crops": "loader",
}


def test_every_benchmark_is_run_by_a_test():
  here = pathlib.Path(__file__).parent
  for file in sorted((ROOT / "benchmarks").glob("*.py")):
    name = PARTS.get(file.stem, file.stem)
    text = (here / f"{name}_test.py").read_text()
    assert "run(" in text and name in text, file


def test_every_benchmark_is_described():
  text = (ROOT / "benchmarks" / "README.md").read_text()
  for file in sorted((ROOT / "benchmarks").glob("*.py")):
    assert file.name in text, file
