"""The commands as a user starts them."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from sapiens2_jax.interop.tensors import open_tensors
from tests import forking
from tests.interop import runs, samples
from tests.interop.samples import TOY


def _run(module, *args):
  command = [sys.executable, "-m", f"sapiens2_jax.{module}", *map(str, args)]
  return forking.run(command, os.environ)


def _ok(module, *args):
  done = _run(module, *args)
  assert done.returncode == 0, done.stderr
  assert "Traceback" not in done.stderr
  return done.stdout


def test_both_commands_show_how_far_they_are(tmp_path):
  file = samples.write(tmp_path / "toy.safetensors", samples.arrays(TOY))
  imported = tmp_path / "imported"
  done = _run("import_weights", "--checkpoint", file, "--output", imported)
  assert re.search(
    r"^import 9.79M/9.79M +\S+ B/s  eta 00:00$", done.stderr, re.M
  )
  done = _run(
    *("export", "--checkpoint", imported, "--output", tmp_path / "exported"),
    *("--format", "transformers"),
  )
  assert re.search(
    r"^export 9.79M/9.79M +\S+ B/s  eta 00:00$", done.stderr, re.M
  )


def _fails(module, *args):
  done = _run(module, *args)
  assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
  return done.stderr


def _arrays(path):
  return {key: x.load() for key, x in open_tensors(path).items()}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return runs.write_run(tmp_path_factory.mktemp("run"))


def _printed_snippet(text):
  return "\n".join(
    line[2:] for line in text.splitlines() if line.startswith("  ")
  )


def _execute(code):
  done = forking.run([sys.executable, "-c", code], os.environ)
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.parametrize("dtype", samples.FLOATS)
def test_import_then_export_is_byte_identical(tmp_path, dtype):
  named = samples.arrays(TOY, dtype=samples.FLOATS[dtype], periods=True)
  wrapped = {f"module._orig_mod.{key}": x for key, x in named.items()}
  source = samples.write_shards(tmp_path / "released", wrapped)
  imported, exported = tmp_path / "imported", tmp_path / "exported"
  text = _ok("import_weights", "--checkpoint", source, "--output", imported)
  assert "continue:size=toy " in text
  assert "removed    module. _orig_mod. from" in text
  text = _ok(
    *("export", "--checkpoint", imported, "--output", exported),
    *("--format", "reference"),
  )
  samples.assert_same_bytes(named, _arrays(exported))
  assert (exported / "sapiens2_toy_pretrain.safetensors").is_file()
  printed = _printed_snippet(text) + "\nprint(len(state_dict))"
  assert _execute(printed).strip() == str(len(named))
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "exported",
    "imported",
    "released",
  ]


@pytest.mark.slow
def test_a_run_is_exported_verified_and_not_exported_twice(tmp_path, workdir):
  output, result = tmp_path / "export", tmp_path / "result.json"
  export = ("export", "--checkpoint", workdir, "--output", output)
  text = _ok(*export, "--format", "transformers")
  marker = json.loads((output / "export.json").read_text())
  assert marker["step"] == 3 and marker["weights"] == "teacher"
  config = json.loads((output / "config.json").read_text())
  assert config["image_size"] == [64, 48] and config["dtype"] == "float32"
  assert config["layerscale_value"] == 0.5
  printed = _printed_snippet(text) + "\nprint(tuple(tokens.shape))"
  assert _execute(printed).strip() == "(1, 21, 192)"

  before = (output / "model.safetensors").stat().st_mtime_ns
  text = _ok(*export, "--format", "transformers")
  assert text.startswith("already exported")
  assert (output / "model.safetensors").stat().st_mtime_ns == before
  (output / "README.md").write_text("mine")
  text = _ok(*export, "--format", "transformers", "--dtype", "bfloat16")
  assert f"kept       {output}/README.md" in text
  assert (output / "README.md").read_text() == "mine"
  _ok(*export, "--format", "transformers")
  assert "is not empty" in _fails(*export, "--format", "reference")

  verify = ("--against", workdir, "--output", result)
  photographs = tmp_path / "photographs"
  _write_photographs(photographs)
  _ok("verify_export", "--checkpoint", output, "--images", photographs, *verify)
  report = json.loads(result.read_text())
  assert report["passed"] and not any(report["keys"].values())
  assert [c["size"] for c in report["comparisons"]] == [
    [64, 48],
    [64, 48],
    [32, 48],
    [32, 48],
    [64, 16],
    [64, 16],
  ]
  assert {c["input"] for c in report["comparisons"]} == {
    "random",
    "photographs",
  }

  # Another set of weights in the same place does not pass.
  named = _arrays(output)
  named["ln1.weight"] = named["ln1.weight"] * np.float32(1.001)
  samples.write(output / "model.safetensors", named)
  done = _run("verify_export", "--checkpoint", output, *verify)
  assert done.returncode == 1
  assert not json.loads(result.read_text())["passed"]


@pytest.mark.slow
def test_a_run_is_exported_to_onnx_and_verified(tmp_path, workdir):
  output, result = tmp_path / "export", tmp_path / "result.json"
  export = ("export", "--checkpoint", workdir, "--output", output)
  assert "an ONNX export is float32" in _fails(
    *export, "--format", "onnx", "--dtype", "bfloat16"
  )
  text = _ok(*export, "--format", "onnx")
  marker = json.loads((output / "export.json").read_text())
  assert f"opset {marker['opset']} " in text
  for name in ("model.onnx", "model.onnx.data"):
    assert f"{output / name} ({marker['files'][name]:,} bytes" in text
  printed = _printed_snippet(text) + "\nprint(patches.shape)"
  assert _execute(printed).strip() == "(1, 192, 4, 3)"
  assert _ok(*export, "--format", "onnx").startswith("already exported")
  (line,) = (x for x in text.splitlines() if x.startswith("next"))
  command = [sys.executable, "-m", "sapiens2_jax", *shlex.split(line)[2:]]
  done = forking.run(command, os.environ)
  assert done.returncode == 0, done.stderr
  report = json.loads((output / "verify.json").read_text())
  assert report["passed"] and "onnxruntime" in report["versions"]
  data = bytearray((output / "model.onnx.data").read_bytes())
  data[: len(data) // 2] = bytes(len(data) // 2)
  (output / "model.onnx.data").write_bytes(data)
  done = _run(
    *("verify_export", "--checkpoint", output, "--against", workdir),
    *("--output", result),
  )
  assert done.returncode == 1
  assert not json.loads(result.read_text())["passed"]


def test_a_damaged_export_is_made_anew_and_a_tilde_is_the_home(tmp_path):
  samples.write(tmp_path / "a;b,c.safetensors", samples.arrays(TOY))
  export = [sys.executable, "-m", "sapiens2_jax.export", "--format=reference"]
  export += ["--checkpoint=~/a;b,c.safetensors", "--output=~/out"]

  def run():
    return forking.run(export, {**os.environ, "HOME": str(tmp_path)}).stdout

  file = tmp_path / "out" / "sapiens2_toy_pretrain.safetensors"
  assert f"wrote      {file} (" in run()
  whole = file.read_bytes()
  file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  assert f"made anew  {file}: SHA-256 is" in run()
  assert file.read_bytes() == whole
  assert run() == f"already exported: {tmp_path}/out\n"


def test_mistakes_end_with_code_2_and_one_message(tmp_path):
  export = ("export", "--output", tmp_path / "out", "--format", "reference")
  assert "no such file" in _fails(*export, "--checkpoint", tmp_path / "none")
  assert "--checkpoint must have a value" in _fails(*export)
  bad = samples.write(tmp_path / "bad.safetensors", samples.arrays(TOY))
  bad.write_bytes(bad.read_bytes()[:-1])
  message = _fails(
    "import_weights", "--checkpoint", bad, "--output", tmp_path / "out"
  )
  assert message.startswith(f"{bad}: truncated")
  assert not (tmp_path / "out").exists()
  message = _fails(
    *("verify_export", "--checkpoint", tmp_path, "--against", bad),
    *("--output", tmp_path / "r.json"),
  )
  assert "no export for transformers" in message


def test_verify_says_when_pytorch_is_not_installed(tmp_path, workdir):
  output = tmp_path / "export"
  _ok(
    *("export", "--checkpoint", workdir, "--output", output),
    *("--format", "transformers"),
  )
  code = f"""
