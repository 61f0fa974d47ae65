from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from narrow_networks import small_table, trained_like

from limbeck.adapt import largest_channels, split_rows, truncate, with_widths
from limbeck.errors import InputError
from limbeck.models import MODELS, family_table
from limbeck.models.channels import channel_map

torch.set_num_threads(1)
TABLE = split_rows(small_table())
PICTURES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def largest(weights: list[np.ndarray], count: int) -> list[int]:
    """Slow: the norm of each channel's filters over all given convolutions, one number after the other."""
    norms = []
    for channel in range(weights[0].shape[0]):
        total = 0.0
        for weight in weights:
            for number in weight[channel].ravel():
                total += float(number) ** 2
        norms.append((-(total**0.5), channel))
    return sorted(channel for _, channel in sorted(norms)[:count])


def array(module) -> np.ndarray:
    return module.weight.detach().numpy()


def test_a_network_that_keeps_its_widths_gives_the_same_outputs():
    source = trained_like(TABLE)
    source.normalise_by((0.4,) * 3, (0.2,) * 3)
    copy = truncate(source, TABLE)
    assert torch.equal(copy(PICTURES), source(PICTURES))
    assert not copy.training


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet_a1", "mobilenet_v1", "mobilenet_v4_conv_small"])
def test_so_do_the_families(name):
    source = trained_like(split_rows(family_table(name, num_classes=3, input_size=(32, 32))))
    assert torch.equal(truncate(source, source.table)(PICTURES), source(PICTURES))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_width_of_every_family_has_a_maker_and_its_size(name):
    from limbeck.models import build

    network = build(family_table(name, num_classes=2, input_size=(32, 32)))
    channels, state = channel_map(network), network.state_dict()
    assert set(channels.axes) == set(state)
    for parameter, axes in channels.axes.items():
        for side, width in zip(state[parameter].shape, axes, strict=True):
            assert width is None or side == channels.sizes[width], parameter
    assert set(channels.makers) == set(channels.sizes)


def test_an_expansion_keeps_the_largest_filters_of_the_expansion_layer():
    source = trained_like(TABLE)
    target = truncate(source, with_widths(TABLE, expansions={2: 40}))
    theirs, mine = source.rows[2][0], target.rows[2][0]
    kept = largest([array(theirs.expand.conv)], 40)
    assert kept != list(range(40))
    assert torch.equal(mine.expand.conv.weight, theirs.expand.conv.weight[kept])
    assert torch.equal(mine.expand.norm.running_var, theirs.expand.norm.running_var[kept])
    assert torch.equal(mine.depthwise.conv.weight, theirs.depthwise.conv.weight[kept])
    assert torch.equal(mine.depthwise.norm.bias, theirs.depthwise.norm.bias[kept])
    assert torch.equal(mine.project.conv.weight, theirs.project.conv.weight[:, kept])
    squeezed = largest([array(theirs.squeeze_excite.reduce)], mine.squeeze_excite.reduce.out_channels)
    assert len(squeezed) == 16
    assert torch.equal(mine.squeeze_excite.reduce.weight, theirs.squeeze_excite.reduce.weight[squeezed][:, kept])
    assert torch.equal(mine.squeeze_excite.reduce.bias, theirs.squeeze_excite.reduce.bias[squeezed])
    assert torch.equal(mine.squeeze_excite.expand.weight, theirs.squeeze_excite.expand.weight[kept][:, squeezed])
    assert torch.equal(target.rows[3][0].expand.conv.weight, source.rows[3][0].expand.conv.weight)


def test_rows_that_add_to_each_other_are_judged_together():
    source = trained_like(TABLE)
    names = ("row1", "row2", "row3")
    target = truncate(source, with_widths(TABLE, outputs=dict.fromkeys(names, 16)))
    together = largest([array(source.rows[row][0].project.conv) for row in (1, 2, 3)], 16)
    alone = largest([array(source.rows[1][0].project.conv)], 16)
    assert together != alone
    for row in (1, 2, 3):
        theirs, mine = source.rows[row][0], target.rows[row][0]
        assert torch.equal(mine.project.conv.weight, theirs.project.conv.weight[together])
        assert torch.equal(mine.project.norm.running_mean, theirs.project.norm.running_mean[together])
    assert torch.equal(target.rows[4][0].expand.conv.weight, source.rows[4][0].expand.conv.weight[:, together])


def test_the_stem_the_separable_block_and_the_head_follow():
    source = trained_like(TABLE)
    outputs = {"stem": 8, "row0": 8, "row5": 24, "row6": 24}
    target = truncate(source, with_widths(TABLE, outputs=outputs))
    first = largest([array(source.stem.conv), array(source.rows[0][0].project.conv)], 8)
    assert torch.equal(target.stem.conv.weight, source.stem.conv.weight[first])
    assert torch.equal(target.rows[0][0].depthwise.conv.weight, source.rows[0][0].depthwise.conv.weight[first])
    last = largest([array(source.rows[6][0].project.conv)], 24)
    assert torch.equal(target.head.conv.conv.weight, source.head.conv.conv.weight[:, last])
    middle = largest([array(source.rows[5][0].project.conv)], 24)
    mine, theirs = target.rows[6][0], source.rows[6][0]
    assert torch.equal(mine.start.conv.weight, theirs.start.conv.weight[middle])
    assert target(PICTURES).shape == (2, 5)


def test_a_removed_channel_that_says_nothing_changes_no_output():
    source = trained_like(TABLE)
    with torch.no_grad():  # eight channels of the second expansion are dead: no filter, no shift
        block = source.rows[2][0]
        for layer in (block.expand, block.depthwise):
            layer.conv.weight[8:16] = 0
            layer.norm.bias[8:16] = 0
            layer.norm.running_mean[8:16] = 0
        block.squeeze_excite.expand.weight[8:16] = 0
        block.squeeze_excite.reduce.weight[:, 8:16] = 0
    table = with_widths(TABLE, expansions={2: 88})
    assert table.blocks()[3][0].squeeze_channels == source.table.blocks()[3][0].squeeze_channels
    kept = largest_channels(source, channel_map(trained_like(table)).sizes)
    assert kept["block3.hidden"].tolist() == [*range(8), *range(16, 96)]
    torch.testing.assert_close(truncate(source, table)(PICTURES), source(PICTURES))


def test_steps_make_what_one_step_makes_where_norms_do_not_mix():
    source = trained_like(TABLE)
    halfway = truncate(source, with_widths(TABLE, expansions={2: 64}))
    assert torch.equal(
        truncate(halfway, with_widths(TABLE, expansions={2: 40}))(PICTURES),
        truncate(source, with_widths(TABLE, expansions={2: 40}))(PICTURES),
    )
    assert halfway.origin["weights"].count("cropped from") == 1
    assert truncate(halfway, halfway.table).origin["weights"].count("cropped from") == 1


def test_a_table_of_another_kind_is_refused():
    source = trained_like(TABLE)
    with pytest.raises(InputError, match=r"block3.hidden of table 'small' has 104 channels, the source 96"):
        truncate(source, with_widths(TABLE, expansions={2: 104}))
    with pytest.raises(InputError, match="other blocks"):
        truncate(source, replace(TABLE, rows=TABLE.rows[:-1]))
    with pytest.raises(InputError, match="other blocks"):
        truncate(source, small_table())
