"""The named methods as graphs, and terms written by hand."""

import sys
from pathlib import Path

import pytest
import torch

from limbeck.distill import (
    METHODS,
    PRESETS,
    Distillation,
    Frozen,
    Term,
    check_method,
    distillation,
    distillation_from_terms,
    method_options,
    teacher_role,
)
from limbeck.errors import InputError
from limbeck.losses import bdkd, cross_entropy, dist, dkd, dml, kd, nkd, uskd
from limbeck.testing.methods import check_distillation

sys.path.insert(0, str(Path(__file__).parent))
from graph_parts import Bank, Hint, make_batch, make_net, now, two_teachers


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def gradients(module):
    return {name: p.grad is not None and bool(p.grad.abs().sum() > 0) for name, p in module.named_parameters()}


def test_kd_is_its_weighted_sum():
    student, teacher, batch = make_net(1), make_net(2, width=9), make_batch()
    objective = distillation("kd", student=student, teacher=teacher)
    values = objective(batch, now())
    student.eval()  # the running statistics moved in the objective's pass; the batch's own do not
    student.train()
    out = student(batch.inputs)
    with torch.no_grad():
        told = teacher(batch.inputs)
    assert set(values) == {"loss", "task", "kd"}
    assert torch.allclose(values["task"], cross_entropy(out, target=batch.target))
    assert torch.allclose(values["kd"], kd(out, told, temperature=4.0))
    assert torch.allclose(values["loss"], 0.1 * values["task"] + 0.9 * values["kd"])


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("imagenet", (1.0, 1.5)), ("imagenet_vit", (1.0, 1.0)), ("cifar100", (3.0, 3.5))],
)
def test_nkd_presets(preset, expected):
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    objective = distillation("nkd", student=student, teacher=teacher, preset=preset)
    values = objective(batch, now())
    out, told = student(batch.inputs), teacher(batch.inputs)
    assert torch.allclose(
        values["nkd"], nkd(out, told, target=batch.target, temperature=expected[0], gamma=expected[1])
    )
    assert torch.allclose(values["loss"], values["task"] + values["nkd"])


def test_an_option_given_wins_over_the_preset():
    objective = distillation("kd", student=make_net(1), teacher=make_net(2), preset="imagenet", temperature=2.0)
    task, term = (edge.term for edge in objective.edges)
    assert (task.weight, term.weight, term.options) == (0.5, 0.5, {"temperature": 2.0})


def test_uskd_trains_an_exit_and_drops_it_at_deployment():
    student, batch = make_net(1), make_batch()
    objective = distillation("uskd", student=student)
    values = objective(batch, now())
    values["loss"].backward()
    assert all(gradients(objective).values())
    names = {name for name, _ in objective.named_parameters()}
    assert {"sources.student.exits.0.linear.weight", "sources.student.exits.0.linear.bias"} <= names
    assert objective.deployable() is student
    assert not any("exit" in name for name in objective.deployable().state_dict())
    learner = objective.sources["student"]
    assert learner.exits[0].linear.in_features == 6  # stage1: the last but one
    feature = student.observe(batch.inputs, ("stage1",))
    expected = uskd(feature.out, learner.exits[0](feature.stages["stage1"]), target=batch.target)
    assert torch.allclose(values["uskd"], expected)


def test_uskd_exit_at_a_named_stage_reaches_the_backbone_below_it_only():
    student, batch = make_net(1), make_batch()
    objective = distillation("uskd", student=student, exit_stage="stage2", ce=0.0, alpha=0.0, beta=0.0, mu=1.0)
    assert objective.sources["student"].exits[0].linear.in_features == 12
    objective(batch, now())["loss"].backward()
    reached = gradients(student)
    assert reached["second.0.weight"]
    assert not reached["classifier.weight"]


def test_uskd_with_mixed_labels():
    student, batch = make_net(1), make_batch()
    eye = torch.eye(5)
    rows = 0.6 * eye[batch.target] + 0.4 * eye[batch.target.flip(0)]
    mixed = type(batch)(batch.index, batch.inputs, rows)
    values = distillation("uskd", student=student)(mixed, now())
    assert torch.isfinite(values["loss"])