import runpy, sys
sys.modules["torch"] = None
sys.argv = {["verify_export", f"--checkpoint={output}", f"--against={workdir}"]}
sys.argv.append("--output={tmp_path / "r.json"}")
runpy.run_module("sapiens2_jax.verify_export", run_name="__main__")
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  assert done.returncode == 2, done.stderr
  assert "torch is not installed: pip install" in done.stderr
  assert "Traceback" not in done.stderr


def _write_photographs(directory):
  from PIL import Image

  directory.mkdir()
  rng = np.random.default_rng(0)
  for i in range(3):
    pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(directory / f"{i}.png")


def test_the_next_command_that_export_prints_is_complete(tmp_path, workdir):
  text = _ok(
    *("export", "--checkpoint", workdir, "--output", tmp_path / "export"),
    *("--format", "transformers"),
  )
  (line,) = (x for x in text.splitlines() if x.startswith("next"))
  words = shlex.split(line)[1:]
  assert words[:2] == ["sapiens2", "verify"]
  assert words[2::2] == ["--checkpoint", "--against", "--output"]


@pytest.mark.slow
def test_a_task_run_is_exported_verified_and_imported(tmp_path):
  workdir = runs.write_task_run(tmp_path / "run", "pointmap", "toy")
  output, result = tmp_path / "export", tmp_path / "result.json"
  export = ("export", "--checkpoint", workdir, "--output")
  text = _ok(*export, output, "--format", "transformers")
  assert "toy pointmap" in text and "step 3" in text
  printed = _printed_snippet(text) + "\nprint(tuple(points.shape))"
  assert _execute(printed).strip() == "(1, 3, 64, 48)"
  again = _ok(*export, output, "--format", "transformers")
  assert again.startswith("already exported")
  _ok(
    *("verify_export", "--checkpoint", output, "--against", workdir),
    *("--output", result),
  )
  report = json.loads(result.read_text())
  assert report["passed"] and report["task"] == "pointmap"
  imported = tmp_path / "imported"
  text = _ok("import_weights", "--checkpoint", output, "--output", imported)
  assert "toy pointmap" in text
  names = []
  for source, name in ((workdir, "a"), (imported, "b")):
    place = tmp_path / name
    _ok(
      *("export", "--checkpoint", source, "--output", place),
      *("--format", "reference"),
    )
    names.append(_arrays(place / "sapiens2_toy_pointmap.safetensors"))
  samples.assert_same_bytes(*names)


def test_albedo_is_not_exported_to_transformers(tmp_path):
  workdir = runs.write_task_run(tmp_path / "run", "albedo", "toy")
  export = ("export", "--checkpoint", workdir, "--output", tmp_path / "out")
  message = _fails(*export, "--format", "transformers")
  assert "no class for task albedo; use --format reference" in message
  assert not (tmp_path / "out").exists()
