"""What each launcher prints is run, with stand-ins for the cluster."""

import json
import re
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.launch import fakes
from tests.launch.fakes import train_flags

HOSTILE = [
  "a b",
  "it's",
  'say "x"',
  "$HOME $(x) ${HOME} $$ `x`",
  "* ?[a] ~ {1,2}",
  "a\nb\tc",
  "back\\slash; & | < > # !x",
  "--config=x",
  "ünï",
]


@pytest.fixture
def cluster(tmp_path):
  return fakes.Cluster(tmp_path / "fakes")


def dry_run(cluster, launcher: str, *train: str) -> str:
  command = fakes.launch(launcher, *fakes.FLAGS[launcher], "--dry_run", *train)
  done = cluster.run(*command, PATH=str(cluster.bare))
  assert done.returncode == 0, done.stderr
  return done.stdout


def started(cluster, launcher: str, *train: str) -> list[str]:
  """The words of the train command that the printed lines end in."""
  done = cluster.run("bash", "-c", dry_run(cluster, launcher, *train))
  calls = cluster.started()
  assert len(calls) == 1, done.stderr
  return calls[0]


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_every_launcher_ends_in_the_same_command(cluster, launcher):
  train = fakes.train_flags("gs://b/run", "seed=3", "data.image_size=(64, 48)")
  expected = ["python", "-m", "sapiens2_jax.train", *train]
  assert started(cluster, launcher, *train) == expected


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_hostile_values_arrive_as_they_are(cluster, launcher):
  workdir, *values = HOSTILE
  overrides = [f"data.path={value}" for value in values]
  train = fakes.train_flags(f"gs://b/{workdir}", *overrides)
  found = started(cluster, launcher, "--", *train)
  assert found == ["python", "-m", "sapiens2_jax.train", *train]
  assert cluster.calls()[0][-len(train) :] == train  # The check.


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_the_experiment_is_checked_before_anything_is_asked_for(
  cluster, launcher
):
  train = fakes.train_flags()
  command = fakes.launch(launcher, *fakes.FLAGS[launcher], *train)
  for code in (1, 2):
    cluster.forget()
    done = cluster.run(*command, CHECK_EXIT=str(code))
    assert done.returncode == code
    assert ("launch/install.sh quickstart" in done.stderr) == (code == 1)
    devices = "32" if launcher == "slurm" else "128"
    elsewhere = "--noelsewhere" if launcher == "slurm" else "--elsewhere"
    assert cluster.calls() == [
      [
        *("python", "-m", "sapiens2_jax.train", "--check"),
        *("--num_devices", devices, elsewhere, *train),
      ]
    ]


DEVICES = 'source "$0"; usage="" flags=""; for t; do count_devices "$t"; done'


def test_devices_of_a_slice_are_counted_as_jax_does():
  common = str(fakes.ROOT / "launch" / "common.sh")
  types = "v3-32 v4-16 v5p-256 v5litepod-16 v6e-64 tpu7x-128 v9-8 v6e v5p-x"
  counted = subprocess.run(
    ["bash", "-c", DEVICES, common, *types.split()],
    capture_output=True,
    check=True,
    text=True,
  ).stdout
  assert counted.split() == ["32", "8", "128", "16", "64", "128"]


def test_devices_that_the_type_does_not_tell_must_be_given(cluster):
  flags = [*fakes.FLAGS["gke"], "--tpu_type", "v9-8", *fakes.train_flags()]
  done = cluster.run(*fakes.launch("gke", *flags))
  assert done.returncode == 2
  assert done.stderr == "gke: --num_devices is missing: v9-8 does not tell it\n"
  given = [*flags, "--num_devices", "8"]
  assert cluster.run(*fakes.launch("gke", *given)).returncode == 0
  assert "--num_devices 8" in " ".join(cluster.calls("python")[0])


SOURCES = {"gke": "runs", "tpu_vm": "10.0.0.2:/runs"}


@pytest.mark.parametrize("launcher", SOURCES)
def test_a_workdir_that_nothing_mounts_is_refused(cluster, launcher):
  command = fakes.launch(launcher, *fakes.FLAGS[launcher])
  train = fakes.train_flags("/mnt/runs/p04")
  mount = f"--mount={SOURCES[launcher]}:/mnt"
  for words in ([], [f"{mount}/run"], [f"{mount}/runs/p04"]):
    done = cluster.run(*command, *words, *train)
    assert done.returncode == 2
    assert "--workdir=/mnt/runs/p04 is on a disk that no other" in done.stderr
  done = cluster.run(*command, "--mount=runs", *train)
  assert done.returncode == 2 and "--mount=runs must be" in done.stderr
  assert not cluster.calls()
  for words in ([f"{mount}/runs"], [f"{mount}/"], ["--mount=:/mnt/runs"]):
    done = cluster.run(*command, *words, *train)
    assert done.returncode == 0, done.stderr


