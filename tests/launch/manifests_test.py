"""The JobSet, against Kubernetes' schemas and XPK's own manifest."""

import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import kubernetes_validate
import pytest
import yaml
from absl import flags

from sapiens2_jax import config as config_lib
from tests.launch import fakes

# Its functions; its flags have names of other commands' flags.
with mock.patch.multiple(
  flags, DEFINE_string=mock.DEFAULT, DEFINE_integer=mock.DEFAULT
):
  jobset = config_lib.load_module(fakes.ROOT / "launch" / "jobset.py")
TEMPLATE = fakes.ROOT / "launch" / "jobset.yaml"
FLAGS = [
  *("--name", "p04", "--image", "gcr.io/x/y:1"),
  *("--accelerator", "tpu-v5p-slice", "--topology", "4x4x8"),
]
TRAIN = fakes.train_flags(
  "/mnt/runs/$(HOME) $x $$ a: b\n- c",
  "data.path=/mnt/data a: #b",
  "data.global_batch_size=256",
  *("mesh.data=-1", "mesh.fsdp=1"),
)
# Fields of JobSet v1alpha2 that a manifest of ours may have; None: any value.
# JobSet is no part of Kubernetes and no package ships its schema.
SCHEMA = {
  "apiVersion": "jobset.x-k8s.io/v1alpha2",
  "kind": "JobSet",
  "metadata": None,
  "spec": {
    "failurePolicy": {
      "maxRestarts": int,
      "rules": [
        {
          "name": str,
          "action": str,
          "onJobFailureReasons": [str],
        }
      ],
    },
    "replicatedJobs": [
      {"name": str, "replicas": int, "template": {"spec": None}}
    ],
  },
}


def render(*words: str) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "launch/jobset.py", *words],
    cwd=fakes.ROOT,
    env={"PYTHONPATH": str(fakes.ROOT)},
    capture_output=True,
    text=True,
  )


@pytest.fixture(scope="module")
def rendered() -> dict:
  done = render(*FLAGS, "--num_slices=2", "--mount=runs:/mnt/runs", *TRAIN)
  assert done.returncode == 0, done.stderr
  return yaml.safe_load(done.stdout)


@pytest.fixture
def template() -> dict:
  return yaml.safe_load(TEMPLATE.read_text())


def check(found, schema, where: str = "") -> None:
  if isinstance(schema, dict):
    assert set(found) <= set(schema), where
    for name, value in found.items():
      check(value, schema[name], f"{where}.{name}")
  elif isinstance(schema, list):
    for item in found:
      check(item, schema[0], f"{where}[]")
  elif isinstance(schema, type):
    assert type(found) is schema, where
  else:
    assert schema in (None, found), where


def job_of(jobset: dict) -> dict:
  """What the JobSet controller makes of it."""
  template = jobset["spec"]["replicatedJobs"][0]["template"]
  metadata = {"name": jobset["metadata"]["name"]}
  return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata} | {
    "spec": template["spec"]
  }


def container_of(jobset: dict) -> dict:
  return job_of(jobset)["spec"]["template"]["spec"]["containers"][0]


def check_manifest(jobset: dict) -> None:
  check(jobset, SCHEMA)
  kubernetes_validate.validate(
    job_of(jobset), kubernetes_validate.latest_version(), strict=True
  )


def test_template_and_manifest_fit_the_schemas(template, rendered):
  check_manifest(template)
  check_manifest(rendered)


def test_storage_is_mounted_where_the_workdir_lies(rendered, template):
  spec = job_of(rendered)["spec"]["template"]["spec"]
  assert spec["volumes"][-1] == {
    "name": "runs",
    "persistentVolumeClaim": {"claimName": "runs"},
  }
  mounted = {"name": "runs", "mountPath": "/mnt/runs"}
  assert container_of(rendered)["volumeMounts"][-1] == mounted

  job = template["spec"]["replicatedJobs"][0]["template"]["spec"]
  jobset.add_mount(job["template"], "gs://bucket", "/mnt/runs")
  check_manifest(template)
  assert container_of(template)["volumeMounts"][-1] == mounted
  volume = job["template"]["spec"]["volumes"][-1]["csi"]
  assert volume["driver"] == "gcsfuse.csi.storage.gke.io"
  assert volume["volumeAttributes"]["bucketName"] == "bucket"
  annotations = job["template"]["metadata"]["annotations"]
  assert annotations == {"gke-gcsfuse/volumes": "true"}


@pytest.mark.parametrize(
  ("mount", "workdir", "expected"),
  [
    (None, "gs://b/run", None),
    ("runs:/mnt/runs/", "/mnt/runs/p04", ("runs", "/mnt/runs")),
    ("gs://b-1.c:/mnt", "/mnt/runs/p04", ("gs://b-1.c", "/mnt")),
    ("data:/data", "gs://b/run", ("data", "/data")),
    (None, "/mnt/runs/p04", "--workdir=/mnt/runs/p04 is on the disk of a pod"),
    ("runs:/mnt/run", "/mnt/runs/p04", "is on the disk of a pod"),
    ("runs:/mnt/runs", "/mnt/runs", "is on the disk of a pod"),
    (
      "runs",
      "/mnt/runs/p04",
      "--mount=runs must be CLAIM:/PATH or gs://BUCKET",
    ),
    ("runs:mnt", "/mnt/runs/p04", "--mount=runs:mnt must be"),
    ("Runs:/mnt", "/mnt/runs/p04", "--mount=Runs:/mnt must be"),
    ("gs://b/x:/mnt", "/mnt/runs/p04", "must be CLAIM:/PATH"),
  ],
)
def test_a_mount_must_hold_the_workdir(mount, workdir, expected):
  if not isinstance(expected, str):
    assert jobset.read_mount(mount, workdir) == expected
    return
  with pytest.raises(ValueError, match=expected):
    jobset.read_mount(mount, workdir)


