"""A teacher's logits on disk: equal to what it says, filled once whatever stops it, and never mistaken for others."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

import limbeck.distill.cache as cache_module
import limbeck.distill.filling as filling
from limbeck.data import PictureStream
from limbeck.distill import (
    Cached,
    Ema,
    Learner,
    TeacherCache,
    Term,
    cacheable_teachers,
    distillation,
    distillation_from_terms,
    fill_cache,
    use_caches,
)
from limbeck.distill.objective import Distillation
from limbeck.distill.rows import FullRows, TopRows
from limbeck.errors import InputError, Stopped
from limbeck.losses import kd
from limbeck.types import Batch

sys.path.insert(0, str(Path(__file__).parent))
from cache_parts import MIXED, PLAIN, filled, loader, picture_set, said
from graph_parts import make_batch, make_net, now
from two_ranks_cache import run_rank

MANY = 1003


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


# what is kept


@pytest.mark.parametrize("augment", [None, PLAIN, MIXED], ids=["plain", "augmented", "mixed"])
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_every_row_is_the_teachers_logits_in_half_precision(tmp_path, augment, sampling):
    teacher = make_net(1)
    extra = picture_set(7, labels=[-1] * 7, split="unlabelled", seed=9)
    pictures = picture_set(labels=[0] * 30 + [1] * 8 + [2] * 2)
    batches = loader(pictures, augment=augment, sampling=sampling, extra=extra, views=3)
    cache = filled(tmp_path, teacher, batches, views=3)
    for view in range(3):
        (batch,) = batches.whole(47).epoch(view)
        table = np.load(cache.path(view))
        assert table.dtype == np.float16
        assert np.array_equal(table, said(teacher, batch).half().numpy())
    assert sorted(path.name for path in cache.folder.glob("*.npy")) == [f"view-000{view}.npy" for view in range(3)]


@pytest.mark.parametrize("augment", [PLAIN, MIXED], ids=["augmented", "mixed"])
def test_a_replayed_epoch_reads_what_the_teacher_would_say(tmp_path, augment):
    """In another order and other batches than the cache was filled in; there only the last bit of a half may differ."""
    teacher, batches = make_net(1), loader(augment=augment)
    source = Cached(filled(tmp_path, teacher, batches))
    for epoch in range(5):
        for batch in batches.epoch(epoch):
            assert batch.view == epoch % 2
            expected, found = said(teacher, batch), source(batch, {}).out
            assert found.dtype == torch.float32
            assert torch.allclose(found, expected, rtol=2**-10, atol=1e-6)
    views = [torch.cat([source(batch, {}).out for batch in batches.whole(8).epoch(view)]) for view in (0, 1)]
    assert not torch.allclose(*views, atol=1e-3)  # or the comparison above could not fail


def test_the_graph_gives_the_loss_that_the_teacher_would(tmp_path):
    teacher, student, batches = make_net(1), make_net(2), loader(augment=MIXED)
    cache = filled(tmp_path, teacher, batches)
    batch = next(batches.epoch(1))
    objective = distillation("kd", student=student, teacher=teacher, temperature=4.0).eval()
    expected = objective(batch, now())
    use_caches(objective, {"teacher": cache})
    passes = teacher.plain_passes
    found = objective(batch, now())
    halved = said(teacher, batch).half().float()
    assert torch.equal(found["kd"], kd(student(batch.inputs), halved, temperature=4.0).detach())
    assert torch.allclose(found["kd"], expected["kd"], rtol=1e-3)
    assert teacher.plain_passes == passes + 1  # the one of this test
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_the_teacher_comes_back_as_it_was(tmp_path):
    teacher, batches = make_net(1).train(), loader()
    teacher.second.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    filled(tmp_path, teacher, batches)
    assert torch.equal(torch.rand(3), expected)
    assert teacher.first.training
    assert not teacher.second.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_more_views_are_added_to_those_that_are_there(tmp_path):
    teacher, batches = make_net(1), loader(views=5)
    cache = filled(tmp_path, teacher, batches, views=2)
    times = [cache.path(view).stat().st_mtime_ns for view in range(2)]
    passes = teacher.plain_passes
    again = filled(tmp_path, teacher, batches, views=3)
    assert again.folder == cache.folder
    assert teacher.plain_passes == passes + 1
    assert [cache.path(view).stat().st_mtime_ns for view in range(2)] == times
    assert again.missing(3) == []


def test_what_is_not_filled_is_told(tmp_path):
    teacher, batches = make_net(1), loader(views=5)
    source = Cached(filled(tmp_path, teacher, batches, views=2))
    with pytest.raises(InputError, match=r"view 2 is not filled.*Loader\(views=K\)"):
        source(next(batches.epoch(2)), {})
    with pytest.raises(InputError, match="holds logits and no 'stage1'"):
        source.ask(["stage1"], make_batch().inputs)
    objective = Distillation({"student": Learner(make_net(2)), "teacher": source}, [Term("kd")])
    assert objective(next(batches.epoch(1)), now())["kd"] > 0
    with pytest.raises(InputError, match="holds logits and no 'stage2'"):
        Distillation(
            {"student": Learner(make_net(2)), "teacher": source},
            [Term("kd", student="student/stage2", teacher="teacher/stage2")],
        )


def test_copies_of_an_objective_read_the_same_files(tmp_path):
    import copy

    teacher, batches = make_net(1), loader()
    objective = distillation("kd", student=make_net(2), teacher=teacher)
    use_caches(objective, {"teacher": filled(tmp_path, teacher, batches)})
    batch = next(batches.epoch(0))
    objective(batch, now())
    other = copy.deepcopy(objective)
    assert other.sources["teacher"].cache is objective.sources["teacher"].cache
    assert not any("teacher" in name for name in objective.state_dict())


def test_a_compiled_graph_reads_it_too(tmp_path):
    """And is compiled once, whatever the view."""
    teacher, batches = make_net(1), loader(views=3)
    student = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8), torch.nn.Flatten())
    objective = distillation("kd", student=student, teacher=teacher, example=make_batch())
    use_caches(objective, {"teacher": filled(tmp_path, teacher, batches, views=3)})
    torch._dynamo.reset()
    compiled = torch.compile(objective, backend="eager")
    for epoch in range(3):
        batch = next(batches.epoch(epoch))
        with torch._dynamo.config.patch(error_on_recompile=epoch > 0):
            found = compiled(batch, now())["loss"]
        assert torch.allclose(found, objective(batch, now())["loss"])


# the key


def ingredients(changed):
    """The arguments of a cache, one of them changed."""
    teacher, batches, options = make_net(1), {"augment": PLAIN, "seed": 3}, {"data": "digest", "precision": "fp32"}
    if changed == "weight":
        with torch.no_grad():
            teacher.classifier.weight[0, 0] += 1e-6
    elif changed == "running statistics":
        teacher.first[1].running_mean[0] += 1e-6
    elif changed == "normalisation":
        teacher.register_buffer("mean", torch.full((3, 1, 1), 0.5), persistent=False)
    elif changed == "architecture":
        teacher.first[2] = torch.nn.ReLU6()
    elif changed == "augmentation":
        batches["augment"] = replace(PLAIN, padding=0.125)
    elif changed == "mixing":
        batches["augment"] = replace(PLAIN, mixup=0.1)
    elif changed == "seed":
        batches["seed"] = 4
    elif changed == "sampling":
        batches["sampling"] = "balanced"
    elif changed == "unlabelled pictures":
        batches["extra"] = picture_set(3, labels=[-1] * 3)
    elif changed == "data":
        options["data"] = "another"
    elif changed == "precision":
        options["precision"] = "bf16"
    return teacher, loader(**batches), options


CHANGES = (
    "weight", "running statistics", "normalisation", "architecture", "augmentation", "mixing", "seed", "sampling",
    "unlabelled pictures", "data", "precision",
)  # fmt: skip


@pytest.mark.parametrize("changed", CHANGES)
def test_the_key_changes_with_what_it_holds(tmp_path, changed):
    (teacher, batches, options), (other, others, further) = ingredients(None), ingredients(changed)
    one = TeacherCache(tmp_path, teacher, batches, **options)
    assert one.folder != TeacherCache(tmp_path, other, others, **further).folder
    assert one.folder == TeacherCache(tmp_path, *ingredients(None)[:2], **options).folder


@pytest.mark.parametrize("package", ["torch", "torchvision", "pillow", "limbeck"])
def test_the_key_holds_the_versions(tmp_path, monkeypatch, package):
    teacher, batches, options = ingredients(None)
    one = TeacherCache(tmp_path, teacher, batches, **options)
    real = cache_module.version
    monkeypatch.setattr(cache_module, "version", lambda name: "0.0" if name == package else real(name))
    assert TeacherCache(tmp_path, teacher, batches, **options).folder != one.folder


def test_the_key_holds_size_and_normalisation_of_our_networks(tmp_path):
    from limbeck.models import create_model

    def key(size=16, mean=(0.5, 0.5, 0.5), interpolation="bilinear"):
        torch.manual_seed(0)
        network = create_model("mobilenet_v3_small", num_classes=5, input_size=size, width_multiplier=0.35)
        network.normalise_by(mean, (0.25,) * 3, interpolation)
        return TeacherCache(tmp_path, network, loader(), data="digest").folder

    assert len({key(), key(size=24), key(mean=(0.4, 0.5, 0.5)), key(interpolation="nearest")}) == 4
    assert key() == key()


def test_what_does_not_matter_is_not_in_the_key(tmp_path):
    """Batch size, order, number of views, processes and workers change nothing that is kept."""
    teacher = make_net(1)
    variants = ({}, {"batch_size": 5}, {"views": 7}, {"shuffle": False}, {"rank": 1, "world": 2}, {"workers": 2})
    assert len({TeacherCache(tmp_path, teacher, loader(**v), data="digest").folder for v in variants}) == 1


# filling


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(filling, "FILL_BATCH", 8)
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3, 5, 6, 9])
def test_a_broken_filling_goes_on_where_it_was(tmp_path, small_pieces, after):
    """Five batches make a view: the break falls at its first batch, within it, at its end, and in the second view."""
    teacher, batches = make_net(1), loader(augment=MIXED)
    whole = filled(tmp_path / "whole", teacher, batches)
    cache = TeacherCache(tmp_path / "broken", teacher, batches, data="digest")

    def breaks(module, inputs):
        breaks.left -= 1
        if breaks.left < 0:
            raise Interrupted

    breaks.left = after
    hook = teacher.register_forward_pre_hook(breaks)
    with pytest.raises(Interrupted):
        fill_cache(cache, teacher, batches, 2)
    hook.remove()
    with open(cache.path(after // 5), "ab") as torn:  # rows that were written and not counted
        torn.write(b"\xff" * 33)
    teacher.plain_passes = 0
    fill_cache(cache, teacher, batches, 2)
    assert teacher.plain_passes == 10 - after
    for view in range(2):
        assert np.load(cache.path(view)).tobytes() == np.load(whole.path(view)).tobytes()


def test_a_file_that_was_cut_or_taken_away_is_filled_again(tmp_path):
    teacher, batches = make_net(1), loader()
    cache = filled(tmp_path, teacher, batches)
    before = [cache.path(view).read_bytes() for view in range(2)]
    cache.path(0).unlink()
    os.truncate(cache.path(1), 200)
    assert cache.missing(2) == [0, 1]
    again = filled(tmp_path, teacher, batches)
    assert [again.path(view).read_bytes() for view in range(2)] == before


def test_a_stop_keeps_what_was_done(tmp_path, small_pieces):
    teacher, batches = make_net(1), loader()
    cache = TeacherCache(tmp_path, teacher, batches, data="digest")
    calls = []

    def stop(module, inputs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)

    hook = teacher.register_forward_pre_hook(stop)
    with pytest.raises(Stopped, match="SIGTERM"):
        fill_cache(cache, teacher, batches, 2)
    hook.remove()
    assert cache.done(0) == 24
    fill_cache(cache, teacher, batches, 2)
    assert cache.missing(2) == []


KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
import limbeck.distill.filling as filling
from cache_parts import MIXED, TeacherCache, fill_cache, loader
from graph_parts import make_net
import torch
torch.set_num_threads(1)
filling.FILL_BATCH, filling.SETTLE_SECONDS = 8, 0.0
teacher, batches = make_net(1), loader(augment=MIXED)
passes = []
def count(module, inputs):
    passes.append(1)
    if len(passes) == {after}:
        os.kill(os.getpid(), 9)
teacher.register_forward_pre_hook(count)
fill_cache(TeacherCache({home!r}, teacher, batches, data="digest"), teacher, batches, 2)
"""