def test_storage_is_mounted_before_the_run(cluster):
  train = fakes.train_flags("/mnt/my runs/p04")
  flags = [*fakes.FLAGS["gke"], "--mount", "runs:/mnt/my runs"]
  cluster.run(*fakes.launch("gke", *flags, *train))
  assert "--storage=runs" in cluster.calls("xpk")[0]
  cluster.forget()
  flags = [*fakes.FLAGS["tpu_vm"], "--mount", "10.0.0.2:/runs:/mnt/my runs"]
  cluster.run(*fakes.launch("tpu_vm", *flags, *train))
  lines = [
    word
    for call in cluster.calls("gcloud")
    for word in call
    if word.startswith("--command=")
  ]
  assert "mount -t nfs 10.0.0.2:/runs '/mnt/my runs'" in lines[-2]
  assert "host.sh" in lines[-1]
  # A single machine may keep the run on its own disk.
  one = [*fakes.FLAGS["tpu_vm"], "--accelerator_type=v6e-8", *train]
  assert cluster.run(*fakes.launch("tpu_vm", *one)).returncode == 0


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_a_dry_run_prints_exactly_what_a_run_does(cluster, launcher):
  train = fakes.train_flags("gs://b/it's $HOME")
  cluster.run("bash", "-c", dry_run(cluster, launcher, *train))
  printed = cluster.calls()
  cluster.forget()
  done = cluster.run(*fakes.launch(launcher, *fakes.FLAGS[launcher], *train))
  assert done.returncode == 0, done.stderr
  assert len(printed) >= 2
  assert cluster.calls() == printed


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_a_dry_run_starts_nothing(cluster, launcher):
  command = fakes.launch(launcher, *fakes.FLAGS[launcher], "--dry_run")
  done = cluster.run(*command, *fakes.train_flags())
  assert done.returncode == 0
  assert not cluster.calls()


HEAD = re.compile(r'flags="\\\n(.*?)"', re.DOTALL)


def flags_of(launcher: str) -> list[str]:
  text = (fakes.ROOT / "launch" / f"{launcher}.sh").read_text()
  return [line.split()[0] for line in HEAD.search(text)[1].splitlines()]


# One at a time: together they are a mistake in the shell's grammar.
INJECTIONS = ["n$({})", "n'; {}; '", 'n"; {}; "', "n; {};"]


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_no_flag_of_any_launcher_runs_as_shell(cluster, launcher):
  def hostile(flag: str, text: str) -> str:
    return f"--{flag}=" + text.format(f"touch {cluster.folder}/ran-{flag}")

  command = fakes.launch(launcher, *fakes.FLAGS[launcher])
  taken = []
  for flag in [*flags_of(launcher), "x[$(touch ran)]"]:
    given = hostile(flag, INJECTIONS[0])
    done = cluster.run(*command, given, "--dry_run", *train_flags())
    if done.returncode == 0:  # Else one that must be a number.
      taken.append(flag)
  assert len(taken) >= 3
  for text in INJECTIONS:
    words = [*command, *(hostile(flag, text) for flag in taken)]
    printed = cluster.run(*words, "--dry_run", *train_flags()).stdout
    cluster.run("bash", "-c", printed, STATE="FAILED")
    # Remarks are to be pasted.
    for line in printed.splitlines():
      if line.startswith("# ") and "tail " not in line:
        cluster.run("bash", "-c", line.partition(": ")[2])
  assert not list(cluster.folder.glob("ran*"))
  assert not (cluster.home / "ran").exists()


