"""Spectra of blocks, and of kernels: Fourier transforms of a planes of b rows of m cells, along each axis.

A block of one axis is one row of b * m cells. It is transformed as a matrix: its columns, a turn of each element, its rows.
Bailey, FFTs in external or hierarchical memory (1990). The cells along m follow each other, so that passes along a and b go on
vectors of them; for the pass along m, `lanes` rows are transposed into columns, and the spectrum stays so:

    cells      re [a b][pitch], then im, `pitch` >= m
    spectrum   [a b / lanes][re, im][m][lanes]     each re and each im one cache line longer
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv.kernels.jit import Kernel, compiled
from fastconv.kernels.memory import LINE
from fastconv.kernels.simd import vector
from fastconv.kernels.simd.engine.sizes import Axes, reader
from fastconv.kernels.simd.engine.walks import TapSteps
from fastconv.kernels.simd.engine.workspace import keep, workspace
from fastconv.kernels.simd.fourier import butterflies
from fastconv.kernels.simd.fourier.butterflies import Columns
from fastconv.problem.convolutions import Array

peek, poke, pointer = vector.peek, vector.poke, vector.pointer


class Shape(NamedTuple):
    """The planes a, rows b and cells m of a block; or elements of the factors of their transforms."""

    a: int
    b: int
    m: int


class Form(NamedTuple):
    """How blocks and spectra lie in memory.

    Attributes
    ----------
    shape : Shape
        The points of the three passes.
    pitch : int
        Elements from one row of a block to the next: a cache line more than it has, lest columns share the sets of a cache.
    strip : int
        Elements of the spectra of `lanes` rows.
    factors : Shape
        Elements of the factors of the three passes, which follow each other.
    """

    shape: Shape
    pitch: int
    strip: int
    factors: Shape


def form_of(shape: Shape, lanes: int, dtype: np.dtype[Any]) -> Form:
    """The form of blocks of this shape."""
    line = LINE // dtype.itemsize
    factors = Shape(*(len(butterflies.twiddles(points, dtype)) for points in shape))
    return Form(shape, shape.m + line, 2 * (shape.m * lanes + line), factors)


@lru_cache(maxsize=64)
def tables_of(shape: Shape, long: bool, lanes: int, dtype: np.dtype[Any]) -> Array:
    """The factors of a, b and m, then the turns between the passes of a long row: [b / lanes][cos, sin][m][lanes]."""
    parts = [butterflies.twiddles(points, dtype) for points in shape]
    if long:
        angles = -2 * np.pi / (shape.b * shape.m) * np.outer(butterflies.order(shape.b), np.arange(shape.m))
        both = np.stack((np.cos(angles), np.sin(angles)))
        parts.append(both.reshape(2, shape.b // lanes, lanes, shape.m).transpose(1, 0, 3, 2).reshape(-1).astype(dtype))
    return np.concatenate(parts)


class Tables(NamedTuple):
    """Where the factors of a, of b and of m begin, and where those of m end and the turns begin."""

    a: Any
    b: Any
    m: Any
    turns: Any


@compiled
def tables_in(tables, form):
    """The parts of `tables_of`."""
    a = pointer(tables)
    b = a + form.factors.a
    m = b + form.factors.b
    return Tables(a, b, m, m + form.factors.m)


def spectrum_size(form: Form, lanes: int) -> int:
    """Elements of a spectrum."""
    return form.shape.a * form.shape.b // lanes * form.strip


elements_of = compiled(spectrum_size)


@compiled
def cells_size(form, lanes):
    """Elements of a block's real parts, or imaginary ones: two vectors more, lest both share the sets of a cache."""
    return form.shape.a * form.shape.b * form.pitch + 2 * lanes


class Cells(NamedTuple):
    """The real and the imaginary parts of a block's cells."""

    re: Any
    im: Any


@lru_cache(maxsize=8)
def transposes(lanes: int) -> tuple[Any, Any]:
    """The compiled (gather, scatter): the m cells of `lanes` rows become m vectors of a spectrum's part, and back."""

    def gather(rows, pitch, m, to):
        for column in range(0, m, lanes):
            square = vector.load_transposed(rows + column, pitch, lanes, lanes, lanes, 1, lanes)
            vector.store_tile(square, to + column * lanes, lanes)

    def scatter(part, m, pitch, to):
        for column in range(0, m, lanes):
            square = vector.load_transposed(part + column * lanes, lanes, lanes, lanes, lanes, 1, lanes)
            vector.store_tile(square, to + column, pitch)

    return compiled(gather), compiled(scatter)


@lru_cache(maxsize=8)
def turners(lanes: int) -> tuple[Any, Any]:
    """The compiled (turn, turn_back): products by the turns between the passes of a long row, and by their conjugates.

    X [l] = X [l] * exp(-2 pi i f(row) l / (b m)) for l < m, f(row) the frequency that the pass along b left in a row
    """

    def turn(x, turns, count):
        for at in range(0, count, lanes):
            c, s = vector.load(turns + at, lanes), vector.load(turns + (count + at), lanes)
            u, v = vector.load(x.re + at, lanes), vector.load(x.im + at, lanes)
            vector.store(x.re + at, c * u - s * v)
            vector.store(x.im + at, c * v + s * u)

    def turn_back(x, turns, count):
        for at in range(0, count, lanes):
            c, s = vector.load(turns + at, lanes), vector.load(turns + (count + at), lanes)
            u, v = vector.load(x.re + at, lanes), vector.load(x.im + at, lanes)
            vector.store(x.re + at, c * u + s * v)
            vector.store(x.im + at, c * v - s * u)

    return compiled(turn), compiled(turn_back)


