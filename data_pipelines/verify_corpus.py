r"""Checks every byte of a corpus against its manifest.

    sapiens2 corpus verify --data corpus/

Exit code 0 and one line that sums up if all is as it was built; 1 and one
line for each damage, which names the file and, where it can be told, the
record; 2 if there is no corpus, 130 after Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.common import command
from data_pipelines.corpus import manifest as manifests
from data_pipelines.corpus import verify


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus verify", __doc__)
  parser.add_argument("--data", required=True, help="corpus to check")
  command.add_workers(parser)
  given = parser.parse_args(arguments)

  def work() -> int:
    code = 0
    for damage in verify.verify_corpus(given.data, num_workers=given.workers):
      print(damage, flush=True)
      code = 1
    if not code:
      manifest = manifests.read_manifest(given.data)
      print(f"{given.data}: whole: {manifests.summarize(manifest)}")
    return code

  return command.run("verify_corpus", work)


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()
