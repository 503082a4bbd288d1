"""benchmarks/loader.py, and its peer without torchvision.

The peer's script runs with a small torchvision of the tests, whose crops are
PIL's as those of the real one are; its speed means nothing.
"""

import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.running import run

pytestmark = pytest.mark.slow
FAKE = pathlib.Path(__file__).with_name("fake_torchvision")


@pytest.mark.parametrize("has_peer", [False, True])
def test_loader_is_measured_with_and_without_a_peer(tmp_path, has_peer):
  coarse = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
  photo = tmp_path / "photo.jpg"
  Image.fromarray(coarse).resize((600, 800), Image.BICUBIC).save(photo)
  python = tmp_path / "python"
  python.write_text(
    f'#!/bin/sh\nPYTHONPATH={FAKE} exec {sys.executable} "$@"\n'
  )
  python.chmod(0o755)
  found = run(
    *("benchmarks/loader.py", "--photo", photo, "--rounds", 1),
    *("--images", 8, "--records", 20),
    *(("--torchvision", python) if has_peer else ()),
  )
  summary = found["photos"]["photo.jpg"]
  assert set(summary["workers"]) == {"1", "2"}
  assert found["reader"]["ours"] > 0
  assert found["bytes_per_image"]["uint8"] == 3 * (
    2 * 1024 * 768 + 4 * 512 * 384
  )
  contenders = {"ours", "ours+augment"}
  if has_peer:
    contenders |= {"pil bicubic", "pil bilinear", "tensor bilinear"}
    assert summary["psnr_of_crops"] > 35  # The same boxes, enlarged.
    assert summary["ours against pil bicubic"] > 0
  assert set(summary["images_per_second"]) == contenders
