r"""Tells versions, devices, and what is missing for what.

    sapiens2 doctor

Ends with 0 whatever is missing. Put its output into a report of a problem.
"""

import json
import os
import platform
import re
from importlib import metadata

import jax
from absl import flags

from sapiens2_jax import command

_JSON = flags.DEFINE_bool("json", False, "Print one JSON object")
_PACKAGE = "sapiens2-jax"
# Those whose versions decide most of what goes wrong.
_MAIN = (
  *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"),
  *("tensorstore", "numpy", "opencv-python-headless", "safetensors"),
)
# Packages that extras of JAX bring, by ours.
_OF_JAX = {"gpu": ["jax-cuda12-plugin"], "tpu": ["libtpu"]}
# Extra of setup.py -> what it is for.
EXTRAS = {
  "quickstart": "sapiens2 quickstart, verify and report, on a CPU",
  "report": "curves and pictures: report, corpus preview, sweep",
  "tensorboard": "metrics for TensorBoard",
  "wandb": "metrics for Weights & Biases",
  "onnx": "export --format onnx, and verify of it",
  "plan": "plan --topology: compiles for TPUs without one",
  "curation": "corpus curate",
  "synthetic": "corpus synthesize",
  "heif": "HEIC photographs",
  "exr": "SynthHuman, whose maps are OpenEXR files",
  "gcs": "gs:// paths",
  "tfds": "corpus tfds, and reading TensorFlow Datasets",
  "gpu": "training on NVIDIA GPUs, with all that a cluster needs",
  "tpu": "training on TPUs, with all that a cluster needs",
  "docs": "the documentation as a site, in a clone",
  "test": "the test suite of a clone",
}


def find_version(name: str) -> str | None:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return None


def missing_of(extra: str) -> list[str]:
  """Packages of an extra that are not installed."""
  marker = re.compile(rf"extra == ['\"]{extra}['\"]")
  needs = [
    re.match(r"[\w.-]+", need)[0]
    for need in metadata.requires(_PACKAGE) or ()
    if marker.search(need)
  ]
  needs += _OF_JAX.get(extra, [])
  return sorted({name for name in needs if find_version(name) is None})


def find_devices() -> dict[str, object]:
  try:
    devices = jax.devices()
  except RuntimeError as error:
    return {"error": f"{error}".splitlines()[0]}
  kinds = [device.device_kind for device in devices]
  return {
    "backend": jax.default_backend(),
    "kinds": {kind: kinds.count(kind) for kind in kinds},
    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS"),
  }


def examine() -> dict[str, object]:
  versions = {name: find_version(name) for name in (_PACKAGE, *_MAIN)}
  return {
    "python": platform.python_version(),
    "platform": platform.platform(),
    "cores": os.cpu_count(),
    "versions": versions,
    "devices": find_devices(),
    "extras": {
      name: {"for": text, "missing": missing_of(name)}
      for name, text in EXTRAS.items()
    }
    if versions[_PACKAGE]
    else {},
  }


def describe(found: dict) -> str:
  lines = [f"{'python':<24}{found['python']} on {found['platform']}"]
  for name, version in found["versions"].items():
    lines.append(f"{name:<24}{version or 'not installed'}")
  devices = found["devices"]
  shown = devices.get("error") or ", ".join(
    f"{count} x {kind}" for kind, count in devices["kinds"].items()
  )
  lines += [f"{'devices':<24}{shown}", f"{'CPU cores':<24}{found['cores']}"]
  if not found["extras"]:
    lines.append(
      f"extras                  not known: {_PACKAGE} is not installed"
    )
  lines.append("")
  for name, extra in found["extras"].items():
    lines.append(
      f"{name:<12}{'missing' if extra['missing'] else 'there':<9}{extra['for']}"
    )
    if extra["missing"]:
      lines.append(f"{'':21}{', '.join(extra['missing'])}")
  lines.append(f"\nto add one: pip install '{_PACKAGE}[NAME]'")
  return "\n".join(lines)


def main() -> None:
  found = examine()
  print(json.dumps(found, indent=2) if _JSON.value else describe(found))


def run() -> None:
  command.run(main)


if __name__ == "__main__":
  run()
