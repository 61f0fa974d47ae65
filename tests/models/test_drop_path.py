"""Blocks that training leaves out for some pictures: which, how often, and that nobody else notices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch

from limbeck.errors import InputError
from limbeck.models import Row, Table, build, create_model, family_table
from limbeck.models.blocks import Fused, Inverted

torch.set_num_threads(1)


def shares_of_ours(name: str, share: float) -> list[float]:
    rows = family_table(name, drop_path=share).blocks()[1:]
    return [plan.drop_path for plans in rows for plan in plans if plan.skip != "none"]


# timm counts the last 1x1 convolution of MobileNetV3 among the blocks
@pytest.mark.parametrize(
    ("name", "scale"),
    [("mobilenetv3_large_100", 16 / 15), ("semnasnet_100", 1), ("mobilenetv2_100", 1), ("efficientnet_b0", 1)],
)
def test_the_share_rises_from_block_to_block_as_in_timm(name: str, scale: float) -> None:
    theirs = timm.create_model(name, drop_path_rate=0.3)
    skipping = [block for stage in theirs.blocks for block in stage if getattr(block, "has_skip", False)]
    expected = [getattr(block.drop_path, "drop_prob", 0.0) for block in skipping]
    assert max(expected) > 0.2
    assert shares_of_ours(name, 0.3) == pytest.approx([scale * share for share in expected])


def test_it_is_no_weight_and_no_part_of_a_network_at_work() -> None:
    torch.manual_seed(0)
    plain = create_model("mobilenet_v3_small_035", num_classes=4, input_size=32)
    dropping = create_model("mobilenet_v3_small_035", num_classes=4, input_size=32, drop_path=0.9, dropout=0.0)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    dropping.load_state_dict(plain.state_dict())
    pictures = torch.rand(3, 3, 32, 32)
    assert torch.equal(plain.eval()(pictures), dropping.eval()(pictures))
    assert plain.table is not None
    assert dropping.table is not None
    assert (plain.params(), plain.macs()) == (dropping.params(), dropping.macs())
    assert Table.from_json(dropping.table.to_json()) == dropping.table
    dropping.train()
    for norm in dropping.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.eval()
    assert not torch.equal(dropping(pictures), dropping(pictures))


@pytest.mark.parametrize("kind", ["inverted", "fused"])
def test_a_picture_loses_the_whole_block_or_has_it_scaled_up(kind: str) -> None:
    table = Table(
        name="two",
        stem=Row("conv", 8, stride=2),
        rows=(Row(kind, 8, expansion=2.0, repeats=4),),
        head=family_table("mobilenet_v2").head,
        drop_path=0.8,
    )
    torch.manual_seed(0)
    block = build(table).eval().rows[0][2]
    assert isinstance(block, Inverted | Fused)
    assert block.drop is not None
    inputs = torch.randn(2000, 8, 2, 2)
    inside = block(inputs) - inputs
    block.drop.train()
    found = block(inputs) - inputs
    left_out = (found == 0).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.8 * 2 / 4, abs=0.04)
    torch.testing.assert_close(found[~left_out], inside[~left_out] / 0.6, atol=1e-5, rtol=1e-5)


def test_a_share_out_of_range_is_told() -> None:
    with pytest.raises(InputError, match="drop_path must be"):
        replace(family_table("mobilenet_v2"), drop_path=1.0)
