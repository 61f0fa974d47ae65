"""Networks for signals: published counts, slow references, and what ports of them are known to get wrong."""

from __future__ import annotations

import io
import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.models import (
    SIGNALS,
    Table,
    build,
    create_model,
    family_table,
    inherit_weights,
    list_models,
    load_network,
    save_network,
)
from limbeck.models.channels import channel_map
from limbeck.models.power import unit_power
from limbeck.models.signal.baselines import SameConv
from limbeck.models.signal.clst import ConvTransformer, SpatialChannelAttention
from limbeck.testing import check_network

torch.set_num_threads(1)

NAMES = [name for name in (*SIGNALS, "kd_mobilenet") if name != "clst_b"]  # which is clst_t but for its size
SMALL = [name for name in NAMES if name != "clst_t"]
EXPORTED = ("clst_s", "kd_mobilenet", "mcldnn", "pet_cgdnn")  # the others have no operator that these have not
ANY_LENGTH = ("clst_s", "cvt_1d", "kd_cnn", "kd_mobilenet", "mcldnn")


def frames(count, length=128, seed=0):
    return torch.randn(count, 2, length, generator=torch.Generator().manual_seed(seed))


def settled(network):
    """With norm statistics other than fresh ones, so that a norm left out would show."""
    generator = torch.Generator().manual_seed(7)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.copy_(0.3 * torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return network.eval()


@pytest.mark.parametrize(
    ("name", "params", "millions"),
    [
        ("clst_s", 226_605, 4.26),
        ("clst_t", 1_157_663, 19.6),
        ("clst_b", 19_062_405, 295.0),
        ("kd_cnn", 45_099, 0.685),
        ("kd_mobilenet", 133_931, 2.69),
        ("vt_cnn2", 1_592_383, None),
        ("resnet_amr", 3_098_283, None),
        ("mcldnn", 406_199, None),
        ("pet_cgdnn", 71_871, None),
    ],
)
def test_sizes_are_the_published_ones(name, params, millions):
    network = create_model(name, num_classes=11)
    assert network.params() == params == sum(p.numel() for p in network.parameters())
    if millions:
        assert network.macs() / 1e6 == pytest.approx(millions, rel=5e-3)


def test_the_list_says_the_sizes():
    for name, design in SIGNALS.items():
        with torch.device("meta"):
            assert create_model(name, num_classes=11).params() == design.params
    assert {*SIGNALS, "kd_mobilenet"} <= set(list_models())


@pytest.mark.parametrize(
    ("name", "params", "millions"),
    [("clst_t", 1_160_172, 44.8), ("clst_s", 227_866, 11.6), ("kd_cnn", 45_944, 5.47), ("kd_mobilenet", 136_440, 21.5)],
)
def test_sizes_at_1024_samples_and_24_classes(name, params, millions):
    network = create_model(name, num_classes=24, input_size=1024)
    assert network.params() == params
    assert network.macs() / 1e6 == pytest.approx(millions, rel=5e-3)


def test_recurrent_layers_are_counted_in_multiply_accumulates():
    step = 4 * 128 * (100 + 128) + 4 * 128 * (128 + 128)
    convolutions = 50 * 16 * 256 + 2 * 50 * 8 * 128 + 50 * 400 * 256 + 100 * 1000 * 124
    assert create_model("mcldnn", num_classes=11).macs() == convolutions + 124 * step + 2 * 128 * 128 + 128 * 11


@pytest.mark.parametrize("name", NAMES)
def test_networks_keep_the_protocol(name):
    torch.manual_seed(0)
    network = create_model(name, num_classes=5)
    check_network(network)
    assert network.sample_shape == (2, 128)
    groups = network.layer_groups()
    assert sorted(name for group in groups for name in group) == sorted(name for name, _ in network.named_parameters())
    assert len(groups) > 3
    stages = network.eval().observe(frames(3), network.stage_names).stages
    assert stages["pool"].dim() == 2
    assert all(value.dim() == 4 for stage, value in stages.items() if stage.startswith("stage"))
    assert network.exit_stage in stages


@pytest.mark.parametrize("name", NAMES)
def test_networks_come_back_from_disk(name, tmp_path):
    torch.manual_seed(0)
    network = settled(create_model(name, num_classes=4, input_size=(1, 64)))
    again = load_network(save_network(network, tmp_path)).eval()
    assert torch.equal(again(frames(3, 64)), network(frames(3, 64)))
    assert again.architecture() == network.architecture()
    other = create_model(name, num_classes=6, input_size=64, pretrained=tmp_path)
    assert 0.5 < other.filled.filled / other.filled.total < 1
    assert other.eval()(frames(3, 64)).shape == (3, 6)


@pytest.mark.parametrize(
    "name", [name if name in EXPORTED else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_exported_graphs_give_the_same_logits(name):
    torch.manual_seed(0)
    network = settled(create_model(name, num_classes=4))
    buffer = io.BytesIO()
    program = torch.onnx.export(
        network, (frames(2),), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
    )
    program.save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    raw = frames(5, seed=1) / 128
    (found,) = session.run(None, {session.get_inputs()[0].name: raw.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(raw).detach(), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_networks_learn_from_the_first_steps(name):
    # what torch's own start prevents in some of them
    torch.manual_seed(1)
    network = create_model(name, num_classes=3, dropout=None if name == "pet_cgdnn" else 0.0)
    time = torch.arange(128)
    tones = torch.stack([torch.stack([(w * time).cos(), (w * time).sin()]) for w in (0.1, 0.5, 1.0)])
    data, target = tones.repeat(4, 1, 1) + 0.3 * frames(12), torch.arange(3).repeat(4)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = functional.cross_entropy(network(data / 128), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 2.5
    assert losses[-1] < 0.6 * math.log(3)


def test_power_is_one_whatever_it_was():
    raw = 0.01 * frames(4, 50)
    found = unit_power(raw, 2, "x")
    magnitudes = np.hypot(found[:, 0].numpy(), found[:, 1].numpy())
    np.testing.assert_allclose((magnitudes**2).mean(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found / raw, (found / raw)[:, :1, :1].expand_as(raw), rtol=1e-4)
    torch.testing.assert_close(unit_power(1e-6 * raw, 2, "x"), found, rtol=1e-4, atol=1e-5)
    assert torch.equal(unit_power(torch.zeros(1, 2, 50), 2, "x"), torch.zeros(1, 2, 50))
    assert unit_power(raw.half(), 2, "x").dtype == torch.float32


def test_spatial_channel_attention_without_weights_is_half_as_much_again():
    for combine, factor in (("sum", 1.5), ("max", 1.5), ("concat1x1", 1.0)):
        module = SpatialChannelAttention(16, combine)
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
        x = torch.randn(2, 16, 9)
        torch.testing.assert_close(module(x), factor * x)


def test_spatial_channel_attention_against_a_slow_reference():
    torch.manual_seed(0)
    module = SpatialChannelAttention(40)
    x = torch.randn(2, 40, 11)
    w1, b1, w2, b2, k = (
        p.detach().numpy() for p in (*module.reduce.parameters(), *module.expand.parameters(), module.spatial.weight)
    )
    assert w1.shape == (5, 40)
    for row, found in zip(x.numpy(), module(x).detach().numpy(), strict=True):
        channel = sum(w2 @ np.maximum(w1 @ pooled + b1, 0) + b2 for pooled in (row.mean(1), row.max(1)))
        maps = np.pad(np.stack([row.mean(0), row.max(0)]), ((0, 0), (3, 3)))
        spatial = np.array([(k[0] * maps[:, t : t + 7]).sum() for t in range(11)])
        gates = 1 / (1 + np.exp(-channel))[:, None] + 1 / (1 + np.exp(-spatial))[None]
        np.testing.assert_allclose(found, row + 0.5 * row * gates, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("length", "keys"), [(16, 8), (15, 8), (7, 4), (1, 1)])
def test_projections_halve_keys_and_values(length, keys):
    block = ConvTransformer(12, 3, 2, 0.0, True).eval()
    tokens = torch.randn(2, length, 12)
    assert block(tokens).shape == tokens.shape
    assert block.query(tokens).shape[1] == length
    assert block.key(tokens).shape[1] == block.value(tokens).shape[1] == keys
    plain = ConvTransformer(12, 3, 2, 0.0, False).eval()
    assert plain.key(tokens).shape[1] == length


def test_transformer_block_against_a_slow_reference():
    torch.manual_seed(0)
    block = settled(ConvTransformer(6, 2, 2, 0.0, True)).double()
    tokens = torch.randn(1, 9, 6, dtype=torch.double)

    def normed(x, layer):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + layer.eps) * value(
            layer.weight
        ) + value(layer.bias)

    def value(parameter):
        return parameter.detach().numpy()

    def projected(z, part, stride):
        kernel, count = value(part.depthwise.weight)[:, 0], -(-len(z) // stride)
        padded, out = np.pad(z, ((1, 1), (0, 0))), []
        for t in range(count):
            mixed = (padded[t * stride : t * stride + 3] * kernel.T).sum(0)
            scale = value(part.norm.weight) / np.sqrt(part.norm.running_var.numpy() + part.norm.eps)
            out.append((mixed - part.norm.running_mean.numpy()) * scale + value(part.norm.bias))
        return np.array(out) @ value(part.dense.weight).T + value(part.dense.bias)

    x = tokens[0].numpy()
    z = normed(x, block.norm1)
    q, k, v = projected(z, block.query, 1), projected(z, block.key, 2), projected(z, block.value, 2)
    heads = []
    for h in (slice(0, 3), slice(3, 6)):
        scores = np.exp(q[:, h] @ k[:, h].T / np.sqrt(3))
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, h])
    x = x + np.concatenate(heads, 1) @ value(block.output.weight).T + value(block.output.bias)
    inside = normed(x, block.norm2) @ value(block.expand.weight).T + value(block.expand.bias)
    inside = np.array([[0.5 * a * (1 + math.erf(a / math.sqrt(2))) for a in row] for row in inside])
    x = x + inside @ value(block.project.weight).T + value(block.project.bias)
    np.testing.assert_allclose(block(tokens)[0].detach().numpy(), x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_other_lengths(name):
    network = create_model(name, num_classes=3).eval()
    if name in (*ANY_LENGTH, "clst_t"):
        for length in (64, 100, 257):
            assert network(frames(2, length)).shape == (2, 3)
    else:
        with pytest.raises(InputError, match="frames of 128 samples, got 64"):
            network(frames(2, 64))
        assert create_model(name, num_classes=3, input_size=64).eval()(frames(2, 64)).shape == (2, 3)


def test_stages_of_clst_shrink_as_its_strides_say():
    for length, sizes in ((128, [64, 32, 16]), (1024, [256, 64, 32])):
        network = create_model("clst_s", num_classes=3, input_size=length).eval()
        stages = network.observe(frames(1, length), ["stage1", "stage2", "stage3"]).stages
        assert [tuple(value.shape[1:]) for value in stages.values()] == [
            (channels, 1, size) for channels, size in zip((32, 64, 96), sizes, strict=True)
        ]
    assert create_model("clst_s", num_classes=3, strides=[4, 2, 1]).options["strides"] == [4, 2, 1]


def test_clst_without_its_parts():
    whole = create_model("clst_s", num_classes=11)
    plain = create_model("clst_s", num_classes=11, psca=False)
    psca = sum(p.numel() for stage in (1, 2, 3) for p in getattr(whole, f"attend{stage}").parameters())
    assert whole.params() - plain.params() == psca
    dense = create_model("clst_s", num_classes=11, conv_projection=False)
    assert whole.params() - dense.params() == 3 * (3 + 2) * (32 + 64 + 2 * 96)
    flat = create_model("clst_s", num_classes=11, hierarchy=False).eval()
    stages = flat.observe(frames(1), flat.stage_names).stages
    assert stages["stage1"].shape == (1, 96, 1, 16)
    assert len(flat.blocks1) == 4
    assert (
        create_model("cvt_1d", num_classes=11).params() == create_model("clst_t", num_classes=11, psca=False).params()
    )


def test_pet_cgdnn_turns_frames_back():
    network = create_model("pet_cgdnn", num_classes=3).eval()
    nn.init.zeros_(network.angle.weight)
    nn.init.constant_(network.angle.bias, 0.7)
    sent = torch.view_as_complex(frames(2).transpose(1, 2).contiguous())
    received = torch.view_as_real(sent * np.exp(0.7j)).transpose(1, 2)
    torch.testing.assert_close(network.turn(received), torch.view_as_real(sent).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_convolutions_keep_sizes_as_keras_does():
    for kernel_size in ((1, 8), (2, 8), (1, 3), (2, 3)):
        mine = SameConv(2, 3, kernel_size)
        reference = nn.Conv2d(2, 3, kernel_size, padding="same")  # which puts the odd zero to the end too
        reference.load_state_dict(mine.conv.state_dict())
        x = torch.randn(1, 2, 2, 20)
        torch.testing.assert_close(mine(x), reference(x))


def test_mcldnn_reads_time_in_order_and_looks_back_only_where_it_should():
    torch.manual_seed(0)
    network = create_model("mcldnn", num_classes=3).eval()
    read = []
    network.lstm1.register_forward_hook(lambda layer, given, out: read.append(given[0]))
    stage = network.observe(frames(2), ["stage2"]).stages["stage2"]
    assert read[0].shape == (2, 124, 100)
    for t, channel in ((0, 0), (5, 99), (123, 7)):
        assert torch.equal(read[0][:, t, channel], stage[:, channel, 0, t])
    before, late = network.prepare(frames(1)), network.prepare(frames(1))
    late[:, :, 100:] += 1
    branches = [network.real(functional.pad(x, (7, 0))[:, :1]) for x in (before, late)]
    assert torch.equal(branches[0][..., :100], branches[1][..., :100])
    assert not torch.equal(branches[0][..., 100:], branches[1][..., 100:])
    reference = sum(network.real.weight[0, 0, j] * before[0, 0, 50 - 7 + j] for j in range(8)) + network.real.bias[0]
    torch.testing.assert_close(branches[0][0, 0, 50], reference)


def test_baselines_start_as_keras_does():
    torch.manual_seed(0)
    network = create_model("mcldnn", num_classes=11)
    kernel = network.joined.weight.detach()
    assert kernel.abs().max() <= math.sqrt(6 / (100 * 10 + 100 * 10))
    assert kernel.std() == pytest.approx(math.sqrt(2 / 2000), rel=0.02)
    assert network.lstm1.weight_ih_l0.abs().max() <= math.sqrt(6 / (100 + 4 * 128))
    gates = network.lstm1.weight_hh_l0.split(128)
    for gate in gates:
        torch.testing.assert_close(gate @ gate.T, torch.eye(128), atol=1e-5, rtol=0)
    bias = network.lstm1.bias_ih_l0 + network.lstm1.bias_hh_l0
    assert bias.tolist() == [0.0] * 128 + [1.0] * 128 + [0.0] * 256
    assert not any(bias.any() for bias in (network.dense1.bias, network.joined.bias))


def test_mobilenet_for_signals_against_convolutions_over_time():
    torch.manual_seed(0)
    network = settled(create_model("kd_mobilenet", num_classes=5))
    x = unit_power(frames(2), 2, "x")

    def layer(x, part):
        conv, norm = part.conv, part.norm
        kernel = conv.weight.squeeze(2)
        x = functional.conv1d(x, kernel, None, conv.stride[1], kernel.shape[2] // 2, groups=conv.groups)
        x = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return x.clamp(0, 6) if isinstance(part.activation, nn.ReLU6) else x

    x = layer(x, network.stem)
    for row in network.rows:
        for block in row:
            y = x if block.expand is None else layer(x, block.expand)
            y = layer(layer(y, block.depthwise), block.project)
            x = x + y if y.shape == x.shape else y
    logits = network.classifier(layer(x, network.head.conv).mean(2))
    torch.testing.assert_close(network(frames(2)), logits, atol=1e-5, rtol=1e-4)
    assert [tuple(v.shape[1:]) for v in network.observe(frames(1), ["stage1", "head"]).stages.values()] == [
        (16, 1, 128),
        (192, 1, 16),
    ]


def test_tables_of_signals_are_data_like_those_of_pictures():
    table = family_table("kd_mobilenet", num_classes=7, width_multiplier=0.5, input_size=(1, 256))
    assert (table.dims, table.in_channels, table.input_size, table.num_classes) == (1, 2, (1, 256), 7)
    assert Table.from_json(table.to_json()) == table
    small = build(table)
    assert small.params() == sum(p.numel() for p in small.parameters())
    assert small.macs() == super(type(small), small).macs()  # torch's own count
    large = create_model("kd_mobilenet", num_classes=7)
    report = inherit_weights(large, small)
    assert report.share == 1
    assert torch.equal(small.stem.conv.weight, large.stem.conv.weight[: small.stem.conv.out_channels])
    widths = channel_map(large)
    assert widths.sizes["block0"] == 16
    assert widths.axes["rows.1.0.depthwise.conv.weight"][0] == "block2.hidden"
    assert "1x128" in large.table.rows_text()


def test_longer_kernels_over_time_start_as_the_shorter_ones():
    from dataclasses import replace

    torch.manual_seed(0)
    table = family_table("kd_mobilenet", num_classes=7)
    wide = replace(table, rows=tuple(replace(row, kernel_size=9) for row in table.rows))
    small, large = settled(build(table)), build(wide).eval()
    inherit_weights(small, large)
    torch.testing.assert_close(large(frames(2)), small(frames(2)), atol=1e-5, rtol=1e-4)


def test_pooled_skips_average_over_time():
    from dataclasses import replace

    table = family_table("kd_mobilenet", num_classes=7)
    rows = tuple(replace(row, skip="pool", out_channels=16, se_ratio=0.25) for row in table.rows)
    network = build(replace(table, rows=rows, padding="same")).eval()
    block = network.rows[1][0]
    x = torch.randn(1, 16, 1, 10)
    expected = functional.avg_pool1d(x[:, :, 0], 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(block.skip(x)[:, :, 0], expected)
    assert network(frames(2)).shape == (2, 7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: create_model("clst_u"), "did you mean 'clst_"),
        (lambda: create_model("clst_s", in_channels=3), "2 channels of signals"),
        (lambda: create_model("clst_s", input_size=(2, 128)), "samples of a frame"),
        (lambda: create_model("kd_mobilenet", input_size=(4, 4)), "samples of a frame"),
        (lambda: create_model("clst_s", input_size=8), "at least 16"),
        (lambda: create_model("clst_s", heads=(1, 2, 3)), "unknown option 'heads'"),
        (lambda: create_model("clst_s", psca="no"), "psca must be true or false"),
        (lambda: create_model("clst_s", combine="mean"), "unknown combine"),
        (lambda: create_model("clst_s", strides=[2, 2]), "strides must be 3"),
        (lambda: create_model("clst_s", dropout=1.0), "below 1"),
        (lambda: create_model("pet_cgdnn", dropout=0.5), "takes no option 'dropout'"),
        (lambda: create_model("clst_s", width_multiplier=0.5), "of one width"),
        (lambda: create_model("kd_mobilenet", small_images=True), "drop small_images"),
        (lambda: create_model("kd_mobilenet", dims=2), "unknown option 'dims'"),
        (lambda: create_model("clst_s", pretrained=True), "path of a saved network"),
        (lambda: create_model("vit_1d", input_size=100), "multiple of 8"),
        (lambda: family_table("clst_s"), "not built from a table"),
        (lambda: create_model("clst_s")(torch.zeros(2, 2, 1, 128)), r"takes \[N, 2, T\]"),
        (lambda: create_model("kd_mobilenet")(torch.zeros(2, 128, 2)), r"takes \[N, 2, T\]"),
        (lambda: create_model("kd_cnn")(torch.zeros(2, 2, 128, dtype=torch.int16)), "int16"),
        (lambda: Table.from_json({**family_table("kd_mobilenet").to_json(), "input_size": [2, 128]}), "dims must be 2"),
    ],
)
def test_wrong_calls_end_in_one_line(call, words):
    with pytest.raises(InputError, match=words):
        call()
