"""The command `sapiens2`: a verb for each thing to do."""

import importlib
import importlib.util
import pathlib
import sys

from data_pipelines.common.packages import MissingExtra
from sapiens2_jax import errors

# Verb -> the module that does it; `python -m` runs that too. The first line of
# its docstring, which starts the list of verbs, and a command that runs, which
# stands behind it, are what --help says.
VERBS = {
  "quickstart": "sapiens2_jax.quickstart",
  "train": "sapiens2_jax.train",
  "finetune": "sapiens2_jax.finetune",
  "probe": "sapiens2_jax.probe",
  "features": "sapiens2_jax.features",
  "predict": "sapiens2_jax.predict",
  "evaluate": "sapiens2_jax.evaluate",
  "plan": "sapiens2_jax.plan",
  "export": "sapiens2_jax.export",
  "verify": "sapiens2_jax.verify_export",
  "import": "sapiens2_jax.import_weights",
  "corpus build": "data_pipelines.build_corpus",
  "corpus verify": "data_pipelines.verify_corpus",
  "corpus preview": "sapiens2_jax.preview.__main__",
  "corpus annotate": "data_pipelines.annotated.__main__",
  "corpus synthesize": "data_pipelines.synthetic.__main__",
  "corpus curate": "sapiens2_jax.curate",
  "corpus audit": "sapiens2_jax.audit.__main__",
  "corpus models": "data_pipelines.curation.models.__main__",
  "corpus sample": "data_pipelines.sample_corpus",
  "corpus tfds": "data_pipelines.humans_tfds.__main__",
  "sweep": "sapiens2_jax.sweep.__main__",
  "experiment": "sapiens2_jax.experiment",
  "report": "sapiens2_jax.report.__main__",
  "compare": "sapiens2_jax.compare",
  "config show": "sapiens2_jax.show_config",
  "config diff": "sapiens2_jax.diff_config",
  "doctor": "sapiens2_jax.doctor",
}
_HELP = ("--help", "-h")


def read_summary(module: str) -> str:
  """The first line of a module's docstring; does not import it."""
  top, *rest = module.split(".")
  (folder,) = importlib.util.find_spec(top).submodule_search_locations
  text = pathlib.Path(folder, *rest).with_suffix(".py").read_text()
  return text.partition('"""')[2].partition("\n")[0]


def list_verbs(group: str = "") -> str:
  """What `--help` says of all verbs, or of those of a group."""
  names = [verb for verb in VERBS if verb.startswith(group)]
  width = max(map(len, names))
  lines = [f"  {verb:<{width}}  {read_summary(VERBS[verb])}" for verb in names]
  usage = f"usage: sapiens2 {group}VERB --FLAG VALUE ..."
  more = f"sapiens2 {group}VERB --help   says more, with an example"
  return "\n".join([usage, "", *lines, "", more])


def find_verb(words: list[str]) -> tuple[str, list[str]]:
  """Splits a command line into the verb, of one or two words, and the rest.

  Returns:
    As a verb also a group, such as "corpus ", or "".

  Raises:
    ValueError: there is no such verb.
  """
  if not words or words[0] in _HELP:
    return "", []
  first, *rest = words
  if first in VERBS:
    return first, rest
  group = f"{first} "
  if any(verb.startswith(group) for verb in VERBS):
    if not rest or rest[0] in _HELP:
      return group, []
    errors.lookup(VERBS, group + rest[0], "verb")
    return group + rest[0], rest[1:]
  errors.lookup(VERBS, first, "verb")


def main() -> None:
  try:
    verb, rest = find_verb(sys.argv[1:])
  except ValueError as error:
    sys.exit(_mistake(f"sapiens2: {error}"))
  if verb not in VERBS:
    print(list_verbs(verb))
    return
  sys.argv = [f"sapiens2 {verb}", *rest]
  try:
    module = importlib.import_module(VERBS[verb])
  except MissingExtra as error:
    sys.exit(_mistake(f"sapiens2 {verb}: {error}"))
  module.run()


def _mistake(message: str) -> int:
  print(message, file=sys.stderr)
  return 2


if __name__ == "__main__":
  main()
