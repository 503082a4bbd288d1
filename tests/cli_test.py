"""The command sapiens2: its verbs, their help and the examples in it."""

import json
import pathlib
import re
import shlex
import shutil
import sys

import pytest

from sapiens2_jax import config as config_lib
from sapiens2_jax.__main__ import VERBS, read_summary
from sapiens2_jax.validation import showing
from tests import forking, old_runs, tiny_task
from tests.end_to_end import commands
from tests.evaluation import labelled

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# sapiens2, with the sizes of the tests.
PROGRAM = (
  "import tests.old_runs; from sapiens2_jax.__main__ import main; main()"
)
# Many command lines in one process: commands define flags of the same names.
MANY = """
import contextlib, io, json, sys
from absl import flags
from sapiens2_jax.__main__ import VERBS, main
from sapiens2_jax.runtime import distributed

def end(message, code, **_):
  print(message, file=sys.stderr)
  sys.exit(code)

distributed.end = end  # Its own ends the process.

def run(words):
  for name in list(flags.FLAGS):
    if flags.FLAGS.find_module_defining_flag(name).startswith("sapiens2_jax"):
      delattr(flags.FLAGS, name)
  for module in VERBS.values():
    parent, _, name = module.rpartition(".")
    if sys.modules.pop(module, None):
      vars(sys.modules[parent]).pop(name, None)
  sys.argv, code = ["sapiens2", *words], 0
  with (
    contextlib.redirect_stdout(io.StringIO()) as out,
    contextlib.redirect_stderr(io.StringIO()) as err,
  ):
    try:
      main()
    except SystemExit as end:
      code = end.code or 0
  return code, out.getvalue(), err.getvalue()

print("FOUND", json.dumps([run(words) for words in json.loads(sys.argv[1])]))
"""
# What makes each example small, in an order in which they find what they read.
SMALLER = {
  "corpus build": ("--workers=0",),
  "corpus verify": ("--workers=0",),
  "config show": (),
  "config diff": (),
  "doctor": (),
  "sweep": ("--num_devices=1",),
  "experiment": (),
}
SMALLEST = ("model.size=smallest", "model.scan=false")
STEPS = ("optim.num_steps=2", "optim.warmup_steps=1")
SLOW = {
  "train": ("--check",),
  "finetune": (
    *("--check", "--workdir=runs/other"),
    *(f"--config.{x}" for x in SMALLEST),
    "--config.data.image_size=(32, 32)",
  ),
  "probe": (
    *(f"--config.{x}" for x in STEPS),
    "--config.data.image_size=(32, 32)",
  ),
  "features": (),
  "predict": (),
  "evaluate": (),
  "export": (),
  "import": (),
  "report": (),
  "compare": (),
  "corpus preview": (),
  "corpus curate": ("--workers=1",),
  "corpus audit": (),
  "verify": (),
}
# They fetch packages or models, or take minutes.
NOT_RUN = {
  *("quickstart", "plan", "corpus annotate", "corpus synthesize"),
  *("corpus models", "corpus sample", "corpus tfds"),
}


LIST = "--help"
FIELDS = "finetune --config=finetune:task=pose,size=toy --help=config"
MISTAKES = {
  "trian": "unknown verb 'trian'; did you mean train?",
  "corpus biuld": "did you mean corpus build?",
  "train --config=pretrian:size=toy --workdir=x": "did you mean pretrain?",
  "config show pretrain --config.optim.peaklr=1": "did you mean optim.peak_lr",
  "config show tests": "holds neither the config of a run nor a checkpoint",
  "config diff pretrain": "expected 2 arguments that are no flags, found 1",
  "export --help=config": "this command has no --config",
  "train --help=config": "give --config, too; one of ",
  "experiment --config=pretrain --output=x": "has no make_phases()",
  "finetune --config=pretrain:size=toy --workdir=x": "has no task; sapiens2",
  "compare runs/a runs/b --output=config.json": "expected a file, X.html",
}
Done = tuple[int, str, str]  # Exit code, output, errors.


def run_many(lines: list[list[str]], cwd=ROOT) -> list[Done]:
  command = [sys.executable, "-c", MANY, json.dumps(lines)]
  done = forking.run(command, forking.server_environment(), cwd)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.rpartition("FOUND ")[2])


@pytest.fixture(scope="module")
def said() -> dict[str, Done]:
  """What single command lines end with."""
  lines = [*MISTAKES, LIST, FIELDS, *(f"{verb} --help" for verb in VERBS)]
  return dict(zip(lines, run_many([line.split() for line in lines])))


@pytest.fixture(scope="module")
def helps(said) -> dict[str, str]:
  """What --help of each verb says."""
  found = {verb: said[f"{verb} --help"] for verb in VERBS}
  for verb, (code, _, error) in found.items():
    assert (code, error) == (0, ""), verb
  return {verb: text for verb, (_, text, _) in found.items()}


def find_examples(text: str) -> list[list[str]]:
  """The words of all commands in a text, without comments behind them."""
  joined = re.sub(r"\\\n\s*", "", text)
  found = re.findall(r"(?<![\w./-])sapiens2 ([a-z][^`\n|#]*)", joined)
  return [shlex.split(line.partition(" -- ")[0]) for line in found]


