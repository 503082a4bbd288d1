"""Every field of every config: its default, where that is from, its meaning.

`paper` is arXiv 2604.21681, `reference` the public Sapiens2 release, `DINOv3`
that code base, `ours` a choice of this project. Fields of a single task are in
its own module. Whoever changes a field's name enters it in RENAMED and raises
VERSION.
"""

from sapiens2_jax.architectures import ARCHITECTURES
from sapiens2_jax.fields import (
  AREA,
  BELOW_1,
  COUNT,
  FEW,
  FRACTION,
  NAMES,
  RANGE,
  SECONDS,
  SIZE,
  WIDTH,
  Field,
  above_0,
  all_of,
  at_least,
  group,
  must,
  one_of,
  with_defaults,
)
from sapiens2_jax.models.attention import BACKENDS
from sapiens2_jax.models.block import REMAT_POLICIES
from sapiens2_jax.models.from_config import DTYPES
from sapiens2_jax.models.rope import TABLES
from sapiens2_jax.pretrain.masks import MODES
from sapiens2_jax.pretrain.terms.distillation import TARGETS
from sapiens2_jax.pretrain.terms.koleo import REDUCTIONS
from sapiens2_jax.pretrain.terms.patch_distillation import HEADS, TOKENS
from sapiens2_jax.tasks import registry
from sapiens2_jax.training.optimizer import OPTIMIZERS
from sapiens2_jax.training.schedules import SCHEDULES
from sapiens2_jax.training.step import GATHERS
from sapiens2_jax.validation import checks

VERSION = 1
# What runs did before a field was there, where that is not its default.
BEFORE = {"objective.koleo_reduction": "mean"}
# version: {old name: new name} of the fields that it renamed.
RENAMED = {1: {"data.max_skipped_share": "data.max_skipped_fraction"}}

