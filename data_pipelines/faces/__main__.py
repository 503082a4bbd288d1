r"""Fetches the photographs of faces that landmark probes are measured on.

    python -m data_pipelines.faces

Takes them out of Debian's source package of dlib once (8.6 MB, of which 0.8 MB
are kept), and prints what is known of their licence.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.common import command
from data_pipelines.faces import dlib, fetching


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("python -m data_pipelines.faces", __doc__)
  parser.parse_args(arguments)

  def work() -> None:
    place = fetching.find_faces()
    print(fetching.read_terms(place))
    for name in (fetching.TRAIN, fetching.TEST):
      print(f"{place / name}: {len(dlib.read_faces(place / name))} faces")

  return command.run("faces", work)


if __name__ == "__main__":
  command.start(main)
