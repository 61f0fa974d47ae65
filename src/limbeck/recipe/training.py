"""The sections on learning: one training, networks, teachers and assistants, and how the student is taught."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from limbeck.recipe.section import Section

__all__ = ["Assistant", "Distill", "Model", "OneTeacher", "Teacher", "TermRecipe", "Train", "TrainedModel"]


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
    loss: str | None = Field(
        None, description="of landmarks: landmark_main (the default), landmark_l2, wing ...; other tasks have one"
    )
    soft_targets: float | None = Field(
        None,
        gt=0,
        le=1,
        description="of landmarks: learn the points as a shape model smooths them that keeps this share of the variance",
    )
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
