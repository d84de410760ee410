"""The tutorial goes on: a small CNN trained in NumPy, its convolutions and pools by fastconv.

    from fastconv import training
    model = training.Model(np.random.default_rng(0))          # conv, relu, pool; conv, relu, pool; dense
    for step in training.train(model, images, labels):        # images (N, 1, 8, 8), labels (N,)
        print(step.loss)
    training.accuracy(model, held_out_images, held_out_labels)

`vjp` gives the value of an operation and its pullback, a function that takes the gradient of the result to the gradients of the
operands. A forward pass keeps the pullbacks; the backward pass calls them in reverse. All else is one page of NumPy.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastconv as api

__all__ = ["Model", "Step", "accuracy", "cross_entropy", "train"]

Array = npt.NDArray[Any]
Gradients = dict[str, Array]


class Step(NamedTuple):
    """A step of training.

    Attributes
    ----------
    epoch, number : int
        The pass over the images, and the step in it.
    loss : float
        The mean cross-entropy of the batch, before the step.
    """

    epoch: int
    number: int
    loss: float


class Model:
    """Two layers of 3x3 convolution, relu and 2x2 max pool, and a dense layer to ten classes.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the first weights, as He et al. (2015) scale them.
    size : int
        Rows and columns of an image; a multiple of 4.
    channels : tuple of two ints
        Filters of either layer.
    classes : int
        Classes to tell apart.

    Examples
    --------
    >>> model = Model(np.random.default_rng(0))
    >>> scores, backward = model.forward(np.zeros((5, 1, 8, 8), np.float32))
    >>> scores.shape
    (5, 10)
    """

    def __init__(
        self, rng: np.random.Generator, size: int = 8, channels: tuple[int, int] = (16, 32), classes: int = 10
    ) -> None:
        if size < 4 or size % 4:
            raise ValueError(f"size must be a multiple of 4, got {size!r}")
        first, second = channels
        cells = second * (size // 4) ** 2

        def drawn(*shape: int) -> Array:
            fan_in = int(np.prod(shape[1:]))
            return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

        self.weights: Gradients = {
            "w1": drawn(first, 1, 3, 3),
            "b1": np.zeros(first, np.float32),
            "w2": drawn(second, first, 3, 3),
            "b2": np.zeros(second, np.float32),
            "w3": drawn(classes, cells),
            "b3": np.zeros(classes, np.float32),
        }

    def forward(self, images: Array) -> tuple[Array, Callable[[Array], Gradients]]:
        """(scores, backward): `backward` takes the gradient of the scores to that of every weight."""
        w = self.weights
        maps, conv1 = api.conv2d.vjp(images, w["w1"], w["b1"], padding=1, activation="relu")
        small, pool1 = api.max_pool2d.vjp(maps, 2)
        maps, conv2 = api.conv2d.vjp(small, w["w2"], w["b2"], padding=1, activation="relu")
        small, pool2 = api.max_pool2d.vjp(maps, 2)
        flat = small.reshape(len(images), -1)
        scores = flat @ w["w3"].T + w["b3"]

        def backward(dscores: Array) -> Gradients:
            dsmall = (dscores @ w["w3"]).reshape(small.shape)
            dx, dw2, db2 = conv2(pool2(dsmall))
            dw1, db1 = conv1(pool1(dx), wrt=("w", "bias"))  # nobody asks for the gradient of the images
            return {"w1": dw1, "b1": db1, "w2": dw2, "b2": db2, "w3": dscores.T @ flat, "b3": dscores.sum(axis=0)}

        return scores, backward


def cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """(mean loss, its gradient by the scores) of softmax and cross-entropy.

    Examples
    --------
    >>> loss, dscores = cross_entropy(np.zeros((1, 2)), np.array([0]))
    >>> round(loss, 4), dscores
    (0.6931, array([[-0.5,  0.5]]))
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    odds = np.exp(shifted)
    shares = odds / odds.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float(-np.log(np.maximum(shares[rows, labels], 1e-30)).mean())
    shares[rows, labels] -= 1
    return loss, shares / len(labels)


def train(
    model: Model, images: Array, labels: Array, epochs: int = 20, batch: int = 32, rate: float = 0.05, seed: int = 0
) -> Iterator[Step]:
    """Stochastic gradient descent with momentum 0.9; the rate falls along half a cosine.

    Parameters
    ----------
    model : Model
        Its weights are changed in place.
    images : array, shape (N, 1, size, size)
        float32.
    labels : array of int, shape (N,)
        Below the number of classes.
    epochs, batch : int
        Passes over the images, and images of a step.
    rate : float
        The rate of the first step.
    seed : int
        Of the order of the images.

    Yields
    ------
    Step
        After each step.
    """
    for name, value in (("epochs", epochs), ("batch", batch)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
    if len(images) != len(labels) or not len(images):
        raise ValueError(f"images and labels must be as many, and some, got {len(images)} and {len(labels)}")
    rng, steps = np.random.default_rng(seed), -(-len(images) // batch)
    speed = {name: np.zeros_like(value) for name, value in model.weights.items()}
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        for number in range(steps):
            chosen = order[number * batch : (number + 1) * batch]
            scores, backward = model.forward(images[chosen])
            loss, dscores = cross_entropy(scores, labels[chosen])
            now = rate * (1 + np.cos(np.pi * (epoch * steps + number) / (epochs * steps))) / 2
            for name, gradient in backward(dscores).items():
                speed[name] = 0.9 * speed[name] - np.float32(now) * gradient
                model.weights[name] += speed[name]
            yield Step(epoch, number, loss)


def accuracy(model: Model, images: Array, labels: Array) -> float:
    """The share of images whose highest score is that of their label."""
    scores, _ = model.forward(images)
    return float((scores.argmax(axis=1) == labels).mean())