_BACKENDS = {"auto": None, **BACKENDS}
_PARTS = dict.fromkeys(("all", "encoder", "run"))
# JAX takes the lower 32 bits: more would be another seed.
_SEED = at_least(0, 2**32 - 1)
RATE = at_least(0, 1000)
CLIP = above_0(1e6, low=1e-6)
_WEIGHT = at_least(0, 1e6)
_TEMPERATURE = above_0(1000, low=1e-3)
FIRST = {
  "version": Field(
    VERSION,
    "Version of the schema that the fields belong to.",
    must(f"{VERSION}", lambda version: version == VERSION),
    "ours",
  ),
  "seed": Field(0, "Seed of all randomness.", _SEED, "ours"),
}
_MODEL = group(
  *("model", "ours"),
  size=Field("0.4b", "Size of the encoder.", one_of(ARCHITECTURES)),
  layer_scale_init=Field(
    1e-4, "Initial factor of what a block adds.", at_least(0, 1000), "reference"
  ),
  # As transformers; the reference takes bfloat16.
  rope_dtype=Field("float32", "Dtype of the rotations.", one_of(TABLES)),
  # Parameters and losses stay float32.
  dtype=Field("bfloat16", "Dtype of the computation.", one_of(DTYPES), "paper"),
  scan=Field(True, "Whether equal blocks are compiled once, as a loop."),
  # See models/block.py.
  remat=Field(
    "full", "What the backward pass finds in memory.", one_of(REMAT_POLICIES)
  ),
  # See parallel/whole_weights.py.
  gather=Field(
    "block",
    "When weights that fsdp cuts are gathered: for each block, or once a step, "
    "as copies in model.dtype.",
    one_of(GATHERS),
  ),
  attention_backend=Field(
    "auto", "xla, pallas or splash (TPU), cudnn (GPU).", one_of(_BACKENDS)
  ),
  # See models/windows.py. Ours; the reference takes 1024 windows of a batch.
  window_chunk=Field(
    256, "Windows of a view that the 4K variant computes at once.", COUNT
  ),
  init_from=Field(
    "", "Run or weights to start from, in any format; empty: random."
  ),
  # So a run goes on where the other one ended. A head of another task or shape
  # starts fresh in any case.
  init_parts=Field(
    "all",
    "all: whatever fits, heads, teacher and optimizer, too; run: the same, but "
    "of a run for the same purpose alone; or encoder.",
    one_of(_PARTS),
  ),
)
_DATA = group(
  *("data", "ours"),
  path=Field(
    "corpus",
    "A corpus, TFDS directory, tars or folder, on a disk or in a bucket, or a "
    'mixture, "PLACE,WEIGHT;PLACE,WEIGHT".',
  ),
  # 500k steps see a billion images.
  global_batch_size=Field(2048, "Images of a step.", COUNT),
  accumulation_steps=Field(1, "Microbatches of a step.", COUNT),
  image_size=Field(
    (1024, 768), "Height and width of input images, pixels.", SIZE, "paper"
  ),
  max_skipped_fraction=Field(
    0.01, "Fraction of unusable images above which the run stops.", FRACTION
  ),
  num_workers=Field(
    16, "Processes that decode; 0: threads in this one.", at_least(0, 4096)
  ),
  prefetch=Field(2, "Batches ready in each of them.", FEW),
  device_prefetch=Field(2, "Batches ready on the devices.", FEW),
  read_attempts=Field(5, "Attempts to read a record.", FEW),
  read_timeout=Field(60.0, "Seconds of an attempt.", SECONDS),
  batch_timeout=Field(
    1800.0, "Seconds without a batch after which the run stops.", SECONDS
  ),
  max_pixels=Field(
    170_000_000, "Pixels above which an image is skipped.", COUNT
  ),
)
_OPTIM = group(
  *("optim", "paper"),
  name=Field("adamw", "adamw, or muon for matrices.", one_of(OPTIMIZERS)),
  num_steps=Field(500_000, "Updates of the run.", COUNT),
  schedule=Field("cosine", "How the learning rate falls.", one_of(SCHEDULES)),
  warmup_steps=Field(
    1000, "Steps in which the rate rises to peak_lr.", at_least(0)
  ),
  peak_lr=Field(1e-4, "The largest learning rate.", RATE),
  final_lr=Field(1e-7, "The learning rate at the end.", at_least(0)),
  b1=Field(0.9, "Decay of the first moment.", BELOW_1),
  b2=Field(0.95, "Decay of the second moment.", BELOW_1),
  eps=Field(
    1e-8, "Added to the root of the second moment.", above_0(0.1), "ours"
  ),
  weight_decay=Field(
    0.05, "Decay of weights, times the learning rate.", at_least(0)
  ),
  decay_tokens=Field(False, "Whether special tokens decay, too."),
  clip_norm=Field(5.0, "Largest norm of the gradient.", CLIP),
  layer_decay=Field(
    1.0,
    "Rate of a layer over the next one's.",
    all_of(above_0(low=0.01), FRACTION),
    "ours",
  ),
  moments_dtype=Field(
    "float32", "Dtype of both moments.", one_of(DTYPES), "ours"
  ),
  max_nonfinite_steps=Field(
    20, "Steps skipped in a row after which the run stops.", COUNT, "ours"
  ),
)
_MESH = group(
  *("mesh", "ours"),
  data=Field(1, "Parts of the devices with a whole copy each.", checks.AXIS),
  fsdp=Field(-1, "Devices; -1: all that the others leave.", checks.AXIS),
  sequence=Field(1, "Devices along the tokens.", checks.AXIS),
  tensor=Field(1, "Devices along heads and hidden layers.", checks.AXIS),
)
# Names of mesh axes joined by "+"; the batch is cut along data and fsdp.
_SHARDING = group(
  *("sharding", "ours"),
  tokens=Field("sequence", "Mesh axes that cut the tokens; empty: none."),
  embed=Field("fsdp", "Mesh axes that cut the width of tokens."),
  heads=Field("tensor", "Mesh axes that cut the attention heads."),
  mlp=Field("tensor", "Mesh axes that cut the feed-forward layer."),
  layers=Field("", "Mesh axes that cut a stack of equal blocks."),
)
_CHECKPOINT = group(
  *("checkpoint", "ours"),
  # Cost and step time differ a hundredfold between sizes and slices.
  every=Field(
    0, "Steps between saves; 0: from their cost and mtbf_hours.", at_least(0)
  ),
  mtbf_hours=Field(
    24.0, "Hours between failures or preemptions.", above_0(1e6, 1e-3)
  ),
  keep_last=Field(3, "Number of newest saves that are kept.", COUNT),
  keep_every=Field(
    50_000, "Steps between saves that are kept for ever.", COUNT
  ),
  verify=Field(True, "Whether a restart compares all files with checksums."),
  keep_best=Field(
    "",
    'Also the best by a measured number, such as "eval_mIoU max"; empty: none.',
    checks.GOAL,
  ),
  # They are all parts of mesh.data but the first, so that needs at least 2.
  local_every=Field(
    0, "Steps between saves to a disk of each host; 0: none.", at_least(0)
  ),
  local_directory=Field("", "Directory on that disk."),
  compile_cache=Field(
    "", "Directory or gs:// for compiled programs; empty: in the workdir."
  ),
)
# Unset, they are JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID, or
# what JAX finds out on Cloud TPU, SLURM, GKE and Open MPI; else there is only
# this process.
DISTRIBUTED = group(
  *("distributed", "ours"),
  coordinator_address=Field(
    "", "host:port of process 0; empty: unset.", checks.ADDRESS
  ),
  num_processes=Field(-1, "Processes of the job; -1: unset.", checks.AXIS),
  process_id=Field(-1, "This process, from 0; -1: unset.", at_least(-1)),
  start_timeout=Field(
    300.0, "Seconds for all processes to come together.", at_least(1, 10**6)
  ),
  heartbeat_timeout=Field(
    100.0, "Seconds of silence after which a process is dead.", SECONDS
  ),
  # Schedulers of ours give 300; telling the others takes up to 25.
  stop_timeout=Field(240.0, "Seconds to save and end after SIGTERM.", SECONDS),
)
# A run in which nothing moves for so long ends, to be restarted.
_WATCHDOG = group(
  *("watchdog", "ours"),
  timeout=Field(2700.0, "Seconds for a step or a save.", SECONDS),
  start_timeout=Field(
    3600.0, "Seconds to start, restore and compile.", SECONDS
  ),
)
_LOGGING = group(
  *("logging", "ours"),
  every=Field(50, "Steps between lines.", COUNT),
  # See training/profiling.py.
  profile_steps=Field(
    (),
    "Traced from when so many steps are done until so many are, the first of a "
    "start excepted; empty: none.",
    checks.STEPS,
  ),
  wandb_project=Field(
    "", "Project of Weights & Biases that gets all metrics; empty: none."
  ),
)

