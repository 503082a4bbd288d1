"""Files that appear whole or not at all."""

import os


def write_file(path: str | os.PathLike, data: bytes) -> None:
  """Writes a file, and the directories that it is in.

  What was there is replaced.
  """
  path = os.fspath(path)
  os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
  with open(f"{path}.partial", "wb") as file:
    file.write(data)
  os.replace(f"{path}.partial", path)