def test_kills_leave_nothing_torn(tmp_path, small_pieces):
    """Processes killed with SIGKILL; who comes after does the rest, to the bits of a filling that was left alone."""
    teacher, batches = make_net(1), loader(augment=MIXED)
    for after in (4, 3):
        script = KILLED.format(tests=str(Path(__file__).parent), after=after, home=str(tmp_path / "killed"))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == -9, done.stderr
    cache = filled(tmp_path / "killed", teacher, batches)
    assert teacher.plain_passes == 5  # of ten: three and two were done
    whole = filled(tmp_path / "whole", teacher, batches)
    for view in range(2):
        assert cache.path(view).read_bytes() == whole.path(view).read_bytes()


def test_two_processes_fill_different_views_and_read_all(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run_rank, args=(port, str(tmp_path)), nprocs=2, start_method="spawn")
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    teacher, batches = make_net(1), loader(augment=MIXED, views=3)
    alone = filled(tmp_path / "alone", teacher, batches, views=3)
    together = TeacherCache(tmp_path / "home", teacher, batches, data="digest")
    for view in range(3):
        assert together.path(view).read_bytes() == alone.path(view).read_bytes()
    assert [rank["passes"] for rank in ranks] == [2 + 1, 1 + 1]  # one more for the graph's probe
    assert torch.equal(ranks[0]["gradient"], ranks[1]["gradient"])
    for rank in ranks:
        assert len(rank["read"]) > 50
        for (view, index), row in rank["read"].items():
            assert torch.equal(row, alone.read(view, np.array([index]))[0])


