"""The parameters that SciPy's filters share, described once."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

BORDERS = """"reflect" (d c b a | a b c d | d c b a; also "grid-mirror"), "mirror" (d c b | a b c d | c b a), "nearest",
    "wrap" (also "grid-wrap"), or "constant" (also "grid-constant"), which is `cval`."""
BEGINS = "Cells by which the window begins earlier, from -(size // 2) to (size - 1) // 2"
PARAMETERS = {
    "input": """input : array_like
    Any number of axes; bool, integers of every width, float16 (computed in float32), float32, float64{complex}.""",
    "axis": """axis : int
    The axis that the filter works along.""",
    "output": """output : array, dtype, type or str, optional
    The array to write, of the shape of `input`, which may overlap it; or the dtype of a new one. By default that of `input`.
    Floats become integers toward zero; what does not fit wraps.""",
    "mode": f"""mode : str
    What lies around the array:
    {BORDERS}""",
    "modes": f"""mode : str or sequence of str
    What lies around the array, for all axes or for each one:
    {BORDERS}""",
    "cval": """cval : scalar
    What cells around the array hold in the mode "constant".""",
    "origin": f"""origin : int
    {BEGINS}.""",
    "origins": f"""origin : int or sequence of int
    {BEGINS}, for all axes or for each one.""",
    "axes": """axes : tuple of int, optional
    The axes that the filter works along; by default all. Sequences have a value for each of them.""",
    "window": """size : int or sequence of int
    Cells of the window, along all axes or along each one.
footprint : array_like of bool, optional
    The cells of the window, in place of `size`: those that are not False.""",
    "sizes": """size : int or sequence of int
    Cells of the window, along all axes or along each one.""",
    "length": """size : int
    Cells of the window.""",
    "structure": """structure : array_like, optional
    What is added to the cells of a dilation, and subtracted from those of an erosion; all of its cells count unless a footprint
    says which do.""",
    "set": """input : array_like
    Any number of axes; what is not zero is set.""",
    "set_output": """output : array, dtype, type or str, optional
    The array to write, of the shape of `input`, which may overlap it; or bool, the dtype of a new one.""",
    "cross": """structure : array_like of bool, optional
    The cells of the window that count; by default the cell and its neighbours along each axis.""",
    "iterations": """iterations : int
    How often, each time on the result; below one until nothing changes.""",
    "mask": """mask : array_like, optional
    Where it is zero, cells stay as they are.""",
    "border_value": """border_value : int
    Whether cells outside the array are set.""",
    "brute_force": """brute_force : bool
    Accepted and without effect: all cells are visited each time.""",
    "result": """Returns
-------
array
    Of the shape of `input`.""",
    "raises": """Raises
------
RuntimeError, ValueError, TypeError
    As SciPy's function does; nothing is written before.""",
    "grey": """Parameters
----------
{input}
{window}
{structure}
{output}
{modes}
{cval}
{origins}
{axes}

{result}

{raises}""",
    "line": """Parameters
----------
{input}
{length}
{axis}
{output}
{mode}
{cval}
{origin}

{result}

{raises}""",
    "examples": """Examples
--------
>>> import numpy as np
>>> import fastconv as fc""",
}


def documented(function: Function) -> Function:
    """`function`, each line {name} of whose docstring is what PARAMETERS has of that name."""
    text = function.__doc__ or ""
    function.__doc__ = filled(text).replace("{complex}", ", complex" if "omplex" in text else "")
    return function


def filled(text: str) -> str:
    """Text, each line {name} of which is what PARAMETERS has of that name, filled in itself."""
    lines = []
    for line in text.splitlines():
        found = re.fullmatch(r"( *)\{(\w+)\}", line)
        if found is None:
            lines.append(line)
        else:
            lines += [f"{found[1]}{part}" if part else "" for part in filled(PARAMETERS[found[2]]).splitlines()]
    return "\n".join(lines)
