"""What README and docs name is there: experiments, fields, programs, flags."""

import importlib.util
import pathlib
import re
import shlex

import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax import validation
from sapiens2_jax.tasks import registry
from sapiens2_jax.validation import showing
from tests.cli_test import find_examples, split_verb

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
  str(path.relative_to(ROOT)): re.sub(r"\\\n\s*", "", path.read_text())
  for path in [
    *(ROOT / "README.md", ROOT / "benchmarks" / "README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
  ]
}
FIELDS = {
  *(f for task in registry.task_names() for f in registry.config_fields(task)),
  *(
    name
    for kind in ("pretrain", "finetune", "probe", "curation")
    for name in validation.schema_of(kind)
  ),
}
GROUPS = {name.partition(".")[0] for name in FIELDS}
FILES = tuple(
  ".csv .html .json .jsonl .npz .onnx .png .py .safetensors".split()
)


def find_configs(text: str) -> list[tuple[str, list[str]]]:
  """Of each command of a page its experiment, and what it overrides."""
  found = []
  for words in find_examples(text):
    _, rest = split_verb(words)
    line = shlex.join(rest).replace("--config=", "--config ")
    spec = re.search(r"(?<!\S)--config (\S+)", line)
    if spec and not re.search(r"NAME|FILE|\.\.\.", spec[1]):
      given = [w for w in rest if w.startswith("--config.")]
      found.append((spec[1], [w.removeprefix("--config.") for w in given]))
  return found


def test_commands_of_the_pages_are_found():
  ((spec, overrides),) = find_configs(
    "see `sapiens2 train --config=a:b=1 \\\n --config.optim.no=1`"
  )
  assert (spec, overrides) == ("a:b=1", ["optim.no=1"])
  with pytest.raises(config_lib.ConfigError, match="optim.no=1 *no such field"):
    showing.read("pretrain:size=toy", overrides)
  assert len([c for text in PAGES.values() for c in find_configs(text)]) > 30


@pytest.mark.parametrize("page", PAGES)
def test_experiments_of_a_page_have_the_fields_that_it_overrides(page):
  for spec, overrides in find_configs(PAGES[page]):
    path = config_lib.find_experiment(spec).partition(":")[0]
    module = config_lib.load_module(path)
    if not hasattr(module, "make_phases"):  # Several commands, no config.
      spec = getattr(module, "BASE", spec)
      showing.read(spec, [o for o in overrides if "..." not in o])


def test_fields_in_the_text_are_fields_of_a_config():
  for page, text in PAGES.items():
    named = {
      *re.findall(r"--config\.([a-z_0-9]+\.[a-z_0-9]+)=", text),
      *re.findall(r"`([a-z_0-9]+\.[a-z_0-9]+)(?:=[^`]*)?`", text),
    }
    for name in named:
      if name.partition(".")[0] in GROUPS and not name.endswith(FILES):
        assert name in FIELDS, f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES)
def test_programs_of_the_pages_exist_with_their_flags(page):
  for name, rest in re.findall(
    r"\bpython (-m [\w.]+|[\w/]+\.py)([^`\n#|>]*)", PAGES[page]
  ):
    if name == "-m venv":
      continue
    path = ROOT / name
    if name.startswith("-m "):
      found = importlib.util.find_spec(name.removeprefix("-m "))
      path = pathlib.Path(found.origin)
    files = [path]
    if path.name == "__init__.py":
      files = [*path.parent.glob("*.py")]
    source = "".join(file.read_text() for file in files)
    for flag in re.findall(r"--([\w-]+)", rest.partition(" -- ")[0]):
      flag = flag.replace("-", "[-_]")
      assert re.search(rf"\b{flag}\b", source), f"{name}: --{flag}"
