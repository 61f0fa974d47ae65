from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import build, create_model, family_table, inherit_weights
from limbeck.models.library import ModuleNetwork
from limbeck.models.providers import adopt_module
from limbeck.models.slice import crop_into

torch.set_num_threads(1)


def trained_like(table, seed=0):
    """A network whose statistics are away from their start."""
    torch.manual_seed(seed)
    network = build(table)
    network.train()
    for _ in range(2):
        network(torch.rand(4, 3, 32, 32))
    return network.eval()


SEED = family_table("mobilenet_v2_050", num_classes=5, input_size=(32, 32))


def test_the_same_table_inherits_everything():
    source = trained_like(SEED)
    source.normalise_by((0.4,) * 3, (0.2,) * 3)
    target = build(SEED).eval()
    report = inherit_weights(source, target)
    assert (report.inherited, report.share, report.fresh) == (target.params(), 1.0, ())
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(pictures), target(pictures))


def test_narrower_channels_keep_the_first_of_the_source():
    source = trained_like(SEED)
    target = build(family_table("mobilenet_v2_035", num_classes=5, input_size=(32, 32)))
    report = inherit_weights(source, target)
    assert report.share == 1.0
    mine, theirs = target.rows[3][1].expand.conv.weight, source.rows[3][1].expand.conv.weight
    assert mine.shape[0] < theirs.shape[0]
    assert torch.equal(mine, theirs[: mine.shape[0], : mine.shape[1]])
    norm, other = target.rows[3][1].project.norm, source.rows[3][1].project.norm
    assert torch.equal(norm.running_mean, other.running_mean[: len(norm.running_mean)])


def test_kernels_are_cropped_at_the_centre_and_padded_with_zeros():
    wide = torch.arange(2 * 25.0).reshape(2, 1, 5, 5)
    place = torch.full((2, 1, 3, 3), -1.0)
    assert crop_into(place, wide) == 18
    assert torch.equal(place, wide[:, :, 1:4, 1:4])
    place = torch.full((3, 1, 7, 7), -1.0)
    assert crop_into(place, wide) == 50
    assert torch.equal(place[:2, :, 1:6, 1:6], wide)
    assert place[:2].sum() == wide.sum()
    assert (place[2] == -1).all()


def test_a_larger_kernel_computes_what_the_source_did():
    source = trained_like(SEED)
    rows = tuple(replace(row, kernel_size=5) for row in SEED.rows)
    target = build(replace(SEED, rows=rows)).eval()
    report = inherit_weights(source, target)
    assert report.inherited < target.params()
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.allclose(source(pictures), target(pictures), atol=1e-5)


def test_other_depths_match_block_by_block():
    source = trained_like(SEED)
    deeper = tuple(replace(row, repeats=row.repeats + 1) for row in SEED.rows)
    target = build(replace(SEED, rows=deeper))
    report = inherit_weights(source, target)
    assert torch.equal(target.rows[2][1].project.conv.weight, source.rows[2][1].project.conv.weight)
    assert {name.split(".")[2] for name in report.fresh if name.startswith("rows.2.")} == {"3"}
    fresh = sum(dict(target.named_parameters())[name].numel() for name in report.fresh)
    assert report.inherited == target.params() - fresh


def test_other_numbers_of_rows_match_within_each_stage():
    source = trained_like(SEED)
    target = build(replace(SEED, rows=(*SEED.rows[:4], *SEED.rows[5:])))
    report = inherit_weights(source, target)
    assert report.share == 1.0
    mine, theirs = target.rows[4][0].expand.conv.weight, source.rows[5][0].expand.conv.weight
    assert torch.equal(mine, theirs[: len(mine), : mine.shape[1]])
    assert torch.equal(target.rows[5][0].expand.conv.weight, source.rows[6][0].expand.conv.weight)


def test_a_classifier_of_other_classes_stays_fresh():
    report = inherit_weights(trained_like(SEED), build(replace(SEED, num_classes=9)))
    assert report.fresh == ("classifier.weight", "classifier.bias")


