"""Stage `adapt`: the trained student is made narrower until it is fast enough. The adaptation itself is the adapt room's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.adapt import JudgeProposal, narrowest, run_netadapt
from limbeck.console import say
from limbeck.errors import InputError
from limbeck.files import fingerprint
from limbeck.models import Network, Table, TableNetwork, build, load_network, save_network
from limbeck.pipeline.briefly import OpenedRun, train_briefly
from limbeck.pipeline.budget import adapt_target
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.latency import open_latency_source, table_key
from limbeck.pipeline.search import cheapest_network, student_network
from limbeck.pipeline.train import finish, load_given, train_to_end, weights_key
from limbeck.pipeline.workers import open_workers, threads_beside
from limbeck.recipe import Proxy

__all__ = ["SEED_STAGE", "adapt", "adapted_student", "narrowest_network", "seed_student", "train_seed"]

SEED_STAGE = "train/seed"
SEED_RATE = 0.1  # of the student's learning rate: tuning trained weights, not making them


def seed_student(context: Context) -> Network:
    """The network that is adapted, before its training unless it is given trained.

    Raises:
        InputError: it is not built from a table, or its weights are for other classes.
    """
    section = context.recipe.adapt
    assert section is not None
    torch.manual_seed(section.seed)
    if section.seed_weights is not None:
        network = load_given(section.seed_weights, context, where="adapt.seed_weights")
    else:
        network = student_network(context)
    if not isinstance(network, TableNetwork):
        raise InputError(
            "adapt: only networks that are built from tables have widths to change; take a student of `limbeck show models`"
        )
    return network


def narrowest_network(context: Context) -> Network:
    """The seed, or the cheapest one that a search may find, with every width at its least: no budget may be below it."""
    section = context.recipe.adapt
    assert section is not None
    table = (cheapest_network(context) if context.recipe.search is not None else seed_student(context)).table
    assert table is not None
    return build(narrowest(table, grid=section.divisor, min_width=section.min_width))


def train_seed(context: Context, upstream: dict[str, Any]) -> StageRecord:
    """Train the student as it is, or take its given weights: the seed of the adaptation."""
    section, train = context.recipe.adapt, context.recipe.train
    assert section is not None
    inputs = context.inputs(
        "data",
        "augment",
        "student",
        "train",
        seed=section.seed,
        task=context.recipe.task,
        weights=weights_key(section.seed_weights),
        **upstream,
    )

    def work(folder: Path) -> dict[str, Any]:
        network = seed_student(context)
        if section.seed_weights is not None:
            return finish(context, network, folder, {"origin": f"given: {section.seed_weights}"}, train.device)
        return train_to_end(context, network, train, folder, seed=section.seed, name="seed")

    return context.folder.do(SEED_STAGE, inputs, work, world=context.world, together=True)


def adapt(context: Context, upstream: dict[str, Any]) -> StageRecord:
    """Adapt the seed to the budget; the result holds every step and the last `architecture`, the folder its weights."""
    section, train = context.recipe.adapt, context.recipe.train
    assert section is not None
    inputs = context.inputs(
        "data", "augment", "train", "budget", "adapt", seed=section.seed, task=context.recipe.task, **upstream
    )
    inputs["latency_table"] = table_key(section)
    # how and where proposals are tuned, and what comes after, changes no result of this stage
    for without_effect in ("workers", "engine", "ray", "final", "distill", "headroom", "latency_table"):
        inputs["adapt"].pop(without_effect)

    def work(folder: Path) -> dict[str, Any]:
        source = context.load(SEED_STAGE)
        evaluate = context.evaluator(train.device)
        assert evaluate is not None  # resolve refuses an adaptation without a validation split
        timed = open_latency_source(context, section, source, folder, where="adapt")
        target = adapt_target(context, timed.reference_ms)
        say(f"adapt: {target:.3g} ms are to be reached")

        def latencies(tables: Sequence[Table]) -> list[float | Exception]:
            return [one if isinstance(one, Exception) else one["latency_ms"] for one in timed.time(tables)]

        tune = TuneProposal(OpenedRun.of(context))
        evaluator = open_workers(context, section, tune.run, "adapt")(JudgeProposal(tune), section.workers)
        try:
            result = run_netadapt(
                source,
                folder=folder,
                target_ms=target,
                latencies=latencies,
                judge=lambda network: evaluate(network)[context.task.primary],
                finetune_and_judge=tune,
                rule=section.rule,
                delta=section.delta,
                steps=section.steps,
                grid=section.divisor,
                min_width=section.min_width,
                seed=section.seed,
                higher_is_better=context.task.higher_is_better,
                evaluate=evaluator.evaluate,
                identity={"inputs": fingerprint(inputs)},
                on_event=_tell,
            )
        finally:
            evaluator.close()
            shutil.rmtree(folder / "probes", ignore_errors=True)
            shutil.rmtree(folder / "tuning", ignore_errors=True)
        first, last = result.iterates[0], result.iterates[-1]
        network = load_network(folder / last.folder)
        assert network.table is not None
        save_network(network, folder)
        count = len(result.iterates) - 1
        note = (
            f"{count} step{'s' * (count != 1)}, {first.latency_ms:.3g} to {last.latency_ms:.3g} ms, "
            f"{context.task.primary} {first.accuracy:.4f} to {last.accuracy:.4f} on validation"
        )
        if result.ended != "target":
            why = {"steps": "adapt.steps are used up", "exhausted": "no width is left whose change is faster by delta"}
            note += f"; {target:.3g} ms not reached: {why[result.ended]}"
        say(f"adapt: {note}")
        try:
            told = timed.as_json({last.step: network})
        finally:
            shutil.rmtree(folder / "probes", ignore_errors=True)
        return {
            "adaptation": result.as_json() | {"latencies": told},
            "architecture": network.table.to_json(),
            "rows": network.table.rows_text(),
            "note": note,
        }

    return context.folder.do("adapt", inputs, work, world=context.world)


def adapted_student(context: Context) -> Network:
    """The student as its last training starts: adapted, with the weights that it has then unless `final = "scratch"`."""
    section = context.recipe.adapt
    if section is None:
        return student_network(context)
    if section.final == "finetune":
        return context.load("adapt")
    torch.manual_seed(context.recipe.seed)
    table = Table.from_json(context.folder.need("adapt").result["architecture"])
    fresh = build(table)
    fresh.normalise_by(**context.load("adapt").normalisation)
    return fresh


@dataclass
class TuneProposal:
    """The short training of a proposal; picklable, so that worker processes can do it too."""

    run: OpenedRun

    def __call__(self, network: TableNetwork, index: int, seed: int) -> float:
        """Tune in place; the primary figure on validation."""
        context = self.run.open()
        section, train = context.recipe.adapt, context.recipe.train
        assert section is not None
        tune = section.tune
        rate = tune.learning_rate or SEED_RATE * train.learning_rate
        proxy = Proxy(epochs=tune.epochs, limit=tune.limit, learning_rate=rate)
        folder = context.folder.stage("adapt") / "tuning" / network.table.fingerprint()
        figures = train_briefly(context, network, proxy, folder, seed=seed, threads=threads_beside(section))
        return figures[context.task.primary]


def _tell(event: str, record: dict[str, Any]) -> None:
    if event == "proposed":
        say(f"adapt: step {record['step']}: {record['proposals']} proposals")
    elif event == "judged":
        figures = f"{record['accuracy']:.4f}" if record["accuracy"] is not None else record["reason"]
        say(f"adapt:   {record['what']}: {figures}")
    elif event == "chosen":
        say(f"adapt: step {record['step']}: {record['what']}, {record['latency_ms']:.3g} ms, {record['accuracy']:.4f}")
