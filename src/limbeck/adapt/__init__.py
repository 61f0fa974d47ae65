"""NetAdapt: a trained network made narrower step by step until it is fast enough, as measured. Nothing here trains or times."""

from limbeck.adapt.draws import draw_narrowings
from limbeck.adapt.judge import JudgeProposal
from limbeck.adapt.netadapt import RULES, AdaptResult, Iterate, run_netadapt
from limbeck.adapt.proposals import Direction, Latencies, Proposal, directions, narrowest, propose
from limbeck.adapt.truncate import largest_channels, regroup, truncate
from limbeck.adapt.widths import WidthGroup, join_rows, split_rows, width_groups, with_widths

__all__ = [
    "RULES",
    "AdaptResult",
    "Direction",
    "Iterate",
    "JudgeProposal",
    "Latencies",
    "Proposal",
    "WidthGroup",
    "directions",
    "draw_narrowings",
    "join_rows",
    "largest_channels",
    "narrowest",
    "propose",
    "regroup",
    "run_netadapt",
    "split_rows",
    "truncate",
    "width_groups",
    "with_widths",
]
