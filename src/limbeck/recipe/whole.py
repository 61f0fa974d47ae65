"""A whole run: its sections, and what must hold between them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from limbeck.recipe.data import Augment, Data
from limbeck.recipe.delivery import Baselines, Calibrate, Export, Measure
from limbeck.recipe.searching import Adapt, Budget, Search
from limbeck.recipe.section import Section
from limbeck.recipe.training import Assistant, Distill, Model, OneTeacher, Teacher, Train

__all__ = ["Recipe"]


class Recipe(Section):
    """A whole run. Every field is a value that is read as written: no inheritance, no interpolation."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    task: str = "classification"
    seed: int = Field(0, ge=0)
    data: Data = Data()
    augment: Augment = Augment()
    student: Model
    further_students: tuple[str, ...] = Field(
        (),
        description="networks that a run each, in a folder beside, takes in the student's place; teachers train once",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _signals_have_no_sides(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or tree.get("task") != "modulation":
            return tree
        augment = tree.get("augment", {})
        return {**tree, "augment": {"crop": "none", "flip": False, **augment}} if isinstance(augment, dict) else tree

    @model_validator(mode="after")
    def _an_adaptation_has_an_aim(self) -> Recipe:
        if self.adapt is None:
            return self
        if (self.adapt.max_latency_ms or self.adapt.share or self.budget.max_latency_ms) is None:
            raise ValueError(
                "adapt: needs a latency to reach; give budget.max_latency_ms, adapt.max_latency_ms or adapt.share"
            )
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
    def _students_differ(self) -> Recipe:
        names = [self.student.model, *self.further_students]
        twice = [name for index, name in enumerate(names) if name in names[:index]]
        if twice:
            raise ValueError(f"further_students: '{twice[0]}' is a student already; name each network once")
        return self

    @model_validator(mode="after")
    def _a_reward_has_a_target(self) -> Recipe:
        aims = self.search if self.search is not None and self.search.objective != "accuracy" else None
        reached = None if self.adapt is None else self.adapt.max_latency_ms
        if aims is not None and (aims.target_latency_ms or reached or self.budget.max_latency_ms) is None:
            raise ValueError("search.target_latency_ms: missing (or set budget.max_latency_ms)")
        return self

    @model_validator(mode="after")
    def _a_table_tells_no_sizes(self) -> Recipe:
        if self.search is None or self.search.latency == "device":
            return self
        for name in ("max_size_bytes", "max_peak_memory_bytes"):
            if getattr(self.budget, name) is not None:
                raise ValueError(
                    f"budget.{name}: with search.latency = '{self.search.latency}' no candidate's file is written; "
                    "take search.latency = 'device', or leave it out (budget.max_params bounds sizes too)"
                )
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


def _by_name(name: str, several: tuple[Any, ...]) -> dict[str, Any]:
    return {name if len(several) == 1 else f"{name}{i}": one for i, one in enumerate(several, start=1)}