def test_mobilenet_v3_with_squeeze_excite_is_cropped_too():
    source = trained_like(family_table("mobilenet_v3_small", num_classes=5, input_size=(32, 32)))
    target = build(family_table("mobilenet_v3_small_050", num_classes=5, input_size=(32, 32)))
    report = inherit_weights(source, target)
    assert report.share == 1.0
    assert torch.equal(target.head.features.weight, source.head.features.weight[:, : target.head.features.in_features])
    assert target.origin["weights"] == "cropped from random"


@pytest.mark.parametrize("name", ["mnasnet_a1", "mobilenet_v4_conv_small", "mobilenet_v4_conv_medium", "fbnet_c"])
def test_the_families_inherit_from_wider_ones_of_their_own(name):
    wide, narrow = (
        family_table(name, num_classes=5, input_size=(32, 32), width_multiplier=width, small_images=True)
        for width in (0.35, 0.25)
    )
    source, same, target = trained_like(wide), build(wide).eval(), build(narrow)
    assert inherit_weights(source, same).share == inherit_weights(source, target).share == 1.0
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(pictures), same(pictures))
    stem = source.stem.conv.weight
    assert torch.equal(target.stem.conv.weight, stem[: len(target.stem.conv.weight)])


def test_a_layer_that_the_source_lacks_stays_fresh():
    table = family_table("mobilenet_v4_conv_small", num_classes=5, input_size=(32, 32), width_multiplier=0.25)
    place = next(i for i, row in enumerate(table.rows) if row.kernel_size == 0)
    rows = [replace(row, kernel_size=3) if i == place else row for i, row in enumerate(table.rows)]
    report = inherit_weights(trained_like(table), build(replace(table, rows=tuple(rows))))
    assert {name.split(".depthwise")[0] for name in report.fresh} == {f"rows.{place}.0"}


def test_only_networks_of_tables_take_part():
    with pytest.raises(InputError, match="must be built from tables, or neither"):
        inherit_weights(create_model("timm:resnet18", num_classes=5), build(SEED))
    with pytest.raises(InputError, match="takes 1 channels"):
        inherit_weights(build(replace(SEED, in_channels=1)), build(SEED))


class Small(nn.Module):
    def __init__(self, width, classes, kernel=3):
        super().__init__()
        self.conv = nn.Conv2d(3, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        self.end = nn.Linear(width, classes)

    def forward(self, inputs):
        return self.end(self.norm(self.conv(inputs)).mean((2, 3)))


def adopted(module, classes):
    owns = {"num_classes": classes, "input_size": (8, 8), "in_channels": 3}
    return adopt_module(
        module, lambda **more: ModuleNetwork("outside", "small", module, {}, **more), **owns, where="", source="s"
    )


def test_networks_that_are_no_tables_inherit_by_name():
    source, target = adopted(Small(6, 5), 5), adopted(Small(4, 5, kernel=5), 5)
    source.module.norm.running_mean.fill_(3.0)
    source.normalise_by([0.1] * 3, [0.2] * 3)
    report = inherit_weights(source, target)
    assert torch.equal(target.module.conv.weight[:, :, 1:4, 1:4], source.module.conv.weight[:4])
    assert not target.module.conv.weight[:, :, 0].any()
    assert torch.equal(target.module.end.weight, source.module.end.weight[:, :4])
    assert target.module.norm.running_mean.tolist() == [3.0] * 4
    assert target.normalisation == source.normalisation
    assert (report.inherited, report.fresh) == (4 * 27 + 4 + 8 + 25, ())
    fresh = adopted(Small(4, 3), 3)
    before = fresh.module.end.weight.clone()
    assert inherit_weights(source, fresh).fresh == ("module.end.weight", "module.end.bias")
    assert torch.equal(fresh.module.end.weight, before)  # of other classes


def test_networks_with_nothing_alike_are_told_and_left_alone():
    source = adopted(Small(6, 5), 5)
    source.normalise_by([0.1] * 3, [0.2] * 3)
    other = adopted(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)), 5)
    with pytest.raises(InputError, match="no parameter of the target has the name"):
        inherit_weights(source, other)
    assert other.normalisation["mean"] != [0.1] * 3
