"""Docstrings of operations: a parameter is described once, and rendered for each operation and number of axes.

Words in braces stand for what the number of axes decides; `words` lists them.
"""

from typing import Any

from fastconv.problem.convolutions import LAYOUTS

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}

PARAMETERS: dict[str, tuple[str, str]] = {
    "x": ("array, shape ({batched}) or ({single})", "With layout {last!r}, ({batched_last}). Never written to."),
    "stride": ("{ints}", "Cells between windows."),
    "dilation": ("{ints}", "Cells between the taps of a window."),
    "padding": (
        '{ints_or}, {pairs}, "valid", "same" or "same_lower"',
        'Cells added around `x`. "same" gives ceil(L / stride) outputs, the odd cell at the end; "same_lower" at the start.',
    ),
    "groups": (
        "int",
        "Channels are split into so many groups, each convolved with its own kernels; as many as channels is depthwise.",
    ),
    "padding_mode": (
        '{{"zeros", "constant", "reflect", "symmetric", "replicate", "circular"}}',
        'What the added cells hold; "constant" takes `padding_value`.',
    ),
    "padding_value": ("number, optional", 'What cells of the padding mode "constant" hold.'),
    "activation": (
        "str or tuple, optional",
        '"relu", "relu6", "leaky_relu", "silu", "hardswish", "gelu", ("clip", low, high) or ("leaky_relu", slope), applied '
        "after the bias and the residual as the output is written.",
    ),
    "residual": ("array, optional", "Of the result's shape; added before the activation, as in residual networks."),
    "dtype": ("dtype, optional", "Of the result and its sums, as in ``numpy.sum``; ``numpy.result_type(x, w)`` by default."),
    "layout": (
        "{{{first!r}, {last!r}}}, optional",
        "Order of the axes of `x` and the result; the first by default. An `x` whose memory has the other order, as a "
        "transposed view has, is not copied by a convolution or pool: the result's memory then has that order too.",
    ),
    "implementation": ("str", '"auto", or a name from ``{name}.implementations``.'),
    "out": ("array, optional", "Where to write the result, of its shape and dtype and any strides; it must overlap no input."),
    "kernel_size": ("{ints}", "Taps of a window."),
    "ceil_mode": (
        "bool",
        "Round the number of outputs up; a window that would start past the input and the padding before it is dropped.",
    ),
    "return_indices": ("bool", "Whether to return also where each value was found, counted inside one plane of `x`."),
    "output_size": ("{ints}", "Outputs per axis; None keeps the size of `x` on that axis."),
}
RAISES = "Raises\n------\nValueError, TypeError\n    {}"


def words(name: str, rank: int) -> dict[str, Any]:
    """What the words in braces stand for. A rank of 0 is any number of axes."""
    axes = AXES.get(rank, ("...",))
    first, last = LAYOUTS.get(rank, ("NCHW", "NHWC"))
    spatial = ", ".join(axes)
    many = f"int or {rank} int{'s' * (rank > 1)}" if rank else "int or ints"
    return {
        "name": name,
        "rank": rank,
        "plural": f"{rank} axis" if rank == 1 else f"{rank} axes",
        "axes": spatial,
        "kernel_axes": f"kernel {spatial}" if rank > 1 else "kernel",
        "out_axes": f"out {spatial}",
        "batched": f"batch, channels, {spatial}",
        "single": f"channels, {spatial}",
        "batched_last": f"batch, {spatial}, channels",
        "first": first,
        "last": last,
        "ints": many,
        "ints_or": many.replace(" or ", ", "),
        "pairs": f"{rank} pair{'s' * (rank > 1)} (before, after)" if rank else "pairs (before, after)",
    }


def wrapped(text: str, indent: int, width: int = 120) -> str:
    """Text in lines of a docstring."""
    import textwrap

    return textwrap.fill(text, width, initial_indent=" " * indent, subsequent_indent=" " * indent)


def rendered(template: str, known: dict[str, Any], signature: Any, own: dict[str, tuple[str, str]], example: str) -> str:
    """A numpydoc docstring: the signature, the template's summary, a section of parameters, the template's rest, the example.

    The template has a line "{parameters}" where that section belongs; `own` describes what the shared parameters do not, or
    describes otherwise.
    """
    lines = []
    for parameter in signature.parameters:
        kind, text = own.get(parameter) or PARAMETERS[parameter]
        lines += [f"{parameter} : {kind.format(**known)}", wrapped(text.format(**known), 4)]
    section = "Parameters\n----------\n" + "\n".join(lines)
    body = template.replace("{parameters}", "@").format(**known).replace("@", section)
    plain = ", ".join(
        (f"{p.name}={p.default!r}" if p.default is not p.empty else p.name) if p.kind is not p.KEYWORD_ONLY else f"{p.name}=..."
        for p in signature.parameters.values()
    )
    imports = ">>> import numpy as np\n>>> import fastconv as fc"
    return f"{known['name']}({plain})\n\n{body.strip()}\n\nExamples\n--------\n{imports}\n{example.strip()}\n"
