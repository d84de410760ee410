"""Documentation that runs: every example of every module, and the sections that each public function has."""

import copy
import doctest
import importlib
import inspect
import pickle
import pkgutil
import pydoc
from types import ModuleType

import numpy as np
import pytest

import fastconv as fc

PEERS = {"torch", "onnx", "onnxruntime", "openvino", "ncnn", "MNN", "cv2", "scipy"}
OPTIONAL = {*PEERS, "matplotlib", "rich", "PIL", "dask", "autograd", "jax"}
OPERATIONS = [name for name in fc.__all__ if isinstance(getattr(fc, name), fc.Operation)]
GRADIENTS = list(fc.grad.__all__)
FUNCTIONS = [*OPERATIONS, *(name for name in fc.__all__ if inspect.isfunction(getattr(fc, name)))]
BORDER, COMMON = "padding_mode padding_value", "layout implementation"
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


def operation_of(name: str) -> fc.Operation:
    """The operation of fastconv or of fastconv.grad."""
    return getattr(fc, name) if name in OPERATIONS else getattr(fc.grad, name)


@pytest.mark.parametrize("name", [*OPERATIONS, *GRADIENTS])
def test_examples_of_operations_run(name: str) -> None:
    """An operation's docstring is rendered for its number of axes, and its example gives what it says."""
    text = inspect.getdoc(operation_of(name)) or ""
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    printed: list[str] = []
    runner.run(doctest.DocTestParser().get_doctest(text, {}, name, None, 0), out=printed.append)
    assert runner.summarize(verbose=False).attempted > 2
    assert runner.summarize(verbose=False).failed == 0, "".join(printed)
    assert "{" not in text.replace('{"', "").replace("{'", ""), "a word in braces was not filled in"


@pytest.mark.parametrize("name", [*OPERATIONS, *GRADIENTS])
def test_operations_look_like_functions(name: str) -> None:
    """Names, help(), signature, pickling and copying; IPython's question mark reads the same attributes."""
    operation, room = operation_of(name), "fastconv" if name in OPERATIONS else "fastconv.grad"
    assert callable(operation)
    assert (operation.__name__, operation.__qualname__, operation.__module__) == (name, name, room)
    assert pickle.loads(pickle.dumps(operation)) is operation
    assert copy.copy(operation) is copy.deepcopy(operation) is operation
    text = pydoc.render_doc(operation, renderer=pydoc.plaintext)
    assert f"{name}(" in text
    assert "Parameters" in text
    parameters = inspect.signature(operation).parameters
    assert "implementation" in parameters
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert operation.implementations == fc.implementations(name)
    assert repr(operation) == f"<operation {room}.{name}>"
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'implementatoin'"):
        operation(*[np.zeros(3) for p in parameters.values() if p.default is p.empty], implementatoin="auto")


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
    assert doctest.DocTestParser().get_examples(text), f"{name} has no example"
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


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith(("get_", "clear_"))])
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


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_plan_takes_its_operations_arguments(name: str) -> None:
    """Those of a call but the arrays and `out`, by position in the same order, or by name."""
    operation = getattr(fc, name)
    called = inspect.signature(operation).parameters
    expected = [key for key, value in called.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
    expected = [key for key in expected if key not in ("x", "out", "indices")]
    planned = inspect.signature(operation.plan).parameters
    by_place = any(value.kind is value.VAR_POSITIONAL for value in planned.values())
    found = [*(["w"] if "w" in planned else []), *operation.places] if by_place else list(planned)[1:]
    assert next(iter(planned)) == "x_shape"
    assert found[: len(expected)] == expected
    assert planned["x_dtype"].default is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv{}d", f"x w bias stride padding dilation groups * {BORDER} activation dtype {COMMON} residual out"),
        (
            "conv_transpose{}d",
            f"x w bias stride padding output_padding groups dilation * activation dtype {COMMON} residual out",
        ),
        ("max_pool{}d", f"x kernel_size stride padding dilation ceil_mode return_indices * footprint {BORDER} {COMMON} out"),
        ("min_pool{}d", f"x kernel_size stride padding dilation ceil_mode return_indices * footprint {BORDER} {COMMON} out"),
        ("median_pool{}d", f"x kernel_size stride padding dilation * footprint {BORDER} {COMMON} out"),
        ("rank_pool{}d", f"x rank kernel_size stride padding dilation * footprint {BORDER} {COMMON} percentile out"),
        (
            "avg_pool{}d",
            f"x kernel_size stride padding ceil_mode count_include_pad divisor_override * {BORDER} {COMMON} dilation out",
        ),
        ("lp_pool{}d", f"x norm_type kernel_size stride ceil_mode * {BORDER} {COMMON} padding dilation out"),
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