def split_verb(words: list[str]) -> tuple[str, list[str]]:
  size = 1 if words[0] in VERBS else 2
  return " ".join(words[:size]), words[size:]


def test_every_help_is_one_screen_with_a_sentence_and_an_example(helps):
  for verb, text in helps.items():
    assert text.count("\n") <= 40, verb
    assert max(map(len, text.splitlines())) <= 80, verb
    assert read_summary(VERBS[verb]) in text
    first, _ = split_verb(find_examples(text.partition("\n\n")[2])[0])
    assert first == verb


def test_the_list_of_verbs_is_one_screen(said):
  code, text, _ = said[LIST]
  assert code == 0 and len(text.splitlines()) <= 40
  assert max(map(len, text.splitlines())) <= 80
  for verb, module in VERBS.items():
    assert f"  {verb} " in text and read_summary(module) in text


def test_help_and_the_pages_know_the_same_verbs_and_flags(helps):
  for page in [*PAGES, *helps]:
    text = helps[page] if page in helps else page.read_text()
    for words in find_examples(text):
      verb, rest = split_verb(words)
      if verb.split()[0] in ("corpus", "config") and verb not in VERBS:
        assert verb in ("corpus", "config"), f"{page}: {words}"
        continue
      assert verb in VERBS, f"{page}: {words}"
      for flag in re.findall(r"(?<!\S)--(\w+)(?![\w.])", " ".join(rest)):
        assert f"--{flag} " in helps[verb] or flag == "help", (
          f"{page}: {verb} has no --{flag}"
        )


def test_help_of_the_config_has_every_field_with_its_sentence(said):
  code, text, error = said[FIELDS]
  assert code == 0, error
  lines = text.splitlines()
  place = lines.index("optim.peak_lr=0.005")
  assert lines[place + 1].startswith("  ") and "default" in lines[place + 1]
  assert any(line.startswith("task.") for line in lines)


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_message_and_exit_code_2(said, words):
  code, _, error = said[words]
  assert code == 2
  assert MISTAKES[words] in error and "Traceback" not in error


def test_every_file_of_experiments_has_a_name():
  names = {
    str(path.relative_to(ROOT / "experiments").with_suffix(""))
    for path in (ROOT / "experiments").rglob("*.py")
  }
  assert {*config_lib.experiments()} == names
  for name in names:
    assert config_lib.find_experiment(f"{name}:size=toy").endswith(".py")


def test_a_name_is_that_of_the_experiment_beside_a_directory(
  tmp_path, monkeypatch
):
  (tmp_path / "finetune").mkdir()
  monkeypatch.chdir(tmp_path)
  assert "task" in showing.read("finetune", [])
  with pytest.raises(config_lib.ConfigError, match="holds neither"):
    showing.read("./finetune", [])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
  """A directory that has what the examples read."""
  folder = tmp_path_factory.mktemp("examples")
  for name in ("corpora", "pretrain", "normal", "written"):
    old_runs.unpack(name, folder)
  (folder / "runs").mkdir()
  (folder / "pretrain").rename(folder / "runs" / "quickstart")
  (folder / "normal").rename(folder / "runs" / "normal")
  shutil.rmtree(folder / "photographs")  # A corpus.
  for name in ("photographs", "runs/quickstart/corpus/photographs"):
    commands.write_images(folder / name)
  for name in ("a", "b"):
    (folder / "runs" / name).symlink_to(folder / "runs" / "quickstart")
  (folder / "labelled").rename(folder / "people")
  tiny_task.write_corpus(folder / "test", [labelled.make_record(0)])
  (release,) = (folder / "reference").glob("*.safetensors")
  release.rename(folder / "sapiens2_toy_pretrain.safetensors")
  return folder


def find_example(helps, verb: str, more) -> list[str]:
  return [*find_examples(helps[verb].partition("\n\n")[2])[0], *more]


def test_the_examples_of_help_run(helps, place):
  lines = [find_example(helps, *item) for item in SMALLER.items()]
  said = dict(zip(SMALLER, run_many(lines, place)))
  for verb, (code, _, error) in said.items():
    assert code == 0, f"{verb}: {error}"
  assert "6 images" in said["corpus verify"][1]
  assert '"peak_lr": 0.0003' in said["config show"][1]
  assert said["config diff"][1] == "model.size: 0.4b -> 1b\n"
  assert said["sweep"][1].count("sapiens2 train") == 8
  assert {*SMALLER, *SLOW, *NOT_RUN} == {*VERBS}


@pytest.mark.slow
def test_the_other_examples_of_help_run(helps, place):
  if not (place / "corpus").exists():
    words = find_example(helps, "corpus build", ("--workers=0",))
    ((code, _, error),) = run_many([words], place)
    assert code == 0, error
  for item in SLOW.items():
    words = find_example(helps, *item)
    command = [sys.executable, "-c", PROGRAM, *words]
    done = forking.run(command, forking.server_environment(), place)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
  assert (place / "runs" / "quickstart" / "report" / "index.html").exists()
