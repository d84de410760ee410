"""What the README and the guide to contributing show runs as it stands, and what they name is there."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import cli
from fastconv.cli import comparing
from fastconv.plans import registry

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.parent / ".github" / "CONTRIBUTING.md"
pytestmark = pytest.mark.skipif(not CONTRIBUTING.exists(), reason="an installed package has no README")


def text():
    return README.read_text(encoding="utf-8")


def blocks(text):
    """(what stands in the line before, source) of each Python block, from the top."""
    return re.findall(r"([^\n]*)\n```python\n(.*?)```", text, re.DOTALL)


def worked_example():
    ((_, found),) = blocks(CONTRIBUTING.read_text(encoding="utf-8"))
    return found


def is_installed(name):
    """Whether there is such a package: a folder of tests of that name is none."""
    found = find_spec(name)
    return found is not None and found.origin is not None


def test_every_block_runs_after_those_above_it(threads):
    names = {}
    found = blocks(text())
    assert len(found) >= 3
    for before, source in found:
        needed = re.search(r"needs (\w+)", before)
        if needed and not is_installed(needed[1]):
            continue  # an extra
        exec(compile(source, str(README), "exec"), names)
    assert names["maps"].shape == (1, 64, 112, 112)
    assert names["opened"].shape == names["blurred"].shape == names["edges"].shape == (1, 480, 640)
    assert (names["eroded"] <= names["opened"]).all()
    assert names["smooth"].shape == names["tone"].shape
    assert names["slower"].shape == (48_000,)
    assert names["sharp"].shape == (480, 640)
    assert (names["opened"] <= names["grey"]).all()
    np.testing.assert_allclose(names["dw"], names["dw_again"], rtol=1e-4)


def test_the_worked_example_registers_verifies_and_takes_itself_out(capsys):
    before = registry.OPERATIONS["conv"]
    exec(compile(worked_example(), str(CONTRIBUTING), "exec"), {})
    assert registry.OPERATIONS["conv"] == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[name, "ok,"] for name in ("shifts", "direct", "reference")]
    assert len(worked_example().splitlines()) <= 40


def test_the_worked_example_is_right_where_it_says_that_it_serves(rng, monkeypatch):
    names = {}
    exec(compile(worked_example(), str(CONTRIBUTING), "exec"), names)
    monkeypatch.setitem(registry.OPERATIONS, "conv", (names["shifts"], *registry.OPERATIONS["conv"]))
    ran = 0
    for rank in (1, 2, 3):
        for options in ({"stride": 2, "padding": 1}, {"dilation": 2, "padding": "same"}, {"stride": 3}, {"groups": 2}):
            x, w = rng.integers(-4, 5, (2, 4, *[9] * rank)), rng.integers(-4, 5, (6, 4, *[3] * rank))
            call = getattr(fc, f"conv{rank}d")
            if "groups" in options:
                with pytest.raises(ValueError, match="cannot serve"):
                    call(x, w[:, :2], implementation="shifts", **options)
                continue
            found = call(x, w, implementation="shifts", **options)
            assert (found == call(x, w, implementation="reference", **options)).all()
            ran += 1
    assert ran == 9


def test_commands_can_be_parsed():
    commands = re.findall(r"fastconv (?:compare|demo|info|layers|schema|tour|train|warmup)[^`\n&]*", text())
    assert len(commands) >= 4
    for command in commands:
        arguments = shlex.split(command)[1:]
        parsed = cli._parser().parse_args(arguments)
        if parsed.command == "compare":
            assert comparing.filter_call(parsed) if "." in (parsed.op or "") else comparing.chosen_layers(parsed)


def test_pictures_and_links_lead_to_files():
    found = re.findall(r"\]\(([^)#]+)\)", text())
    local = [target for target in found if "://" not in target]
    assert ".github/speedup.svg" in local
    for target in local:
        assert (README.parent / target).is_file(), target


def test_the_implementations_of_the_table_are_those_of_the_registry():
    named = set(re.findall(r"^\| `(\w+)` \|", text(), re.MULTILINE))
    assert named & set(fc.implementations("conv2d")) == set(fc.implementations("conv2d"))
