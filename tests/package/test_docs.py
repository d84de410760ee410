"""Documentation that runs: every example of every module, and the sections that each public function has."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import fastconv as fc

OPTIONAL = {"matplotlib", "rich", "torch", "onnx", "onnxruntime", "openvino", "cv2", "scipy", "PIL"}
FUNCTIONS = [name for name in fc.__all__ if inspect.isfunction(getattr(fc, name))]
FINDER, FLAGS = doctest.DocTestFinder(exclude_empty=True), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> list[str]:
    """Every module of the package but the one that runs the program as it is imported."""
    found = (module.name for module in pkgutil.walk_packages(fc.__path__, "fastconv."))
    return ["fastconv", *(name for name in found if not name.endswith("__main__"))]


def module_of(name: str) -> ModuleType:
    """The module, or a skip where what it needs is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in OPTIONAL:
            pytest.skip(f"{error.name} is not installed")
        raise


@pytest.mark.parametrize("name", module_names())
def test_examples_run(name: str, threads: None) -> None:
    """Every example of the module gives what it says."""
    module = module_of(name)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    printed: list[str] = []
    for test in FINDER.find(module, name):
        runner.run(test, out=printed.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(printed)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_documented(name: str) -> None:
    """A summary, every parameter by name or by reference to its sibling, and an example that runs, in numpydoc's form."""
    function = getattr(fc, name)
    text = inspect.getdoc(function)
    assert text
    assert text.splitlines()[0].endswith(".") or text.splitlines()[1] == "", "one line of summary first"
    parameters = inspect.signature(function).parameters
    for section in ("Examples", *(["Parameters"] if parameters else [])):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, f"{name} has no section {section}"
    assert any(test.examples for test in FINDER.find(function, name, globs={})), f"{name} has no example"
    if parameters:
        listed = text.split("\nParameters\n")[1].split("\nReturns\n")[0].split("\nRaises\n")[0].split("\nExamples\n")[0]
        entries = {
            entry.strip(" *`")
            for line in listed.splitlines()
            if not line.startswith(" ")
            for entry in line.split(":")[0].split(",")
        }
        missing = set(parameters) - entries
        assert not missing or "..." in entries, f"{name} does not document {sorted(missing)}"


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("get_")])
def test_a_public_function_says_what_it_raises(name: str) -> None:
    assert "\nRaises\n------\n" in (inspect.getdoc(getattr(fc, name)) or "")


def test_every_public_name_is_there_and_typed() -> None:
    """`__all__` is sorted within its kinds, holds no name twice, and every function is annotated in full."""
    assert len(set(fc.__all__)) == len(fc.__all__)
    assert set(FUNCTIONS) > {"conv2d", "max_pool2d", "explain", "compare"}
    for name in FUNCTIONS:
        signature = inspect.signature(getattr(fc, name))
        assert signature.return_annotation is not inspect.Signature.empty, name
        for parameter in signature.parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter.name)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.startswith("plan_")])
def test_a_plan_takes_its_functions_arguments(name: str) -> None:
    """The same names in the same order with the same defaults, but for the arrays and `out`, and a dtype besides."""
    planned, called = (inspect.signature(getattr(fc, one)).parameters for one in (name, name.removeprefix("plan_")))
    expected = {key: value for key, value in called.items() if key not in ("x", "out", "indices")}
    found = {key: value for key, value in planned.items() if key not in ("x_shape", "dtype")}
    assert list(found) == list(expected)
    assert next(iter(planned)) == "x_shape"
    assert planned["dtype"].default is None
    for key, value in found.items():
        assert (value.default, value.kind) == (expected[key].default, expected[key].kind)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv{}d", "x w bias stride padding dilation groups * padding_mode activation layout implementation out"),
        ("conv_transpose{}d", "x w bias stride padding output_padding groups dilation * activation layout implementation out"),
        ("max_pool{}d", "x kernel_size stride padding dilation ceil_mode return_indices * layout implementation out"),
        ("min_pool{}d", "x kernel_size stride padding dilation ceil_mode return_indices * layout implementation out"),
        (
            "avg_pool{}d",
            "x kernel_size stride padding ceil_mode count_include_pad divisor_override * dilation layout implementation out",
        ),
        ("lp_pool{}d", "x norm_type kernel_size stride ceil_mode * padding dilation layout implementation out"),
        ("max_unpool{}d", "x indices kernel_size stride padding output_size * layout implementation out"),
        ("unfold", "x kernel_size dilation padding stride * implementation out"),
        ("fold", "x output_size kernel_size dilation padding stride * implementation out"),
        ("relu", "x out * implementation"),
    ],
)
def test_arguments_come_in_torchs_order(name: str, arguments: str) -> None:
    """So that porting is a change of prefix; what torch does not have is by keyword only."""
    for rank in (1, 2, 3):
        positional, _, keywords = arguments.partition(" * ")
        parameters = inspect.signature(getattr(fc, name.format(rank))).parameters.values()
        assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == positional.split()
        assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == keywords.split()
