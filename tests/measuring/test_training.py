"""The small CNN: it learns, its gradients are those of its loss, and the command draws what it learned."""

from pathlib import Path

import numpy as np
import pytest

from fastconv import cli, training


def problem(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Images of four kinds: a bright quarter each, with noise."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, count)
    images = 0.3 * rng.random((count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 0.7
    return images.astype(np.float32), labels


def test_it_learns() -> None:
    """Loss falls and new images are told apart; the same seeds give the same bits."""
    images, labels = problem()
    runs = []
    for _ in range(2):
        model = training.Model(np.random.default_rng(0), channels=(4, 8), classes=4)
        losses = [step.loss for step in training.train(model, images[:64], labels[:64], epochs=12, batch=16)]
        runs.append(losses)
    assert runs[0] == runs[1]
    assert len(losses) == 12 * 4
    assert np.mean(losses[-4:]) < losses[0] / 4
    assert training.accuracy(model, images[64:], labels[64:]) > 0.9


def test_gradients_are_those_of_the_loss() -> None:
    """A central difference of the loss along a random direction of all weights, in float64."""
    images, labels = problem(8)
    model = training.Model(np.random.default_rng(3), channels=(4, 8), classes=4)
    model.weights = {name: value.astype(np.float64) for name, value in model.weights.items()}
    rng = np.random.default_rng(4)
    direction = {name: rng.standard_normal(value.shape) for name, value in model.weights.items()}
    images = images.astype(np.float64)
    scores, backward = model.forward(images)
    gradients = backward(training.cross_entropy(scores, labels)[1])
    slope = sum(float((gradients[name] * direction[name]).sum()) for name in direction)
    step, start, losses = 1e-6, dict(model.weights), []
    for sign in (1, -1):
        model.weights = {name: value + sign * step * direction[name] for name, value in start.items()}
        losses.append(training.cross_entropy(model.forward(images)[0], labels)[0])
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"epochs": 0}, "epochs must be at least 1, got 0"), ({"batch": 0}, "batch must be at least 1, got 0")],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, int], message: str) -> None:
    images, labels = problem(4)
    model = training.Model(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        next(training.train(model, images, labels, **arguments))
    with pytest.raises(ValueError, match="images and labels must be as many"):
        next(training.train(model, images, labels[:2]))
    with pytest.raises(ValueError, match="size must be a multiple of 4, got 6"):
        training.Model(np.random.default_rng(0), size=6)


def test_the_command_draws_what_it_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An epoch of digits: pictures are written, accuracy is told."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    assert cli.main(["train", "--epochs", "2", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "held out:" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "filters.png"}
    assert cli.main(["train", "--seed", "-1"]) == 2
