"""What is wrong in a recipe is said before any work, in one line, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import small_recipe

from limbeck.errors import InputError
from limbeck.pipeline.run import run_recipe


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"data__name": "digit"}, "did you mean 'digits'"),
        ({"student__model": "mobilenet_v3_smal"}, r"student: .*did you mean 'mobilenet_v3_small'"),
        ({"teacher__model": "timm:resnet8000"}, "teacher: .*resnet8000"),
        ({"distill__method": "nkdd"}, "distill: .*did you mean 'nkd'"),
        ({"distill__options": {"gama": 2.0}}, "distill: .*did you mean 'gamma'"),
        ({"distill": {"method": "dml", "learner_rates": {"per": 0.1}}}, "distill: .*did you mean 'peer'"),
        ({"teacher": None}, "needs a teacher"),
        ({"distill": {"terms": [{"loss": "kdd"}]}}, "did you mean 'kd'"),
        ({"distill": {"terms": [{"loss": "kd", "student": "student/stage99"}]}}, "stage99"),
        ({"budget__target": "onnxruntim"}, "budget.target: .*did you mean 'onnxruntime'"),
        ({"budget__target": "onnxruntime,threads=zero"}, "budget.target: .*threads"),
        ({"measure": {"targets": ["nothere:device"]}}, r"measure.targets\[0\]"),
        ({"data__validation": 0}, r"search: needs a validation split .*; set data\.validation above 0"),
        (
            {"data": {"name": "streamed_digits:read", "image_size": 16, "options": {"has_validation": False}}},
            "search: needs a validation split .*; this set has none, and none could be held out",
        ),
        ({"teacher__weights": "nowhere/teacher"}, "teacher.weights: .*no such file"),
        ({"search__space": "mobilenet_block"}, "did you mean 'mobilenet_blocks'"),
        ({"search__options": {"picture_size": 3}}, r"search\.options\.picture_size: is no option of a space"),
        (
            {"student__options": {"width_multiplier": 0.5}},
            r"student\.options\.width_multiplier: .*set student\.width_mult",
        ),
        (
            {"teacher__options": {"num_classes": 3}},
            r"teacher\.options\.num_classes: is no option of a model; the recipe",
        ),
        ({"distill__options": {"ce": "abc"}}, "distill: .*option ce = 'abc': expected a number"),
        (
            {"teacher": None, "distill": {"method": "ps_kd"}, "train__label_smoothing": 0.1},
            r"distill: .*no loss of the labels by themselves that train\.label_smoothing could change",
        ),
        (
            {"teacher": None, "distill": {"method": "label_smoothing"}, "data__class_weights": "balanced"},
            r'distill: .* that data\.class_weights = "balanced" could change',
        ),
        ({"export__exporter": "onx"}, "did you mean 'onnx'"),
    ],
)
def test_told_before_any_stage(tmp_path: Path, changes: dict, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        run_recipe(small_recipe(**changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()


def test_a_corrupt_teacher_is_told(tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match=r"teacher\.weights"):
        run_recipe(small_recipe(teacher__weights=str(tmp_path)), tmp_path / "run")


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    (tmp_path / "teacher.pth").write_bytes(pickle.dumps({"w": Evil()}))
    with pytest.raises(InputError):
        run_recipe(small_recipe(teacher__weights=str(tmp_path / "teacher.pth")), tmp_path / "run")
    assert not marker.exists()