def test_another_run_that_fills_it_is_waited_for(tmp_path, small_pieces, capsys):
    teacher, batches = make_net(1), loader(augment=MIXED)
    cache = TeacherCache(tmp_path, teacher, batches, data="digest")
    cache.folder.mkdir(parents=True)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom limbeck.files import hold_lock\n"
            f"with hold_lock({str(cache.folder / '.lock')!r}, busy='busy'):\n"
            "    print('held', flush=True)\n    sys.stdin.read()\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline().strip() == b"held"
    real = filling.time.sleep
    waited = []

    def let_go(seconds):
        waited.append(seconds)
        holder.communicate()
        real(0.01)

    filling.time.sleep = let_go
    try:
        fill_cache(cache, teacher, batches, 2)
    finally:
        filling.time.sleep = real
    assert waited
    assert capsys.readouterr().err.count("another run is filling it") == 1
    assert cache.missing(2) == []


def test_the_size_is_said_before_and_a_small_disk_is_told(tmp_path, monkeypatch, capsys):
    teacher, batches = make_net(1), loader()
    filled(tmp_path, teacher, batches)
    assert "teacher cache: 2 views of 40 pictures, 0.0 MB" in capsys.readouterr().err
    monkeypatch.setattr(filling.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    filled(tmp_path, teacher, batches)  # nothing is missing
    with pytest.raises(
        InputError, match=r"teacher\.cache: 3 views of 40 pictures.*lower teacher\.cache_views"
    ) as caught:
        filled(tmp_path, teacher, batches, views=3)
    assert "\n" not in str(caught.value)


def test_logits_that_no_half_holds_are_told(tmp_path):
    teacher, batches = make_net(1), loader()
    with torch.no_grad():
        teacher.classifier.bias[0] = 1e5
    with pytest.raises(InputError, match=r"a logit of 100000 does not fit float16"):
        filled(tmp_path, teacher, batches)
    teacher.num_classes = 6
    with pytest.raises(InputError, match=r"gives \[40, 5\], not one logit for each of 6 classes"):
        filled(tmp_path, teacher, batches)


# what may have a cache


def test_who_may_have_one():
    student, teacher = make_net(1), make_net(2)
    assert list(cacheable_teachers(distillation("nkd", student=student, teacher=teacher))) == ["teacher"]
    several = distillation("kd", student=student, teacher=[teacher, make_net(3)])
    assert list(cacheable_teachers(several)) == ["teacher1", "teacher2"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda a, b: distillation("uskd", student=a), "no ready, frozen teacher"),
        (lambda a, b: distillation("dml", student=a, teacher=b), r"all learn \(student, peer\)"),
        (
            lambda a, b: Distillation({"student": Learner(a), "teacher": Ema(Learner(b))}, [Term("kd")]),
            "no ready, frozen teacher",
        ),
        (
            lambda a, b: distillation_from_terms(
                [{"loss": "graph_parts:Hint", "student": "student/stage1", "teacher": "teacher/stage1"}],
                student=a, teacher=b,
            ),
            r"term 'Hint' .* reads the teacher's features \('teacher/stage1'\)",
        ),
    ],
)  # fmt: skip
def test_who_may_not(make, told):
    with pytest.raises(InputError, match=f"teacher.cache: .*{told}") as caught:
        cacheable_teachers(make(make_net(1), make_net(2)))
    assert "\n" not in str(caught.value)