_COMMON = FIRST | _MODEL | _MESH | _SHARDING
_COMMON |= DISTRIBUTED | _WATCHDOG | _LOGGING


def _online(name: str, value: tuple) -> str:
  """Looks at the tasks only when some are given: it imports them all."""
  known = registry.online_task_names() if value else ()
  return all_of(NAMES, one_of(dict.fromkeys(known)))(name, value)


PRETRAIN = {
  **(_COMMON | _DATA | _OPTIM | _CHECKPOINT),
  **group(
    *("model", "paper"),
    decoder_dim=Field(512, "Width of the decoder.", at_least(4, 2**16)),
    decoder_layers=Field(8, "Blocks of the decoder.", FEW),
    # Heads of 128 fill the matrix unit of a TPU.
    decoder_heads=Field(4, "Attention heads of the decoder.", FEW, "ours"),
    # DINOv3's default.
    prototypes=Field(
      65536, "Outputs of the projection head.", at_least(2, 2**24), "ours"
    ),
    head_hidden_dim=Field(
      2048, "Width of the projection head.", WIDTH, "DINOv3"
    ),
    bottleneck_dim=Field(256, "Width before the prototypes.", WIDTH, "DINOv3"),
  ),
  **group(
    *("data", "paper"),
    # As many tokens as a masked global crop.
    local_size=Field((512, 384), "Size of local crops, pixels.", SIZE, "ours"),
    # See pretrain/stages.py. Exported, reported and probed is at the sizes of
    # the last stage: image_size and local_size, and nothing else, say them.
    stages=Field(
      "",
      'First steps at other sizes: "SIZE,LOCAL_SIZE,FRACTION of the steps;...",'
      " such as 512x384,256x192,0.75; the last ones are at image_size and "
      "local_size; empty: all.",
      checks.STAGES,
      "ours",
    ),
    num_global=Field(2, "Global crops of an image.", at_least(2, 64)),
    num_local=Field(4, "Local crops of an image.", at_least(1, 64)),
    global_area=Field(
      (0.5, 1.0), "Range of a crop's fraction of the image.", AREA
    ),
    local_area=Field(
      (0.2, 0.7), "Range of a crop's fraction of the image.", AREA
    ),
    crop_aspect=Field(
      (3 / 4, 4 / 3),
      "Range of a crop's width by height, over that of its size.",
      RANGE,
      "ours",
    ),
  ),
  # Of local crops. Globals only flip: they carry the reconstruction target.
  **group(
    *("augment", "DINOv3"),
    brightness=Field(0.4, "Factors are in 1 +- it.", FRACTION),
    contrast=Field(0.4, "Factors are in 1 +- it.", FRACTION),
    saturation=Field(0.2, "Factors are in 1 +- it.", FRACTION),
    hue=Field(0.1, "Largest turn, in circles.", FRACTION),
    jitter_probability=Field(0.8, "Of these four.", FRACTION),
    grayscale_probability=Field(0.2, "Of a grey image.", FRACTION),
    blur_probability=Field(0.5, "Of a Gaussian blur.", FRACTION),
    blur_sigma=Field((0.1, 2.0), "Range in pixels.", RANGE),
    solarize_probability=Field(0.2, "Of inverting what is bright.", FRACTION),
  ),
  **group(
    *("masking", "paper"),
    mask_ratio=Field(0.75, "Fraction of patches that are hidden.", FRACTION),
    mode=Field("blockwise", "blockwise or grid.", one_of(MODES)),
    block_probability=Field(
      0.4, "Of hiding blocks instead of patches; blockwise.", FRACTION
    ),
    rectangle_area=Field(
      (0.02, 0.15),
      "Range of such a block's fraction of the view; blockwise.",
      AREA,
      "ours",
    ),
    rectangle_aspect=Field(
      (0.3, 3.3), "Range of its rows by its columns; blockwise.", RANGE, "ours"
    ),
    # Source: Pixio.
    block_size=Field(
      4, "Patches a side of a hidden square; grid.", COUNT, "ours"
    ),
  ),
  **group(
    *("objective", "ours"),
    w_ibot=Field(0.0, "Weight of patch-level distillation.", _WEIGHT),
    # See terms/patch_distillation.py for what they mean.
    ibot_tokens=Field("visible", "visible or masked patches.", one_of(TOKENS)),
    ibot_head=Field("own", "Its own head, or that of [cls].", one_of(HEADS)),
    ibot_num_patches=Field(
      64, "Patches of a view that it compares, at most; 0: all.", at_least(0)
    ),
    w_gram=Field(0.0, "Weight of Gram anchoring.", _WEIGHT),
    gram_start_step=Field(
      0, "Step whose teacher is held on to; before it: 0.", at_least(0)
    ),
    gram_refresh_steps=Field(
      0, "Steps after which a newer one is taken; 0: never.", at_least(0)
    ),
    # See terms/frozen_teacher.py.
    w_distill=Field(
      0.0, "Weight of distillation from a frozen teacher.", _WEIGHT
    ),
    distill_from=Field("", "Encoder weights of that teacher, in any format."),
    # The step, plans and FLOPs are known without the file.
    distill_size=Field(
      "1b", "Size of that teacher's encoder.", one_of(ARCHITECTURES)
    ),
  ),
  **group(
    *("objective", "paper"),
    w_mae=Field(1.0, "Weight of reconstruction.", _WEIGHT),
    w_cl=Field(0.4, "Weight of self-distillation.", _WEIGHT),
    w_koleo=Field(0.04, "Weight of KoLeo.", _WEIGHT),
    # sinkhorn: DINOv3's.
    target=Field("center", "How targets are balanced.", one_of(TARGETS)),
    student_temp=Field(0.1, "The student's temperature.", _TEMPERATURE),
    teacher_temp_start=Field(
      0.065, "The teacher's temperature at first.", _TEMPERATURE
    ),
    teacher_temp=Field(0.07, "The one that follows.", _TEMPERATURE),
    teacher_temp_steps=Field(1000, "Steps from one to the other.", at_least(0)),
    teacher_momentum=Field(
      0.992, "Fraction of the teacher that a step keeps.", BELOW_1
    ),
    center_momentum=Field(
      0.9, "Fraction of the center that a step keeps.", BELOW_1
    ),
    # DINOv3's default.
    koleo_group_size=Field(
      16, "Consecutive samples that KoLeo compares.", at_least(2), "ours"
    ),
    # DINOv3's code sums; the paper does not say.
    koleo_reduction=Field(
      "sum", "sum or mean over the global views.", one_of(REDUCTIONS), "DINOv3"
    ),
  ),
  # See training/freezing.py.
  **group(
    *("optim", "ours"),
    freeze_encoder_steps=Field(
      0, "First steps in which the encoder stays as it is.", at_least(0)
    ),
  ),
  **group(
    *("sharding", "ours"),
    prototypes=Field("tensor", "Mesh axes that cut the prototypes."),
  ),
  # Ridge regression from frozen features of the teacher to dense targets, and
  # retrieval.
  **group(
    *("probes", "ours"),
    every=Field(0, "Steps, and at the end; 0: never.", at_least(0)),
    path=Field("", "Images, with labels for the tasks, as data.path."),
    tasks=Field((), "Tasks whose targets are predicted.", _online),
    num_images=Field(
      64, "Images from the first; half of them for measuring.", at_least(2)
    ),
  ),
}

