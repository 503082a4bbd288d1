"""What an installation without extras can do, and says about the rest."""

import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest
import setuptools

ROOT = pathlib.Path(__file__).parents[1]
# Module -> the extra that brings it.
OPTIONAL = {
  "ai_edge_litert": "curation",
  "daft": "curation",
  "matplotlib": "report",
  "numba": "synthetic",
  "onnx": "onnx",
  "onnxruntime": "onnx",
  "pdqhash": "curation",
  "pillow_heif": "heif",
  "pyarrow": "curation",
  "tensorboardX": "tensorboard",
  "tensorflow_datasets": "tfds",
}

# Makes the optional modules look as if they were not installed.
HIDDEN = f"""
import sys

class Finder:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in {set(OPTIONAL)}:
      raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Finder())
"""


def run(code, *arguments):
  return subprocess.run(
    [sys.executable, "-c", HIDDEN + code, *map(str, arguments)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.parametrize(
  "modules",
  [
    "data_pipelines.build_corpus, data_pipelines.verify_corpus, "
    "data_pipelines.sample_corpus, data_pipelines.annotated.__main__, "
    "data_pipelines.open_source",
    *(f"sapiens2_jax.{name}" for name in ("train", "evaluate", "predict")),
    "sapiens2_jax.curate",
    "sapiens2_jax.audit.__main__",
    *(f"sapiens2_jax.{name}" for name in ("export", "import_weights", "plan")),
  ],
)
def test_the_main_commands_start_without_any_extra(modules):
  done = run(f"import {modules}")
  assert done.returncode == 0, done.stderr


def test_a_tfds_dataset_names_the_extra_and_the_field(tmp_path):
  (tmp_path / "dataset_info.json").write_text("{}")
  done = run(
    "from data_pipelines.open_source import open_field\n"
    "open_field('data.path', sys.argv[1])",
    tmp_path,
  )
  assert done.stderr.splitlines()[-1] == (
    f"ValueError: data.path={tmp_path}: tensorflow_datasets is not installed; "
    "it comes with the extra tfds: pip install -e '.[tfds]'"
  )


@pytest.mark.parametrize(
  "module, extra",
  [
    ("sapiens2_jax.report.__main__", "report"),
    ("data_pipelines.humans_tfds.__main__", "tfds"),
    ("data_pipelines.synthetic.__main__", "synthetic"),
  ],
)
def test_a_command_that_needs_an_extra_names_it(module, extra):
  done = run(f"import {module}")
  assert done.stderr.splitlines()[-1].endswith(
    f"it comes with the extra {extra}: pip install -e '.[{extra}]'"
  )


@pytest.mark.parametrize("call", ["check(None)", "forward('unused')"])
def test_onnx_names_the_extra(call):
  done = run(
    f"from sapiens2_jax.interop import onnx_export\nonnx_export.{call}"
  )
  assert done.stderr.splitlines()[-1].endswith(
    "it comes with the extra onnx: pip install -e '.[onnx]'"
  )


def test_a_run_without_tensorboard_has_its_other_files(tmp_path):
  done = run(
    "from sapiens2_jax.training.writers import Writers\n"
    "writers = Writers(sys.argv[1], 0)\n"
    "writers.write_metrics(1, {'loss': 2.0})\n"
    "writers.write_speed(1, {'wait': None})\n"
    "writers.close()",
    tmp_path,
  )
  assert done.returncode == 0, done.stderr
  assert "the extra tensorboard is not installed" in done.stderr
  assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "speed.jsonl"]
  assert (
    tmp_path / "metrics.jsonl"
  ).read_text() == '{"step": 1, "loss": 2.0}\n'


def test_every_optional_module_is_of_its_extra_alone(monkeypatch):
  given = {}
  monkeypatch.setattr(setuptools, "setup", given.update)
  runpy.run_path(str(ROOT / "setup.py"))

  def names(requirements):
    return {
      re.split(r"[^A-Za-z0-9_-]", text)[0].replace("-", "_")
      for text in requirements
    }

  extras = given["extras_require"]
  for module, extra in OPTIONAL.items():
    assert module not in names(given["install_requires"])
    assert module in names(extras[extra])
    assert module in names(extras["test"])
