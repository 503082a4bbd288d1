"""Prints what an extra of the installed package needs, for pip.

Without upper bounds: to find out what newer versions break.
"""

import sys
from importlib import metadata

from pip._vendor.packaging.requirements import Requirement


def main(extra: str) -> None:
  for text in metadata.requires("sapiens2-jax"):
    need = Requirement(text)
    if need.marker is None or need.marker.evaluate({"extra": extra}):
      extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
      print(need.name + extras)


if __name__ == "__main__":
  main(*sys.argv[1:])
