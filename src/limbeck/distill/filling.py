"""Fills a teacher's cache before training, from where it was left; what lies on the disk is `cache`'s to say."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.console import Bar, bar, say
from limbeck.data import Loader
from limbeck.distill.cache import TeacherCache
from limbeck.errors import InputError, Stopped
from limbeck.files import hold_lock, write_json
from limbeck.train import World, evaluating
from limbeck.train.runtime import keep_random_state, module_device
from limbeck.train.stop import StopRequest

__all__ = ["cache_size_text", "fill_cache"]

FILL_BATCH = 256
SETTLE_SECONDS = 5.0  # between two states from which a killed filling goes on
SAY_SECONDS = 30.0
SPARE_BYTES = 50_000_000  # that filling leaves free for the rest of the run


def fill_cache(
    cache: TeacherCache,
    teacher: nn.Module,
    batches: Loader,
    views: int,
    *,
    world: World | None = None,
    samples: str = "pictures",
) -> None:
    """Let a teacher say what it has to, once. What is there is kept, a half-written view goes on where it was.

    The teacher is in evaluation mode, and is given back as it came. Several processes fill different views. Where
    another run is filling the same cache, that is waited for.

    Args:
        cache: made of this teacher and these batches.
        teacher: whose logits are kept.
        batches: the training's.
        views: how many are needed, from 0 on.
        world: the processes of this run, which all call this; None = this one alone.
        samples: what the batches hold, as it is said.

    Raises:
        InputError: the disk is too small, or the logits are of another shape or beyond float16's range.
        Stopped: SIGTERM or Ctrl-C; what was done is kept.
    """
    world = world or World()
    if not world.share(cache.missing(views) if world.writes else None):
        return
    with StopRequest() as stop:
        lock = hold_lock(cache.folder / ".lock", busy="it is being filled", on_busy=_Patience(stop))
        with lock if world.writes else nullcontext():
            missing = world.share(_claim(cache, views, samples) if world.writes else None)
            mine = missing[world.rank :: world.size]
            if mine:
                _Filling(cache, teacher, batches.whole(FILL_BATCH), mine, stop, samples).run()
            world.wait()


def cache_size_text(cache: TeacherCache, views: int, *, samples: str = "pictures") -> str:
    """What a cache holds, in words."""
    megabytes = views * cache.samples * cache.row_bytes / 1e6
    return f"{views} view{'s' * (views > 1)} of {cache.samples} {samples}, {megabytes:.1f} MB"


def _claim(cache: TeacherCache, views: int, samples: str) -> list[int]:
    """The views to fill, once it is known that there is room for them."""
    missing = cache.missing(views)
    needed = sum(cache.samples - cache.done(view) for view in missing) * cache.row_bytes
    free = shutil.disk_usage(cache.folder).free
    if free < needed + SPARE_BYTES:
        raise InputError(
            f"teacher.cache: {cache_size_text(cache, views, samples=samples)}, but {free / 1e6:.0f} MB are free in {cache.folder}; "
            "lower teacher.cache_views, free some space or choose another --out"
        )
    if missing:
        say(f"teacher cache: {cache_size_text(cache, views, samples=samples)}, in {cache.folder}")
        write_json(cache.folder / "identity.json", cache.identity)
    return missing


@dataclass
class _Patience:
    """What is done while another run holds the cache."""

    stop: StopRequest
    said: bool = False

    def __call__(self) -> None:
        _check_stop(self.stop)
        if not self.said:
            say("teacher cache: another run is filling it; waiting for that")
        self.said = True
        time.sleep(0.5)


@dataclass
class _Filling:
    """One process's share of the work."""

    cache: TeacherCache
    teacher: nn.Module
    pictures: Loader
    views: list[int]
    stop: StopRequest
    samples: str

    def run(self) -> None:
        """Write the views, one after the other."""
        cache, teacher, device = self.cache, self.teacher, self.cache.precision.device
        home = module_device(teacher)
        done, total = sum(cache.done(view) for view in self.views), cache.samples * len(self.views)
        self.said_at = time.perf_counter()
        with (
            keep_random_state(device),
            bar("teacher cache", total, done=done, unit=self.samples.removesuffix("s")) as progress,
        ):
            teacher.to(device)
            try:
                with evaluating(teacher), torch.inference_mode():
                    for view in self.views:
                        self._fill(view, progress)
            except OSError as error:
                reason = error.strerror or error
                raise InputError(f"{cache.folder}: cannot write ({reason}); free some space") from error
            finally:
                teacher.to(home)

    def _fill(self, view: int, progress: Bar) -> None:
        cache = self.cache
        # From a whole batch on: the same batches give the same last bits, however often this was killed.
        done = cache.done(view) // FILL_BATCH * FILL_BATCH
        distortion = cache.distortion(view) if done else None
        with open(cache.path(view), "r+b" if done else "w+b") as handle:
            if done:
                cache.resume(handle, done)
            else:
                cache.begin(handle)
            settled_at = time.perf_counter()
            for batch in self.pictures.epoch(view, start=done // FILL_BATCH):
                with cache.precision.autocast():
                    logits = self.teacher(batch.to(cache.precision.device, channels_last=True).inputs)
                rows = cache.rows.encode(logits)
                handle.write(rows.tobytes())
                bent = cache.rows.distortion(logits, rows)
                if bent is not None:
                    distortion = ((distortion or 0.0) * done + bent * len(rows)) / (done + len(rows))
                done += len(rows)
                progress.advance(len(rows), text=f"view {view + 1}")
                is_due = time.perf_counter() - settled_at > SETTLE_SECONDS
                if is_due or done == cache.samples or self.stop.received:
                    cache.settle(handle, view, done, distortion)
                    settled_at = time.perf_counter()
                if time.perf_counter() - self.said_at > SAY_SECONDS:
                    say(f"teacher cache: view {view + 1}, {done / cache.samples:.0%}")
                    self.said_at = time.perf_counter()
                if done < cache.samples:
                    _check_stop(self.stop)
        _check_stop(self.stop)


def _check_stop(stop: StopRequest) -> None:
    if stop.received:
        raise Stopped(f"teacher cache: stopped by {stop.received}; the same command goes on")