def test_streams_have_none(tmp_path):
    stream = PictureStream("far", tuple("abcde"), 10, 1, lambda shard: iter(()), image_size=(8, 8))
    with pytest.raises(InputError, match="streamed"):
        TeacherCache(tmp_path, make_net(1), loader(stream), data="digest")


# the largest logits only


def test_top_rows_keep_the_largest_and_the_mass_of_the_rest():
    logits = torch.randn(6, MANY, generator=torch.Generator().manual_seed(0)) * 4
    rows = TopRows(MANY, 16)
    found = rows.decode(rows.encode(logits))
    p, q = logits.double().softmax(1).numpy(), found.double().softmax(1).numpy()
    for row in range(6):
        top = np.argsort(-logits[row].numpy(), kind="stable")[:16]
        assert np.allclose(q[row, top], p[row, top], rtol=6e-3)
        rest = np.setdiff1d(np.arange(MANY), top)
        assert np.allclose(q[row, rest], p[row, rest].mean(), rtol=6e-3)
    distance = np.linalg.norm(q - p, axis=1) / np.linalg.norm(p - 1 / MANY, axis=1)
    assert rows.distortion(logits, rows.encode(logits)) == pytest.approx(distance.mean(), rel=1e-4)
    flatter = rows.distortion(logits / 8, rows.encode(logits / 8))
    assert flatter > 0.2 > rows.distortion(logits, rows.encode(logits)) > 1e-4