def test_dml_gives_no_gradient_across():
    student, peer, batch = make_net(1), make_net(2, width=9), make_batch()
    objective = distillation("dml", student=student, teacher=peer)
    assert dict(objective.learners()) == {"student": student, "peer": peer}
    assert objective.deployable() is student
    values = objective(batch, now())
    a, b = student(batch.inputs), peer(batch.inputs)
    assert torch.allclose(values["dml"], dml(a, b))
    assert torch.allclose(values["peer_dml"], dml(b, a))
    total = values["task"] + values["dml"] + values["peer_task"] + values["peer_dml"]
    assert torch.allclose(values["loss"], total)
    for one, other, term in ((student, peer, "student"), (peer, student, "peer")):
        graph = distillation("dml", student=student, teacher=peer)
        graph.edges = [edge for edge in graph.edges if edge.term.student == term]
        graph.zero_grad(set_to_none=True)
        graph(batch, now())["loss"].backward()
        assert all(gradients(one).values())
        assert not any(gradients(other).values())


def test_methods_check_before_any_network():
    check_method("nkd", {"gamma": 2.0, "preset": "cifar100"}, has_teacher=True)
    for call, message in [
        (lambda: check_method("nkdd", has_teacher=True), "unknown method 'nkdd'; did you mean 'nkd'"),
        (
            lambda: check_method("nkd", {"gama": 2.0}, has_teacher=True),
            "'nkd': unknown option 'gama'; did you mean 'gamma'",
        ),
        (lambda: check_method("nkd", {"preset": "imagnet"}, has_teacher=True), "did you mean 'imagenet"),
        (lambda: check_method("kd", has_teacher=False), "needs a teacher; methods without one: .*uskd"),
        (lambda: check_method("dml", has_teacher=False), "the student's peer"),
        (lambda: check_method("uskd", has_teacher=True), "no use for a teacher"),
        (
            lambda: distillation("kd", student=make_net(), teacher=make_net(num_classes=7)),
            r"term 'kd' \(student <- teacher\): kd: student is \[4, 5\] but teacher is \[4, 7\]",
        ),
        (
            lambda: distillation("uskd", student=make_net(), exit_stage="stage9"),
            r"source 'student' \(terms: uskd\): unknown stage 'stage9'; did you mean 'stage2'",
        ),
        (lambda: distillation("uskd", student=make_net(num_classes=2)), "term 'uskd' .*at least 3 classes"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_roles_and_options():
    assert [teacher_role(name) for name in ("kd", "nkd", "uskd", "dml")] == ["frozen", "frozen", "none", "trained"]
    assert method_options("uskd") == {
        "preset": "imagenet",
        "ce": None,
        "alpha": None,
        "beta": None,
        "mu": None,
        "exit_stage": None,
    }
    assert set(PRESETS) <= set(METHODS)
    for name, presets in PRESETS.items():
        for values in presets.values():
            assert set(values) <= set(method_options(name))
    assert all(function.__doc__ for function in METHODS.values())


@pytest.mark.parametrize("method", METHODS)
def test_an_option_of_another_type_is_refused_before_there_are_networks(method):
    """Some are read at the first step only, hours after the teachers were begun."""
    has_teacher = teacher_role(method) != "none"
    for name in method_options(method):
        with pytest.raises(InputError, match=rf"method '{method}': option {name} = \{{'a': 1\}}: expected "):
            check_method(method, {name: {"a": 1}}, has_teacher=has_teacher)


def test_types_that_are_near_are_told_apart():
    for method, options, told in [
        ("dkd", {"standardise": "False"}, "standardise = 'False': expected true or false"),
        ("kd", {"ce": "abc"}, "ce = 'abc': expected a number"),
        ("kd", {"ce": True}, "ce = True: expected a number"),
        ("at", {"student_stages": "deep"}, "student_stages = 'deep': expected a list of text"),
        ("one", {"branches": 2.5}, "branches = 2.5: expected a whole number"),
    ]:
        with pytest.raises(InputError, match=told):
            check_method(method, options, has_teacher=teacher_role(method) != "none")
    with pytest.raises(InputError, match=r"term 'dkd' .*: option standardise = 'no': expected true or false"):
        distillation_from_terms([Term("dkd", options={"standardise": "no"})], student=make_net(1), teacher=make_net(2))
    for field in ("weight", "warmup"):
        with pytest.raises(InputError, match=f"term 'kd': {field} = 'much': expected a number"):
            Term("kd", **{field: "much"})
    with pytest.raises(InputError, match="method 'os:sep': is a str, not a function that returns a Graph"):
        distillation("os:sep", student=make_net(1))
    with pytest.raises(InputError, match="teacher: expected a network or several, got 'x'"):
        distillation("kd", student=make_net(1), teacher="x")
    with pytest.raises(InputError, match="method 'bdkd': temperature must be positive, not 0"):
        distillation("bdkd", student=make_net(1), teacher=make_net(2), temperature=0, scaled=False)


def test_terms_by_hand_add_the_task_and_freeze_the_teacher():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    records = [
        {
            "loss": "kd",
            "weight": 2.0,
            "options": {"temperature": 2.0},
            "schedule": "constant",
            "warmup": 0.0,
            "name": None,
            "student": "student",
            "teacher": "teacher",
        }
    ]
    assert teacher_role(terms=records) == "frozen"
    objective = distillation_from_terms(records, student=student, teacher=teacher)
    assert isinstance(objective.sources["teacher"], Frozen)
    values = objective(batch, now())
    assert set(values) == {"loss", "kd", "task"}
    assert torch.allclose(values["loss"], 2 * values["kd"] + values["task"])
    alone = distillation_from_terms([Term("cross_entropy"), Term("task", weight=0.0)], student=student)
    assert alone.edges[0].addresses == ("student",)
    values = alone(batch, now())
    assert torch.allclose(values["loss"], values["cross_entropy"])


def test_terms_by_hand_train_a_teacher_that_a_term_trains():
    terms = [Term("dml"), Term("dml", student="teacher", teacher="student")]
    assert teacher_role(terms=terms) == "trained"
    objective = distillation_from_terms(terms, student=make_net(1), teacher=make_net(2))
    assert set(objective.learners()) == {"student", "teacher"}
    assert set(objective(make_batch(), now())) == {"loss", "dml", "teacher_dml", "task", "teacher_task"}


def test_stage_terms_with_a_projector_between_networks_of_other_widths():
    student, teacher, batch = make_net(1), make_net(2, width=9), make_batch()
    terms = [Term(Hint, student="student/stage2", teacher="teacher/stage2", name="hint", options={"power": 1})]
    objective = distillation_from_terms(terms, student=student, teacher=teacher)
    objective(batch, now())["loss"].backward()
    assert objective.losses["hint"].project.weight.shape == (18, 12, 1, 1)
    assert all(gradients(objective).values())
    assert objective.losses["hint"].power == 1
    assert not any("hint" in name for name in objective.deployable().state_dict())


def test_a_loss_with_memory_is_built_handed_its_keywords_and_saved():
    batch = make_batch()
    terms = [Term(Bank, name="bank")]
    objective = distillation_from_terms(terms, student=make_net(1), teacher=make_net(2), num_samples=8)
    assert objective.needs() == {"class_pairs"}
    half = objective(batch, now(0.5))["bank"]
    assert not objective.losses["bank"].seen.any()
    objective.after_step()
    assert objective.losses["bank"].seen.tolist() == [1.0] * 6 + [0.0] * 2
    assert torch.allclose(half, 1.5 * objective(batch, now(0.0))["bank"])
    assert "losses.bank.seen" in objective.state_dict()
    with pytest.raises(InputError, match="give num_samples"):
        distillation_from_terms(terms, student=make_net(1), teacher=make_net(2))


def test_several_teacher_addresses():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    terms = [Term(two_teachers, teacher=("teacher", "student/exit@stage2"), name="two", options={"share": 1.0})]
    values = distillation_from_terms(terms, student=student, teacher=teacher)(batch, now())
    assert torch.allclose(values["two"], kd(student(batch.inputs), teacher(batch.inputs)))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Term("nkdd"), "term 'nkdd': unknown loss 'nkdd'; did you mean 'nkd'"),
        (
            Term("kd", options={"temprature": 1.0}),
            r"term 'kd' \(student <- teacher\): unknown option 'temprature'; did you mean 'temperature'",
        ),
        (
            Term("kd", student="student/stage3"),
            r"unknown stage 'stage3'; did you mean 'stage[12]'\? \(known: dense, dense@STAGE, exit, exit@STAGE, stage1, stage2\)",
        ),
        (Term("kd", teacher="teecher"), "unknown source 'teecher'; did you mean 'teacher'"),
        (Term("kd", teacher="teacher/exit"), r"source 'teacher' \(terms: kd\): unknown stage 'exit'"),
        (Term("kd", student="student/stage1", teacher="teacher/stage1"), r"term 'kd' .*must be \[N, K\]"),
        (Term("kd", teacher=("teacher", "teacher")), r"takes 2 tensor\(s\), but 3"),
        (Term("kd", teacher=None), r"takes 2 tensor\(s\), but 1"),
        (Term("task", options={"x": 1}), "takes no options"),
        (Term(lambda student, teacher: student - teacher, name="raw"), "term 'raw' .* must return a scalar"),
        (Term(lambda student, teacher: student @ teacher, name="raw"), "term 'raw' .* fails on a probe batch"),
        (Term("kd", name="loss"), "the name 'loss' is taken"),
    ],
)
def test_wrong_terms_are_named(term, message):
    with pytest.raises(InputError, match=message) as caught:
        distillation_from_terms([term], student=make_net(1), teacher=make_net(2))
    assert "\n" not in str(caught.value)


