"""A method of your own: distillation that fades. In a recipe: `[distill] method = "my_method:fading"`.

A method gets the networks that its signature names and returns a graph: sources of outputs, and the terms between them.
Its keyword-only arguments are the options that a recipe may set.
"""

from __future__ import annotations

from torch import nn

from limbeck.distill import TASK, Frozen, Graph, Learner, Term


def fading(student: nn.Module, teacher: nn.Module, *, weight: float = 0.9, temperature: float = 4.0) -> Graph:
    """Hinton's distillation whose pull ends with training: a teacher helps a small student more early on than late.

    **Source:** Cho and Hariharan, "On the Efficacy of Knowledge Distillation", 2019, section 4.3 (who stop it at once).
    """
    terms = [
        Term(TASK, weight=1.0 - weight),
        Term("kd", weight=weight, schedule="cosine_down", options={"temperature": temperature}),
        Term(TASK, name="labels", weight=weight, schedule="cosine_up"),
    ]
    return Graph({"student": Learner(student), "teacher": Frozen(teacher)}, terms)
