"""NKD in a training loop of your own: a loss is a function of tensors, nothing else of Limbeck is needed.

A wide network learns the handwritten digits of scikit-learn, then teaches a narrow one. Run: python examples/own_loop.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from limbeck.losses import nkd


def train(student: nn.Module, pictures: torch.Tensor, labels: torch.Tensor, *, epochs: int, teacher=None) -> None:
    """Cross-entropy, plus NKD where there is a teacher."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(pictures)).split(64):
            logits = student(pictures[rows])
            loss = functional.cross_entropy(logits, labels[rows])
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(pictures[rows])
                loss = loss + nkd(logits, taught, target=labels[rows], temperature=1.0, gamma=1.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def main(epochs: int = 20) -> dict[str, float]:
    torch.manual_seed(0)
    digits = load_digits()
    pictures = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    parts = train_test_split(pictures, torch.tensor(digits.target), test_size=0.3, random_state=0)
    train_pictures, test_pictures, train_labels, test_labels = parts

    teacher, student = perceptron(256), perceptron(8)
    train(teacher, train_pictures, train_labels, epochs=epochs)
    train(student, train_pictures, train_labels, epochs=epochs, teacher=teacher)
    networks = {"teacher": teacher, "student": student}
    with torch.no_grad():
        return {name: (n(test_pictures).argmax(1) == test_labels).float().mean().item() for name, n in networks.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    for name, accuracy in main(parser.parse_args().epochs).items():
        print(f"{name}: {accuracy:.3f} of the test pictures right")