def test_wrong_term_records():
    student = make_net()
    for call, message in [
        (lambda: Term("kd", schedule="lineer_up"), "did you mean 'linear_up'"),
        (lambda: Term("kd", warmup=2.0), "warmup must lie in"),
        (lambda: distillation_from_terms([{"los": "kd"}], student=student), "unknown field 'los'; did you mean 'loss'"),
        (lambda: distillation_from_terms([{"weight": 1.0}], student=student), "'loss' is missing"),
        (lambda: distillation_from_terms([Term("kd")], student=student), "there is no teacher"),
        (
            lambda: distillation_from_terms([Term("kd"), Term("kd")], student=student, teacher=make_net()),
            "the name 'kd' is taken",
        ),
        (lambda: distillation_from_terms([], student=student), "no terms"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_schedules_and_warmup():
    names = ("constant", "linear_up", "linear_down", "cosine_up", "cosine_down")
    terms = [Term("kd", name=name, schedule=name) for name in names]
    terms.append(Term("kd", name="warm", weight=3.0, warmup=0.2))
    objective = distillation_from_terms(terms, student=make_net(1), teacher=make_net(2))

    def weights(progress):
        return [float(edge.weight(now(progress))) for edge in objective.edges[:6]]

    assert weights(0.0) == pytest.approx([1, 0, 1, 0, 1, 0])
    assert weights(0.25) == pytest.approx([1, 0.25, 0.75, 0.14644661, 0.85355339, 3])
    assert weights(0.1)[5] == pytest.approx(1.5)


def test_methods_from_outside_the_package():
    batch = make_batch()
    objective = distillation("graph_parts:self_memory", student=make_net(1), num_samples=8, weight=0.5)
    assert objective.edges[1].term.weight == 0.5
    assert set(objective(batch, now())) == {"loss", "task", "kd"}
    made = distillation("graph_parts:ready_made", student=make_net(1), teacher=make_net(2), example=batch)
    assert isinstance(made, Distillation)
    for call, message in [
        (lambda: distillation("graph_parts:self_memory", student=make_net(1)), "give num_samples"),
        (lambda: distillation("graph_parts:self_memory", student=make_net(1), wieght=1.0), "did you mean 'weight'"),
        (lambda: distillation("graph_parts:not_a_method", student=make_net(1)), "must return a Graph"),
        (lambda: distillation("graph_parts:absent", student=make_net(1)), "has no 'absent'"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_a_loss_from_outside_the_package():
    terms = [Term("graph_parts:two_teachers", teacher=("teacher", "teacher"))]
    values = distillation_from_terms(terms, student=make_net(1), teacher=make_net(2))(make_batch(), now())
    assert set(values) == {"loss", "two_teachers", "task"}


OF_OTHERS = {
    "odkd",
    "two_teacher",
}  # of detectors and points; the others also teach classifiers, which these networks are


@pytest.mark.parametrize("method", sorted(set(METHODS) - OF_OTHERS))
def test_every_method_trains_two_steps(method):
    width = {} if method == "pkd" else {"width": 9}  # which compares channel by channel
    student, second, batch = make_net(1), make_net(2, **width), make_batch()
    teacher = None if teacher_role(method) == "none" else second
    objective = distillation(method, student=student, teacher=teacher, num_samples=8)
    check_distillation(objective, batch, teacher=teacher if teacher_role(method) == "frozen" else None)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.002)
    objective(batch, now(0.5))
    objective.after_step()  # what is remembered is there from now on: before, the targets would be others
    found = []
    for _ in range(3):
        values = objective(batch, now(0.5))
        values["loss"].backward()
        objective.after_backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step()
        found.append(values["loss"].item())
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize("method", sorted(set(PRESETS) - OF_OTHERS))
def test_every_preset_makes_a_graph(method):
    for preset in PRESETS[method]:
        teacher = None if teacher_role(method) == "none" else make_net(2)
        objective = distillation(method, student=make_net(1), teacher=teacher, num_samples=8, preset=preset)
        values = objective(make_batch(), now(0.5))
        assert torch.isfinite(values["loss"])


def test_dkd_rises_over_its_warmup():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    objective = distillation("dkd", student=student, teacher=teacher, preset="cifar100_resnet")
    values = objective(batch, now(10 / 240))
    assert torch.allclose(
        values["dkd"], dkd(student(batch.inputs), teacher(batch.inputs), target=batch.target, beta=2.0)
    )
    assert torch.allclose(values["loss"], values["task"] + 0.5 * values["dkd"])
    values = objective(batch, now(0.5))
    assert torch.allclose(values["loss"], values["task"] + values["dkd"])


def test_dist_is_its_weighted_sum():
    student, teacher, batch = make_net(1), make_net(2), make_batch()
    for preset, temperature in (("cifar100", 4.0), ("imagenet", 1.0)):
        values = distillation("dist", student=student, teacher=teacher, preset=preset)(batch, now())
        expected = dist(student(batch.inputs), teacher(batch.inputs), temperature=temperature)
        assert torch.allclose(values["dist"], expected)
        assert torch.allclose(values["loss"], values["task"] + 2 * values["dist"])


def test_bdkd_balances_the_student_and_gives_no_gradient_across():
    student, peer, batch = make_net(1), make_net(2, width=9), make_batch()
    options = {"temperature": 2.0, "weighting": "soft", "sharpness": 3.0}
    objective = distillation("bdkd", student=student, teacher=peer, peer_dml=0.5, **options)
    assert dict(objective.learners()) == {"student": student, "peer": peer}
    values = objective(batch, now())
    a, b = student(batch.inputs), peer(batch.inputs)
    assert torch.allclose(values["bdkd"], bdkd(a, b, **options))
    assert torch.allclose(values["peer_dml"], dml(b, a, temperature=2.0))
    total = values["task"] + values["bdkd"] + values["peer_task"] + 0.5 * values["peer_dml"]
    assert torch.allclose(values["loss"], total)
    for one, other, term in ((student, peer, "student"), (peer, student, "peer")):
        graph = distillation("bdkd", student=student, teacher=peer)
        graph.edges = [edge for edge in graph.edges if edge.term.student == term]
        graph.zero_grad(set_to_none=True)
        graph(batch, now())["loss"].backward()
        assert all(gradients(one).values())
        assert not any(gradients(other).values())


def test_bdkd_leaves_out_the_squared_temperature_on_both_sides():
    student, peer, batch = make_net(1), make_net(2, width=9), make_batch()
    values = distillation("bdkd", student=student, teacher=peer, temperature=2.0, scaled=False)(batch, now())
    total = values["task"] + values["bdkd"] + values["peer_task"] + values["peer_dml"] / 4
    assert torch.allclose(values["loss"], total)
