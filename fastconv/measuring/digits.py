"""`fastconv train`: the small CNN of fastconv.training on scikit-learn's digits, with pictures, and torch beside it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import fastconv as api
from fastconv import training
from fastconv.measuring.extras import require
from fastconv.problem.convolutions import Array

HELD_OUT = 360  # of 1,797 images
BATCH, RATE = 32, 0.05
ROUNDS = 3  # epochs of either library that are timed, in turn


class Digits(NamedTuple):
    """Images of 8 x 8 pixels in 0 .. 1, and what digits they show."""

    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


@dataclass
class History:
    """What a training came to, epoch by epoch.

    Attributes
    ----------
    losses : list of float
        Of every step.
    train, test : list of float
        Accuracy after each epoch, on the images that were trained on and on those held out.
    seconds : float
        Of the steps alone.
    """

    losses: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    seconds: float = 0.0


def digits(seed: int = 0) -> Digits:
    """scikit-learn's handwritten digits, shuffled, a fifth of them held out.

    Raises
    ------
    MissingExtra
        If scikit-learn is not installed.
    """
    found = require("sklearn.datasets").load_digits()
    images = (found.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], found.target[order]
    return Digits(images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT])


def trained(model: training.Model, data: Digits, epochs: int, history: History) -> Iterator[training.Step]:
    """Train, note what comes in `history`, and yield every step."""
    begin = time.perf_counter()
    steps = -(-len(data.labels) // BATCH)
    for step in training.train(model, data.images, data.labels, epochs, BATCH, RATE):
        history.losses.append(step.loss)
        if step.number == steps - 1:
            history.seconds += time.perf_counter() - begin
            history.train.append(training.accuracy(model, data.images, data.labels))
            history.test.append(training.accuracy(model, data.test_images, data.test_labels))
            yield step
            begin = time.perf_counter()
        else:
            yield step


def beside_torch(data: Digits) -> tuple[float, float]:
    """(fastconv's, torch's) seconds of an epoch: medians of epochs in turn, of the same network from the same weights.

    Raises
    ------
    MissingExtra
        If torch is not installed.
    RuntimeError
        If losses of the first epoch disagree.
    """
    torch = require("torch")
    torch.set_num_threads(api.get_num_threads())
    model = training.Model(np.random.default_rng(0))
    twin = _Twin(torch, model)
    mine: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + 1):
        begin = time.perf_counter()
        own = [step.loss for step in training.train(model, data.images, data.labels, 1, BATCH, RATE, seed=number)]
        middle = time.perf_counter()
        other = twin.epoch(data, seed=number)
        if number:
            mine.append(middle - begin)
            theirs.append(time.perf_counter() - middle)
        elif not np.allclose(own[:5], other[:5], rtol=1e-3):
            raise RuntimeError(f"losses of fastconv and torch disagree: {own[:5]} and {other[:5]}")
    return median(mine), median(theirs)


class _Twin:
    """The same network in torch, from the same weights, trained alike."""

    def __init__(self, torch: Any, model: training.Model) -> None:
        nn, self.torch = torch.nn, torch
        first, second = len(model.weights["w1"]), len(model.weights["w2"])
        self.network = nn.Sequential(
            nn.Conv2d(1, first, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(*model.weights["w3"].shape[::-1]),
        )
        for own, value in zip(self.network.parameters(), model.weights.values(), strict=True):
            own.data = torch.from_numpy(value.copy())

    def epoch(self, data: Digits, seed: int) -> list[float]:
        """Losses of the steps of a pass over the images, in the order that fastconv.training takes them."""
        torch, steps = self.torch, -(-len(data.labels) // BATCH)
        optimizer = torch.optim.SGD(self.network.parameters(), lr=RATE, momentum=0.9)
        order, losses = np.random.default_rng(seed).permutation(len(data.labels)), []
        for number in range(steps):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            images, labels = torch.from_numpy(data.images[chosen]), torch.from_numpy(data.labels[chosen])
            optimizer.param_groups[0]["lr"] = RATE * (1 + np.cos(np.pi * number / steps)) / 2
            loss = torch.nn.functional.cross_entropy(self.network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses


# Pictures ---------------------------------------------------------------------------------------------------------------


def pictures(model: training.Model, data: Digits, history: History, folder: Path) -> list[Path]:
    """Write curves.png and filters.png; returns the files.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {"curves": curves(history), "filters": filters(model, data)}
    for name, figure in found.items():
        figure.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in found]


def curves(history: History) -> Any:
    """Loss of every step, and accuracy after every epoch."""
    figure = require("matplotlib.figure").Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = len(history.test)
    steps = np.arange(1, len(history.losses) + 1) * epochs / len(history.losses)
    left.semilogy(steps, history.losses, color="0.75", linewidth=0.8, label="step")
    size = max(1, len(history.losses) // epochs)
    means = np.convolve(history.losses, np.ones(size) / size, mode="valid")
    left.semilogy(steps[size - 1 :], means, color="C0", label="mean of an epoch")
    left.set(title="cross-entropy", xlabel="epoch")
    left.legend(frameon=False)
    numbers = np.arange(1, epochs + 1)
    right.plot(numbers, 100 * np.array(history.train), color="C1", label="trained on")
    right.plot(numbers, 100 * np.array(history.test), color="C0", label="held out")
    right.axhline(97, color="0.7", linewidth=0.8, linestyle="--")
    right.set(title=f"accuracy, {100 * history.test[-1]:.1f} % held out", xlabel="epoch", ylabel="%")
    right.set_ylim(min(90, 100 * min(history.test)), 100.5)
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def filters(model: training.Model, data: Digits) -> Any:
    """The filters of the first layer, and what they find in some digits."""
    weights = model.weights["w1"][:, 0]
    count, shown = min(len(weights), 16), 4
    images = data.test_images[np.unique(data.test_labels, return_index=True)[1][:shown]]
    found = api.conv2d(images, model.weights["w1"], model.weights["b1"], padding=1, activation="relu")
    figure = require("matplotlib.figure").Figure(figsize=(12, 4), dpi=130, layout="constrained")
    axes = figure.subplots(1 + shown, 1 + count)
    limit = float(np.abs(weights).max())
    for cell in axes.flat:
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(False)
    axes[0, 0].set_title("filters", fontsize=8)
    for column in range(count):
        axes[0, 1 + column].imshow(weights[column], cmap="RdBu", vmin=-limit, vmax=limit)
    for row in range(shown):
        axes[1 + row, 0].imshow(images[row, 0], cmap="gray_r")
        for column in range(count):
            axes[1 + row, 1 + column].imshow(found[row, column], cmap="magma", vmin=0, vmax=float(found[row].max()) or 1.0)
    figure.suptitle("First layer: learned filters, and their maps of digits held out", fontsize=10)
    return figure