# Of each task its own module has more, and experiments/finetune.py values.
FINETUNE = {
  **_COMMON,
  **with_defaults(
    with_defaults(_DATA, "reference", image_size=(1024, 768)),
    "ours",
    **{"global_batch_size": 64, "max_skipped_fraction": 0.2},
  ),
  **group(
    *("data", "reference"),
    augment=Field(True, "False: images are as at test time."),
  ),
  **with_defaults(
    _OPTIM,
    "reference",
    **{"name": "adamw", "schedule": "linear", "warmup_steps": 500},
    **{"num_steps": 20_000, "peak_lr": 5e-4, "final_lr": 0.0},
    **{"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.1},
    **{"decay_tokens": True, "clip_norm": 4.0, "layer_decay": 0.8},
  ),
  **with_defaults(_CHECKPOINT, "ours", keep_every=10_000),
  **group(
    *("optim", "reference"),
    frozen_stages=Field(
      0,
      "First blocks that are not trained, nor what is before them; 0: none.",
      at_least(0),
    ),
  ),
  **group(
    *("model", "ours"),
    init_head=Field(
      False, "Whether the head of init_from must fit, whole; else it may."
    ),
    # Source: arXiv 2106.09685.
    lora_rank=Field(
      0,
      "Rank of what the encoder's matrices learn, LoRA: all else of it is "
      "frozen; 0: no LoRA.",
      at_least(0, 1024),
    ),
  ),
  **group(
    "task", "ours", name=Field("", "A folder of tasks/, or one registered.")
  ),
  # The task's metric, on whole images of a labelled set.
  **group(
    *("evaluation", "ours"),
    every=Field(0, "Steps, and at the end; 0: never.", at_least(0)),
    path=Field("", "A corpus with labels."),
    num_images=Field(0, "Images from the first; 0: all.", at_least(0)),
    num_pictures=Field(
      4, "Of them in TensorBoard, with prediction and truth.", at_least(0)
    ),
  ),
}