def test_top_rows_in_a_cache(tmp_path):
    teacher = make_net(1, num_classes=MANY)
    batches = loader(augment=PLAIN)
    cache = filled(tmp_path, teacher, batches, top_k=16)
    whole = filled(tmp_path, teacher, batches)
    assert cache.folder != whole.folder
    assert cache.path(0).stat().st_size < whole.path(0).stat().st_size / 10
    (batch,) = batches.whole(40).epoch(1)
    logits = said(teacher, batch)
    assert torch.equal(cache.read(1, np.arange(40)), cache.rows.decode(cache.rows.encode(logits)))
    assert cache.distortion(1) == pytest.approx(cache.rows.distortion(logits, cache.rows.encode(logits)), rel=1e-4)
    assert whole.distortion(1) is None


def test_distortion_is_the_mean_over_all_rows_also_after_a_break(tmp_path, small_pieces):
    teacher, batches = make_net(1, num_classes=MANY), loader()
    cache = TeacherCache(tmp_path, teacher, batches, data="digest", top_k=16)
    passes = []

    def breaks(module, inputs):
        passes.append(1)
        if len(passes) == 3:
            raise Interrupted

    hook = teacher.register_forward_pre_hook(breaks)
    with pytest.raises(Interrupted):
        fill_cache(cache, teacher, batches, 1)
    hook.remove()
    assert json.loads((cache.folder / "view-0000.json").read_text())["rows"] == 16
    fill_cache(cache, teacher, batches, 1)
    (batch,) = batches.whole(40).epoch(0)
    logits = said(teacher, batch)
    assert cache.distortion(0) == pytest.approx(cache.rows.distortion(logits, cache.rows.encode(logits)), rel=1e-4)


