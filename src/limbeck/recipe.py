"""What a run is: closed, frozen records read from TOML, resolved to JSON. Nothing here imports torch or does work."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from limbeck.errors import InputError

__all__ = ["Recipe", "parse_recipe", "read_recipe", "recipe_schema"]


class Section(BaseModel):
    """A closed, frozen table of a recipe: an unknown key is an error, a field never changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Data(Section):
    """`[data]`: where the pictures come from and how they are split."""

    name: str = Field(
        "folder",
        description="digits, folder, table, cifar10, cifar100, tiny_imagenet, imagenet, hub, masks, cityscapes, "
        "voc_segmentation, or package.module:name",
    )
    path: str | None = Field(None, description="folder, table file (train) or hub name")
    validation_path: str | None = Field(None, description="table file of the validation split")
    test_path: str | None = Field(None, description="table file of the test split")
    image_column: str = Field("image", description="column of a table that holds a path or encoded bytes")
    label_column: str = Field("label", description="column of a table that holds a class name or index")
    group_by: str | None = Field(None, description="column whose values (a product, a person) never cross splits")
    unlabelled: str | None = Field(None, description="folder of unlabelled pictures that join distillation")
    image_size: int | tuple[int, int] | None = Field(
        None, description="pixels (side, or height and width); None = looked up from the data"
    )
    fit: Literal["crop", "squash", "pad"] = Field(
        "crop", description="how a picture of another shape becomes image_size"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the training pictures held out for selection; 0 = train on all, take the last epoch",
    )
    test: float = Field(0.2, gt=0, lt=1, description="share held out for test where the data has no test split")
    limit: int | None = Field(None, ge=1, description="use only so many training pictures, stratified")
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: Literal["none", "balanced"] = "none"
    seed: int = Field(
        0, ge=0, description="of the split; apart from the run's seed, so that seeds are compared on the same pictures"
    )
    workers: int = Field(
        0, ge=0, description="processes that read and augment; the batches are the same for any number"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the reader")


class Augment(Section):
    """`[augment]`: random changes of training pictures, each a pure function of (seed, view, index)."""

    crop: Literal["none", "shift", "resized", "scaled", "ssd"] = Field(
        "shift",
        description="shift = pad by padding and crop back; resized = random resized crop; scaled = zoom in or out and crop; "
        "ssd = SSD's crop, for boxes",
    )
    padding: float = Field(0.125, ge=0, le=0.5, description="share of the side, for crop = shift")
    scale: tuple[float, float] = Field((0.35, 1.0), description="area range, for crop = resized")
    zoom: tuple[float, float] = Field((0.5, 2.0), description="range of the factor, for crop = scaled")
    flip: bool = Field(True, description="horizontal")
    rand_augment: tuple[int, int] | None = Field(
        None, description="operations, and magnitude from 0 to 30, of torchvision's RandAugment"
    )
    auto_augment: str | None = Field(
        None,
        description="a learned policy: imagenet, cifar10 or svhn; or any of timm's, such as timm:rand-m9-mstd0.5, whose "
        "magnitudes go to 10",
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing")
    mixup: float = Field(0.0, ge=0, description="alpha; 0 = off")
    cutmix: float = Field(0.0, ge=0, description="alpha; 0 = off")


class Train(Section):
    """`[train]` and `[teacher.train]`: one training run."""

    epochs: int = Field(30, ge=1)
    batch_size: int | Literal["auto"] = Field(64, description="or auto: the largest power of two that fits the device")
    optimizer: Literal["sgd", "adamw", "rmsprop", "rmsprop_tf"] = "sgd"
    learning_rate: float = Field(0.05, gt=0, description="peak, at the batch size given")
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    epsilon: float | None = Field(None, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    decay_norm_and_bias: bool = Field(False, description="whether weight decay reaches norm layers and biases")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor on the rate per layer group, from the head down")
    schedule: Literal["cosine", "poly", "step", "exponential", "constant"] = Field(
        "cosine",
        description="of the rate after the warm-up; poly falls nearly in a line, as segmentation's trainings do",
    )
    milestones: tuple[float, ...] = Field((), description="epochs after which schedule = step multiplies by gamma")
    gamma: float = Field(0.1, gt=0, le=1)
    decay_epochs: float = Field(2.4, gt=0, description="for schedule = exponential: every so many epochs, times gamma")
    warmup_epochs: float = Field(1.0, ge=0)
    final_rate: float = Field(0.0, ge=0, description="share of the peak that the cosine or poly ends at")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weight average that is evaluated and kept; 0 = off")
    clip_norm: float | None = Field(None, gt=0, description="per learner")
    accumulate: int = Field(1, ge=1, description="batches per optimizer step")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    channels_last: bool = True
    device: str = Field("auto", description="auto, cpu, cuda, mps")
    threads: int | None = Field(
        None, ge=1, description="CPU threads; stored with the run, another count gives other bits"
    )
    checkpoint_seconds: float = Field(60, gt=0)

    @model_validator(mode="after")
    def _an_epsilon_is_read(self) -> Train:
        if self.epsilon is not None and self.optimizer == "sgd":
            raise ValueError("epsilon: sgd has none; leave it out")
        return self


class Model(Section):
    """A network by name."""

    model: str = Field(description="one of `limbeck show models`, timm:NAME, torchvision:NAME, or package.module:name")
    pretrained: bool | str = Field(False, description="true, timm:NAME, torchvision:NAME or a path")
    width_multiplier: float = Field(1.0, gt=0)
    input_size: int | tuple[int, int] | None = Field(
        None, description="the network's own resolution; None = the pictures', or a pretrained library network's own"
    )
    small_images: bool | None = Field(
        None, description="stem without stride for pictures of about 32 pixels; None = by input size"
    )
    dropout: float | None = Field(None, ge=0, lt=1)
    options: dict[str, Any] = Field(default_factory=dict)


class Budget(Section):
    """`[budget]`: what the result may cost, on which device."""

    target: str = Field("onnxruntime,threads=1", description="where the result must run: see `limbeck show targets`")
    max_latency_ms: float | None = Field(None, gt=0)
    statistic: Literal["median", "p90"] = "median"
    max_params: int | None = Field(None, gt=0)
    max_macs: int | None = Field(None, gt=0)
    max_size_bytes: int | None = Field(None, gt=0)
    max_peak_memory_bytes: int | None = Field(
        None, gt=0, description="resident memory that loading and running the file adds on the target"
    )


class Proxy(Section):
    """`[search.proxy]`: the short training that ranks candidates."""

    epochs: int = Field(3, ge=1)
    limit: int | None = Field(None, ge=1, description="training pictures used; None = all")
    learning_rate: float | None = Field(None, gt=0, description="None = the student's")
    halving: int | None = Field(
        None, ge=2, description="train for one in so many of the epochs first, and only one in so many to the end"
    )
    rungs: int = Field(1, ge=1, le=4, description="with halving: how many such shorter trainings, each as much longer")
    distill: bool = Field(False, description="learn from the teacher as [distill] says, and not from the labels alone")

    @property
    def mean_epochs(self) -> float:
        """Of a candidate, where halving lets exactly one in so many go on: each rung costs as much as the last one."""
        return self.epochs if self.halving is None else self.epochs * (self.rungs + 1) / self.halving**self.rungs

    @model_validator(mode="after")
    def _every_rung_has_an_epoch(self) -> Proxy:
        if self.halving is None and self.rungs != 1:
            raise ValueError("rungs: nothing reads them; set halving too")
        if self.halving is not None and self.epochs < (least := self.halving**self.rungs):
            raise ValueError(f"halving: epochs = {self.epochs} leaves the first rung none; give {least} or more")
        return self


class Search(Section):
    """`[search]`: choose the student's architecture under the budget."""

    space: str = Field("mobilenet_blocks", description="or package.module:name")
    options: dict[str, Any] = Field(default_factory=dict, description="of the space, such as input_sizes or widths")
    sampler: str = Field("tpe", description="tpe, controller, nsga2, random, or package.module:function of a seed")
    sampler_options: dict[str, Any] = Field(
        default_factory=dict, description="of the sampler, such as preset = 'nasnet' for the controller"
    )
    objective: Literal["accuracy", "reward", "absolute"] = Field(
        "accuracy", description="what is maximised: reward = accuracy * (latency / target)^w, absolute = TuNAS's"
    )
    target_latency_ms: float | None = Field(
        None, gt=0, description="of both rewards; None = budget.max_latency_ms, which stays a hard ceiling beside it"
    )
    alpha: float = Field(-0.07, le=0, description="w of objective = reward within the target")
    beta: float = Field(
        -0.07, le=0, description="w of objective = reward beyond the target; of absolute, what missing the target costs"
    )
    trials: int = Field(16, ge=1, description="candidates that are scored or rejected after timing")
    batch: int = Field(4, ge=1, description="candidates timed together, before they are trained")
    workers: int = Field(1, ge=1, description="training processes under the one driver")
    inherit: bool = Field(True, description="crop a trained or pretrained seed's weights where one exists")
    seed_weights: str | None = Field(None, description="run folder or weights of a trained seed network")
    seed: int = Field(0, ge=0, description="of the sampler and the proxy trainings")
    storage: str | None = Field(None, description="Optuna storage URL; None = a file in the run folder")
    retrain_top: int = Field(
        0,
        ge=0,
        description="so many of the best candidates are trained as long as the student, and the best of them taken",
    )
    proxy: Proxy = Proxy()

    @model_validator(mode="after")
    def _a_target_is_read(self) -> Search:
        if self.target_latency_ms is not None and self.objective == "accuracy":
            raise ValueError("target_latency_ms: nothing aims at it; set objective = 'reward' or 'absolute'")
        return self


class Tune(Section):
    """`[adapt.tune]`: the short training of each proposal."""

    epochs: int = Field(1, ge=1)
    limit: int | None = Field(None, ge=1, description="training pictures used; None = all")
    learning_rate: float | None = Field(None, gt=0, description="None = a tenth of the student's")


class Adapt(Section):
    """`[adapt]`: make the trained student narrower, width by width, until it is fast enough on the device (NetAdapt)."""

    max_latency_ms: float | None = Field(None, gt=0, description="to reach; None = budget.max_latency_ms")
    steps: int = Field(100, ge=1, description="at most; each makes one width narrower")
    delta: float = Field(0.01, gt=0, lt=1, description="least gain of a step, as a share of the seed's latency")
    rule: Literal["ratio", "accuracy"] = Field(
        "ratio", description="what is kept: ratio = least accuracy lost per millisecond; accuracy = the highest"
    )
    divisor: int = Field(8, ge=1, description="widths are multiples of this")
    min_width: int = Field(8, ge=1, description="no width below this")
    latency: Literal["device", "table", "predictor"] = Field(
        "device", description="where latencies come from: the device itself, or latency_table"
    )
    latency_table: str | None = Field(None, description="file of kernels measured on budget.target")
    workers: int = Field(1, ge=1, description="training processes, each with a proposal")
    seed_weights: str | None = Field(
        None, description="run folder or weights of the trained seed; None = the student is trained first"
    )
    seed: int = Field(0, ge=0, description="of the seed's training and of the short ones")
    headroom: float = Field(
        1.25, ge=1, description="with [search]: its ceiling on latency, in multiples of what is to be reached here"
    )
    final: Literal["finetune", "scratch"] = Field(
        "finetune", description="whether the student then trains on from the adapted weights, or from fresh ones"
    )
    distill: bool = Field(
        True, description="with final = finetune and neither [distill] nor [teacher]: fill in [distill], from the seed"
    )
    tune: Tune = Tune()

    @model_validator(mode="after")
    def _a_table_is_read(self) -> Adapt:
        if (self.latency == "device") != (self.latency_table is None):
            raise ValueError("latency_table: goes with latency = 'table' or 'predictor'; give both or neither")
        return self


class TermRecipe(Section):
    """`[[distill.terms]]`: one edge of a distillation graph written by hand."""

    loss: str
    student: str | tuple[str, ...] = Field(
        "student", description="an address: source, source/stage or source/exit; several for a loss on several levels"
    )
    teacher: str | tuple[str, ...] | None = Field("teacher", description="an address; several for several inputs")
    name: str | None = None
    weight: float = 1.0
    schedule: Literal["constant", "linear_up", "linear_down", "cosine_up", "cosine_down"] = "constant"
    warmup: float = Field(0.0, ge=0, le=1, description="share of training over which the weight rises from 0")
    options: dict[str, Any] = Field(default_factory=dict, description="the loss's keyword arguments")


class Distill(Section):
    """`[distill]`: how the student learns. Trained for as long as `[train]` says."""

    method: str | None = Field("nkd", description="see `limbeck show methods`; None with terms written by hand")
    options: dict[str, Any] = Field(default_factory=dict)
    terms: tuple[TermRecipe, ...] = ()
    epochs: int | None = Field(None, ge=1, description="None = train.epochs")
    learner_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="learning rates of learners that have one of their own, such as { peer = 0.1 }; others have train's",
    )

    @model_validator(mode="before")
    @classmethod
    def _terms_stand_for_a_method(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("terms") and "method" not in tree:
            return {**tree, "method": None}
        return tree

    @model_validator(mode="after")
    def _terms_or_method(self) -> Distill:
        if self.terms and self.method:
            raise ValueError("give method or terms, not both")
        if not self.terms and not self.method:
            raise ValueError("give a method (see `limbeck show methods`) or [[distill.terms]]")
        return self


class TrainedModel(Model):
    """A network with a training of its own, apart from the student's."""

    weights: str | None = Field(
        None,
        description="its own, then not trained: a run's folder, a checkpoint file, timm:NAME or torchvision:NAME",
    )
    seed: int = Field(
        0, ge=0, description="of its training; apart from the run's seed, so that one teacher serves all seeds"
    )
    train: Train = Train()

    def training(self) -> dict[str, Any]:
        """What decides its weights, as JSON-like data; not what becomes of it afterwards."""
        return self.model_dump(mode="json", include=set(TrainedModel.model_fields))


class OneTeacher(TrainedModel):
    """`[[teacher.more]]`: a further teacher. The student learns from the mean of all teachers' logits."""

    share: float = Field(1.0, gt=0, description="of its logits in the mean of several teachers, beside the others'")


class Assistant(TrainedModel):
    """`[[teacher.assistants]]`: a network between teacher and student. Each learns from the one before, the first from
    the teacher, the student from the last; as long as its own `train` says.
    """

    distill: Distill | None = Field(None, description="how it learns, a section like [distill]; none = as the student")


class Teacher(OneTeacher):
    """`[teacher]`: the network that teaches, with its own training."""

    more: tuple[OneTeacher, ...] = Field((), description="further teachers: see [teacher.more]")
    assistants: tuple[Assistant, ...] = Field(
        (), description="networks between the teacher and the student: see [teacher.assistants]"
    )
    cache: bool = Field(
        False, description="keep its logits on disk, so that its passes are paid once: see [distill](distill.md)"
    )
    cache_views: int = Field(
        8, ge=1, description="with cache: augmented views of each picture; epoch e sees view e modulo this"
    )
    cache_top_k: int | None = Field(
        None, ge=1, description="with cache, above 1000 classes: keep only the largest logits, for losses at T = 1"
    )


class Calibrate(Section):
    """`[calibrate]`: confidence calibration on validation."""

    method: Literal["temperature", "none"] = "temperature"
    bins: int = Field(15, ge=2)


class Export(Section):
    """`[export]`: the files that are handed over."""

    exporter: str = Field(
        "onnx", description="or package.module:name, with the keywords of `limbeck.export.export_onnx`"
    )
    preprocess: Literal["uint8", "float32"] = Field(
        "uint8", description="uint8: picture in, normalisation in the graph"
    )
    output: Literal["probabilities", "classes"] = Field(
        "probabilities", description="of segmentation: of every class, or the most probable class alone (bytes)"
    )
    nms: Literal["inside", "outside"] = Field(
        "inside", description="of detection: boxes are chosen in the graph, or by whoever reads every anchor's"
    )
    int8: Literal["try", "require", "off"] = Field(
        "try", description="try: withheld and marked when it fails its gate; require: then exit 3"
    )
    calibration_pictures: int = Field(256, ge=8, description="training pictures for int8 ranges")
    tolerance: float = Field(1e-3, gt=0, description="fp32 gate: largest difference of probabilities")
    max_int8_drop: float = Field(
        0.01, ge=0, description="int8 gate: largest loss of the primary metric that is tolerated"
    )


class Measure(Section):
    """`[measure]`: how the exported files are timed on the budget's target and on further ones."""

    targets: tuple[str, ...] = Field((), description="beside budget.target")
    warmup: int = Field(30, ge=0)
    runs: int = Field(300, ge=20)


class Baselines(Section):
    """`[baselines]`: the honest comparisons that are part of a run."""

    plain: bool = Field(True, description="the same student, trained as long without distillation")
    off_the_shelf: str | None = Field(
        None,
        description="a ready pretrained network (timm:NAME ...), fine-tuned as long; auto = the best within the budget",
    )


class Recipe(Section):
    """A whole run. Every field is a value that is read as written: no inheritance, no interpolation."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    task: str = "classification"
    seed: int = Field(0, ge=0)
    data: Data = Data()
    augment: Augment = Augment()
    student: Model
    teacher: Teacher | None = None
    train: Train = Train()
    budget: Budget = Budget()
    search: Search | None = None
    adapt: Adapt | None = None
    distill: Distill | None = None
    calibrate: Calibrate = Calibrate()
    export: Export = Export()
    measure: Measure = Measure()
    baselines: Baselines = Baselines()

    @model_validator(mode="before")
    @classmethod
    def _the_seed_teaches(cls, tree: Any) -> Any:
        adapt = tree.get("adapt") if isinstance(tree, dict) else None
        if not isinstance(adapt, dict) or "distill" in tree or tree.get("teacher") is not None:
            return tree
        is_taught = adapt.get("distill", True) is True and adapt.get("final", "finetune") == "finetune"
        return {**tree, "distill": {}} if is_taught else tree

    @model_validator(mode="after")
    def _an_adaptation_has_an_aim(self) -> Recipe:
        if self.adapt is None:
            return self
        if self.adapt.max_latency_ms is None and self.budget.max_latency_ms is None:
            raise ValueError("adapt: needs a latency to reach; give budget.max_latency_ms or adapt.max_latency_ms")
        if self.adapt.seed_weights is not None and self.search is not None:
            raise ValueError(
                "adapt.seed_weights: with [search] the seed is what the search found; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _teachers_differ_and_assistants_are_used(self) -> Recipe:
        if self.teacher is None:
            return self
        trainings = [teacher.training() for teacher in self.teachers.values()]
        if any(one in trainings[:i] for i, one in enumerate(trainings)):
            raise ValueError("teacher.more: two teachers are the same network; give one of them another seed or model")
        if self.assistants and self.distill is None:
            raise ValueError("teacher.assistants: they lead to a student that learns from them; add [distill]")
        return self

    @model_validator(mode="after")
    def _a_reward_has_a_target(self) -> Recipe:
        aims = self.search if self.search is not None and self.search.objective != "accuracy" else None
        if aims is not None and (aims.target_latency_ms or self.budget.max_latency_ms) is None:
            raise ValueError("search.target_latency_ms: missing (or set budget.max_latency_ms)")
        return self

    @model_validator(mode="after")
    def _a_cache_is_read(self) -> Recipe:
        if self.teacher is not None and self.teacher.cache and self.distill is None:
            raise ValueError("teacher.cache: nobody learns from the teacher; add [distill], or set it to false")
        if self.teacher is not None and self.teacher.cache_top_k is not None and not self.teacher.cache:
            raise ValueError("teacher.cache_top_k: needs teacher.cache = true")
        return self

    @property
    def teachers(self) -> dict[str, OneTeacher]:
        """The teachers by name: `teacher`, or `teacher1`, `teacher2` ... where there are several."""
        return {} if self.teacher is None else _by_name("teacher", (self.teacher, *self.teacher.more))

    @property
    def assistants(self) -> dict[str, Assistant]:
        """The assistants by name, each before those that learn from it: `assistant`, or `assistant1` ..."""
        return {} if self.teacher is None else _by_name("assistant", self.teacher.assistants)

    def resolved(self) -> dict[str, Any]:
        """Every field with its effective value, as JSON-like data."""
        return self.model_dump(mode="json")


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe (`limbeck show schema`)."""
    return Recipe.model_json_schema()


def read_recipe(path: str | Path, *, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from TOML, or a resolved one from JSON, and apply `section.field = value` changes.

    Raises:
        InputError: the file is missing, is not TOML/JSON, or holds an unknown key or a value of the wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the recipe ({getattr(error, 'strerror', None) or error})") from error
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    return parse_recipe(tree, where=str(path), changes=changes, default_name=path.stem)


def parse_recipe(
    tree: dict[str, Any], *, where: str, changes: dict[str, Any] | None = None, default_name: str | None = None
) -> Recipe:
    """Check a tree of plain values against the closed recipe records.

    Raises:
        InputError: one line per first wrong field: where, the value, what was expected, the nearest valid name.
    """
    if default_name and "name" not in tree:
        tree = {**tree, "name": default_name}
    for dotted, value in (changes or {}).items():
        tree = _changed(tree, dotted.split("."), value, where=f"--set {dotted}")
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _by_name(name: str, several: tuple[Any, ...]) -> dict[str, Any]:
    return {name if len(several) == 1 else f"{name}{i}": one for i, one in enumerate(several, start=1)}


def _changed(tree: dict[str, Any], keys: list[str], value: Any, *, where: str) -> dict[str, Any]:
    head, *rest = keys
    if not rest:
        return {**tree, head: value}
    inner = tree.get(head) or {}
    if not isinstance(inner, dict):
        raise InputError(f"{where}: '{head}' is a value, not a section")
    return {**tree, head: _changed(inner, rest, value, where=where)}


def _explain(error: ValidationError) -> str:
    problems = error.errors()
    problem = problems[0]
    place = ".".join(
        str(part) for part in problem["loc"] if not (isinstance(part, str) and ("[" in part or "-" in part))
    )
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        text = f"{place}: no such field" + (f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})")
    elif problem["type"] == "missing":
        text = f"{place}: missing"
    elif problem["type"] == "value_error":
        text = (place + ": " if place else "") + problem["msg"].removeprefix("Value error, ")
    else:
        text = (
            f"{place} = {json.dumps(problem['input'], default=str)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        )
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section at `location`, for the nearest-name hint."""
    section: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            section = nested[0]
    return sorted(section.model_fields)