QUOTE = 'source "$0"; usage="" flags=""; quote "$@"'


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
  st.lists(
    st.text(
      st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
      max_size=12,
    ),
    min_size=1,
    max_size=8,
  )
)
def test_quoted_words_are_read_back_as_they_were(words):
  common = str(fakes.ROOT / "launch" / "common.sh")
  quoted = subprocess.run(
    ["bash", "-c", QUOTE, common, *words], capture_output=True, check=True
  ).stdout
  read = subprocess.run(
    ["bash", "-c", b"printf '%s\\0' " + quoted], capture_output=True, check=True
  ).stdout
  assert read.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--zoen", "x"], "unknown flag --zoen (see --help)"),
    (["--config.seed"], "--config.seed has no value; write"),
    (["--workdir"], "--workdir needs a value"),
    (["--config", "a.py"], "--workdir is missing (see --help)"),
    (["--workdir", "a"], "--config is missing (see --help)"),
    (["--max_restarts", "x"] + fakes.train_flags(), "--max_restarts=x must be"),
    (["--dry_run=no"], "--dry_run takes no value, found no"),
    (["experiments/pretrain.py"], "unexpected argument experiments/pretrain"),
  ],
)
def test_a_mistake_is_one_line_that_names_the_flag(
  cluster, launcher, words, message
):
  command = fakes.launch(launcher, *fakes.FLAGS[launcher], *words)
  done = cluster.run(*command)
  assert done.returncode == 2
  assert done.stderr.startswith(f"{launcher}: {message}")
  assert done.stderr.count("\n") == 1
  assert not cluster.calls()


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_a_missing_flag_and_a_missing_program_are_named(cluster, launcher):
  first, _, *others = fakes.FLAGS[launcher]
  done = cluster.run(*fakes.launch(launcher, *others, *fakes.train_flags()))
  assert done.returncode == 2
  assert done.stderr == f"{launcher}: {first} is missing (see --help)\n"
  command = fakes.launch(launcher, *fakes.FLAGS[launcher])
  done = cluster.run(*command, *fakes.train_flags(), PATH=str(cluster.bare))
  assert done.returncode == 2
  assert "is not on PATH" in done.stderr


@pytest.mark.parametrize("launcher", fakes.LAUNCHERS)
def test_help_lists_every_flag_and_hyphens_are_fine(cluster, launcher):
  shown = cluster.run(*fakes.launch(launcher, "--help"))
  assert shown.returncode == 0
  for word in fakes.FLAGS[launcher]:
    assert not word.startswith("--") or f"  {word} " in shown.stdout
  plain = dry_run(cluster, launcher, *fakes.train_flags())
  flags = [
    word.replace("_", "-") if word.startswith("--") else word
    for word in fakes.FLAGS[launcher]
  ]
  command = fakes.launch(launcher, *flags, "--dry-run", *fakes.train_flags())
  assert cluster.run(*command).stdout == plain


@pytest.mark.parametrize(
  ("launcher", "pattern"),
  [
    ("gke", r"--termination-grace-period-seconds=(\d+)"),
    ("slurm", r"--signal=TERM@(\d+)"),
  ],
)
def test_a_run_is_given_the_time_that_it_takes_to_stop(
  cluster, launcher, pattern
):
  printed = dry_run(cluster, launcher, *fakes.train_flags())
  given = int(re.search(pattern, printed)[1])
  assert given >= fakes.seconds_to_stop()


def test_several_slices_are_named_by_a_prefix(cluster):
  flags = [*fakes.FLAGS["tpu_vm"], "--node_count", "2", *fakes.train_flags()]
  cluster.run(*fakes.launch("tpu_vm", *flags))
  create = next(c for c in cluster.calls("gcloud") if "create" in c)
  assert {"--node-count=2", "--node-prefix=p04", "--spot"} < set(create)
  assert not any(word.startswith("--node-id") for word in create)


PARSE = """
import json, sys
from sapiens2_jax import checking, command, config, train

def parse(words):
  def main(overrides):
    found = checking.load_config(train._CONFIG.value, overrides)
    print(config.to_json(found).replace("\\n", " "))
  train.flags.FLAGS.unparse_flags()
  sys.argv = words
  try:
    command.run_with_config(main, "config", "workdir")
  except SystemExit as end:
    print(json.dumps(end.code))

if __name__ == "__main__":
  for words in json.loads(sys.argv[1]):
    parse(words)
"""


@pytest.mark.slow
def test_the_real_parser_takes_every_final_command(cluster, tmp_path):
  train = fakes.train_flags(
    "gs://b/w", "data.path=a b; $x", "optim.peak_lr=3e-4"
  )
  commands = [started(cluster, name, *train)[2:] for name in ("slurm",)]
  for name in ("tpu_vm", "gke"):
    cluster.forget()
    commands.append(started(cluster, name, *train)[2:])
  commands.append([*commands[0], "--config.optim.peek_lr=1"])
  lines = []
  for words in commands:  # A process may join others only once.
    done = subprocess.run(
      [sys.executable, "-c", PARSE, json.dumps([words])],
      cwd=fakes.ROOT,
      env=cluster.env,
      capture_output=True,
      text=True,
    )
    lines += [json.loads(line) for line in done.stdout.splitlines()]
  for config, code in (lines[0:2], lines[2:4], lines[4:6]):
    assert config["data"]["path"] == "a b; $x"
    assert config["optim"]["peak_lr"] == 3e-4
    assert not code
  # The misspelt field has no config, only the exit code of a mistake.
  assert lines[6:] == [2]
  assert "did you mean optim.peak_lr?" in done.stderr