@pytest.mark.parametrize(("classes", "top_k", "told"), [(1000, 50, "above 1000 classes"), (2000, 2000, "1 to 1999")])
def test_top_rows_are_refused_where_they_do_not_pay(classes, top_k, told):
    with pytest.raises(InputError, match=rf"teacher\.cache_top_k.*{told}"):
        TopRows(classes, top_k)


@pytest.mark.parametrize(
    ("method", "options", "fits"),
    [
        ("kd", {"temperature": 1.0}, True),
        ("kd", {"temperature": 4.0}, False),
        ("kd", {}, False),
        ("nkd", {"temperature": 1.0}, True),
        ("dist", {"temperature": 1.0}, True),
        ("dkd", {"temperature": 1.0}, True),
        ("dkd", {"temperature": 1.0, "standardise": True}, False),
        ("lskd", {"temperature": 1.0}, False),
    ],
)
def test_top_rows_are_for_losses_at_temperature_one(method, options, fits):
    objective = distillation(method, student=make_net(1), teacher=make_net(2), **options)
    if fits:
        assert list(cacheable_teachers(objective, top_k=8)) == ["teacher"]
    else:
        with pytest.raises(InputError, match=r"teacher\.cache_top_k: term .* at temperature 1"):
            cacheable_teachers(objective, top_k=8)


def test_half_rows_come_back_as_they_are():
    rows = FullRows(5)
    logits = torch.randn(4, 5, dtype=torch.bfloat16)
    assert torch.equal(rows.decode(rows.encode(logits)), logits.float())  # a half holds every bfloat16 of this size


def test_a_view_is_held_on_the_device_where_there_is_room(tmp_path, monkeypatch):
    """As on CUDA, with the free memory that a test says."""
    teacher, batches = make_net(1), loader()
    source = Cached(filled(tmp_path, teacher, batches))
    here, free = torch.device("cpu"), [40 * 5 * 2 * 4 - 4]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 10**9))
    assert source._on_device(0, here) is None
    free[0] += 4
    held = source._on_device(0, here)
    assert np.array_equal(held.numpy(), np.load(source.cache.path(0)))
    assert source._on_device(0, here) is held
    assert np.array_equal(source._on_device(1, here).numpy(), np.load(source.cache.path(1)))


def test_batches_of_any_form_are_looked_up(tmp_path):
    teacher, batches = make_net(1), loader()
    cache = filled(tmp_path, teacher, batches)
    index = torch.tensor([7, 7, 0])
    batch = Batch(index, torch.zeros(3, 3, 8, 8), torch.zeros(3, dtype=torch.int64), view=1)
    assert torch.equal(Cached(cache)(batch, {}).out, torch.from_numpy(np.load(cache.path(1))[index.numpy()]).float())
