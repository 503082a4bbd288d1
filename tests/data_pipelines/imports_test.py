"""Who may import whom in data_pipelines."""

import ast
import pathlib
import sys

import data_pipelines

ALLOWED = {
  "PIL",
  "absl",
  "aiohttp",  # With gcsfs, which is optional.
  "array_record",
  "cv2",
  "etils",
  "data_pipelines",
  "fsspec",
  "grain",
  "msgpack",
  "numba",
  "numpy",
  "pillow_heif",
  "simplejpeg",
  "tensorflow_datasets",
  "tqdm",
}
# Package or module -> those whose modules it may import, beside its own.
LAYERS = {
  "common": set(),
  "vocabulary": set(),
  "corpus": {"common", "vocabulary"},
  "sources": {"common", "corpus"},
  "loading": {"common", "corpus", "sources"},
  "building": {"common", "corpus", "sources"},
  "annotated": {"common", "vocabulary", "corpus", "sources", "building"},
  "synthetic": {"common", "vocabulary", "corpus", "building"},
  "faces": {"common", "corpus", "annotated"},
  "humans_tfds": {"common", "corpus", "sources"},
  "curation": {"common", "corpus", "sources", "building"},
  "open_source": {"common", "corpus", "sources", "annotated", "humans_tfds"},
}
COMMANDS = {"build_corpus", "sample_corpus", "verify_corpus", "__main__"}
ROOT = pathlib.Path(data_pipelines.__path__[0])
FILES = sorted(ROOT.rglob("*.py"))


def imports(file):
  """All modules that a file imports, also inside of functions."""
  for node in ast.walk(ast.parse(file.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module):
  """The package or module right below data_pipelines; None if outside."""
  names = module.split(".")
  return names[1] if names[0] == "data_pipelines" and names[1:] else None


def test_the_package_needs_neither_jax_nor_the_model_code():
  assert len(FILES) > 50
  for file in FILES:
    for name in imports(file):
      top = name.partition(".")[0]
      assert top in ALLOWED | sys.stdlib_module_names, (file, name)


def test_packages_import_only_what_lies_below_them():
  seen = set()
  for file in FILES:
    parts = file.relative_to(ROOT).with_suffix("").parts
    if parts[-1] in COMMANDS or parts == ("__init__",):
      continue
    if file.name in ("contact_sheet.py", "draw_keypoints.py"):  # Commands too.
      assert "command.start(main)" in file.read_text()
      continue
    seen.add(parts[0])
    for name in imports(file):
      part = part_of(name)
      assert part in LAYERS[parts[0]] | {parts[0], None}, (file, name)
  assert seen == set(LAYERS)


def test_the_layers_have_no_circles():
  known = set()
  while known != set(LAYERS):
    free = {part for part, below in LAYERS.items() if below <= known} - known
    assert free, f"a circle among {set(LAYERS) - known}"
    known |= free