@lru_cache(maxsize=8)
def axis_passes(lanes: int, transform: Any) -> tuple[Any, Any]:
    """The compiled passes of a transform along b, of every plane, and along a, where there are several planes."""

    def along_b(cells, form, table):
        a, b, m = form.shape
        for plane in range(a):
            for column in range(0, m, lanes):
                at = plane * b * form.pitch + column
                transform(Columns(cells.re + at, cells.im + at, form.pitch), b, table)

    def along_a(cells, form, table):
        a, b, m = form.shape
        for row in range(b if a > 1 else 0):
            for column in range(0, m, lanes):
                at = row * form.pitch + column
                transform(Columns(cells.re + at, cells.im + at, b * form.pitch), a, table)

    return compiled(along_b), compiled(along_a)


@lru_cache(maxsize=8)
def analysis(lanes: int, long: bool, dtype: str) -> Any:
    """The compiled analyse(cells, spectrum, form, tables): a block becomes its spectrum."""
    forward, gather, turn = butterflies.forward_transform(lanes, dtype), transposes(lanes)[0], turners(lanes)[0]
    along_b, along_a = axis_passes(lanes, forward)

    def analyse(cells, spectrum, form, tables):
        along_a(cells, form, tables.a)
        along_b(cells, form, tables.b)
        m = form.shape.m
        for row in range(0, form.shape.a * form.shape.b, lanes):
            part = spectrum + row // lanes * form.strip
            x = Columns(part, part + form.strip // 2, lanes)
            gather(cells.re + row * form.pitch, form.pitch, m, x.re)
            gather(cells.im + row * form.pitch, form.pitch, m, x.im)
            if long:
                turn(x, tables.turns + row * 2 * m, m * lanes)
            forward(x, m, tables.m)

    return compiled(analyse)


@lru_cache(maxsize=8)
def synthesis(lanes: int, long: bool, dtype: str) -> Any:
    """The compiled synthesise(spectrum, cells, form, tables): a spectrum becomes a b m times its block."""
    inverse, scatter, turn_back = butterflies.inverse_transform(lanes, dtype), transposes(lanes)[1], turners(lanes)[1]
    along_b, along_a = axis_passes(lanes, inverse)

    def synthesise(spectrum, cells, form, tables):
        m = form.shape.m
        for row in range(0, form.shape.a * form.shape.b, lanes):
            part = spectrum + row // lanes * form.strip
            x = Columns(part, part + form.strip // 2, lanes)
            inverse(x, m, tables.turns)  # each table from its end backwards
            if long:
                turn_back(x, tables.turns + row * 2 * m, m * lanes)
            scatter(x.re, m, form.pitch, cells.re + row * form.pitch)
            scatter(x.im, m, form.pitch, cells.im + row * form.pitch)
        along_b(cells, form, tables.m)
        along_a(cells, form, tables.b)

    return compiled(synthesise)


# Weights ----------------------------------------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """What the kernel of weights knows: the form of a spectrum, the taps and where they lie, input channels of a group."""

    form: Form
    taps: Axes
    dilation: Axes
    steps: TapSteps
    c_group: int


read = reader(Sizes)


class Parts(NamedTuple):
    """The workspace of a thread."""

    re: int
    im: int


carve = workspace(Parts)


@lru_cache(maxsize=8)
def weight_kernel(lanes: int, long: bool, paired: bool, dtype: str, isa: str) -> Kernel:
    """The compiled spectra of kernels, divided by the points of a block, an item for each k and c: f32_fft_weights_avx512.

    Where blocks go in pairs, weights are real; else each is a real and an imaginary part.
    """
    analyse = analysis(lanes, long, dtype)

    @compiled
    def cell_of(tap, s):
        """The cell where a tap lies: the cell 0, or as far before it as the tap reads behind, by the number of cells."""
        (a, b, m), pitch = s.form.shape, s.form.pitch
        if long:
            row, column = divmod(-tap.w * s.dilation.w % (b * m), m)
        else:
            row, column = -tap.d * s.dilation.d % a * b + -tap.h * s.dilation.h % b, -tap.w * s.dilation.w % m
        return row * pitch + column

    @compiled
    def place_taps(w, cells, scale, s):
        """The kernel at w as a block: its taps, scaled, and zeros."""
        zero = scale - scale
        for i in range(cells_size(s.form, lanes)):
            poke(cells.re + i, zero)
            poke(cells.im + i, zero)
        for d in range(s.taps.d):
            for h in range(s.taps.h):
                for column in range(s.taps.w):
                    source, cell = w + (d * s.steps.t + h * s.steps.r + column * s.steps.s), cell_of(Axes(d, h, column), s)
                    poke(cells.re + cell, peek(source) * scale)
                    if not paired:
                        poke(cells.im + cell, peek(source + 1) * scale)

    def weights(begin, end, w, to, sizes, tables):
        """W [k][c] = F(w [k][c]) / (a b m), tap t at -t."""
        s = read(sizes)
        parts, size = tables_in(tables, s.form), elements_of(s.form, lanes)
        a, b, m = s.form.shape
        scale = w.dtype.type(1) / w.dtype.type(a * b * m)
        work, memory = carve(Parts(re=cells_size(s.form, lanes), im=cells_size(s.form, lanes)), w)
        cells = Cells(work.re, work.im)
        for item in range(begin, end):
            k, c = divmod(item, s.c_group)
            place_taps(pointer(w) + (k * s.steps.k + c * s.steps.c), cells, scale, s)
            analyse(cells, pointer(to) + item * size, s.form, parts)
        keep(memory)

    weights.__name__ = f"{dtype}_fft_weights_{isa}"
    return Kernel(weights)
