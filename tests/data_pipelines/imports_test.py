import ast
import pathlib
import sys

import data_pipelines

ALLOWED = {
  "PIL",
  "absl",
  "array_record",
  "cv2",
  "data_pipelines",
  "fsspec",
  "grain",
  "msgpack",
  "numba",
  "numpy",
  "simplejpeg",
  "tensorflow_datasets",
}
# Shows what the model sees, so it needs the model's code.
EXEMPT = {"preview.py", "preview_data.py", "preview_page.py"}


def test_the_package_needs_neither_jax_nor_the_model_code():
  files = list(pathlib.Path(data_pipelines.__path__[0]).rglob("*.py"))
  assert len(files) > 5
  for file in files:
    if file.name in EXEMPT:
      continue
    for node in ast.walk(ast.parse(file.read_text())):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      if isinstance(node, ast.ImportFrom):
        names = [node.module]
      for name in names:
        top = name.partition(".")[0]
        assert top in ALLOWED | sys.stdlib_module_names, (file, name)