def test_a_mistake_in_the_experiment_is_told_and_nothing_is_printed():
  wrong = fakes.train_flags("gs://b/run", "mesh.fsdp=3", "optim.peek_lr=1")
  done = render(*FLAGS, *wrong)
  assert done.returncode == 2 and not done.stdout
  assert "config: 2 problems in experiments/pretrain.py:size=toy" in done.stderr
  assert "does not multiply to 128 devices" in done.stderr
  assert "Traceback" not in done.stderr


def test_the_schemas_notice_a_misspelt_field(template):
  template["spec"]["replicatedJobs"][0]["template"]["spec"]["backofLimit"] = 0
  with pytest.raises(kubernetes_validate.ValidationError):
    check_manifest(template)
  with pytest.raises(AssertionError):
    check({**template, "specs": {}}, SCHEMA)


def test_exit_code_2_fails_the_job_and_others_restart_it(rendered):
  policy = rendered["spec"]["failurePolicy"]
  assert policy["maxRestarts"] > 0
  assert policy["rules"] == [
    {
      "name": "configMistake",
      "action": "FailJobSet",
      "onJobFailureReasons": ["PodFailurePolicy"],
    }
  ]
  spec = job_of(rendered)["spec"]
  assert spec["backoffLimit"] == 0
  rules = spec["podFailurePolicy"]["rules"]
  assert [rule["action"] for rule in rules] == ["FailJob"]
  assert rules[0]["onExitCodes"] == {
    "containerName": container_of(rendered)["name"],
    "operator": "In",
    "values": [2, 3],
  }
  pod = spec["template"]["spec"]
  assert pod["restartPolicy"] == "Never"
  assert pod["terminationGracePeriodSeconds"] >= fakes.seconds_to_stop()


def test_the_manifest_says_what_the_flags_say(rendered):
  replicated = rendered["spec"]["replicatedJobs"][0]
  spec = replicated["template"]["spec"]
  assert rendered["metadata"]["name"] == "p04"
  assert replicated["replicas"] == 2
  assert spec["parallelism"] == spec["completions"] == 4 * 4 * 8 // 4
  assert spec["template"]["spec"]["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
    "cloud.google.com/gke-tpu-topology": "4x4x8",
  }
  container = container_of(rendered)
  assert container["image"] == "gcr.io/x/y:1"
  assert container["resources"]["limits"] == {"google.com/tpu": 4}


def test_the_container_is_given_the_train_flags_as_they_are(rendered):
  found = [
    fakes.kubernetes_expands(word) for word in container_of(rendered)["args"]
  ]
  assert found == TRAIN
  # The image brings the rest of the command.
  assert "command" not in container_of(rendered)


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--topology=4x", "--topology=4x must be like 2x4 or 4x4x8"),
    ("--topology=3x3", "--chips_per_host=4 does not divide the 9 chips"),
    ("--name=P04", "--name=P04 must be up to 40 of a-z, 0-9 and -"),
    ("--num_slices=0", "num_slices"),
    ("--nam=x", "nam"),
  ],
)
def test_a_mistake_is_one_line(flag, message):
  done = render(*FLAGS, *fakes.train_flags(), flag)
  assert done.returncode == 2
  assert message in done.stderr
  assert "Traceback" not in done.stderr
  assert not done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xpk") is None, reason="needs xpk on PATH")
def test_xpk_makes_a_job_that_ends_in_the_train_command(tmp_path):
  train = fakes.train_flags(
    "gs://b/it's $(HOME) {x}", 'data.path=a: "b"; #c\n- d'
  )
  printed = subprocess.run(
    fakes.launch("gke", *fakes.FLAGS["gke"], "--dry_run", *train),
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  manifest = tmp_path / "jobset.yaml"
  line = next(x for x in printed.splitlines() if x.startswith("xpk"))
  offline = "--dry-run --skip-validation --project=p --zone=us-east5-a"
  subprocess.run(
    ["bash", "-c", f"{line} {offline} --output-manifest-file={manifest}"],
    cwd=tmp_path,
    check=True,
    capture_output=True,
  )
  jobset = yaml.safe_load(manifest.read_text())
  assert jobset["spec"]["failurePolicy"]["rules"][0]["action"] == "FailJobSet"
  spec = job_of(jobset)["spec"]
  # XPK fails the job after all exit codes but these.
  rule = spec["podFailurePolicy"]["rules"][0]
  assert rule["onExitCodes"]["operator"] == "NotIn"
  restarted = rule["onExitCodes"]["values"]
  assert {1, 137, 143} < set(restarted)
  assert 2 not in restarted
  assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 300

  cluster = fakes.Cluster(tmp_path / "fakes")
  shell = fakes.kubernetes_expands(container_of(jobset)["command"][2])
  repository = pathlib.Path(cluster.env["REPOSITORY"])
  cluster.home = repository
  for code in ("0", "2"):
    cluster.forget()
    done = cluster.run("bash", "-c", shell, TRAIN_EXIT=code)
    assert done.returncode == int(code)
    assert cluster.calls() == [["python", "-m", "sapiens2_jax.train", *train]]
