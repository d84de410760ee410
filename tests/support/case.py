"""One case: an operation, the shapes it meets and its arguments; with seeded inputs of any dtype."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np

import fastconv as fc
from fastconv.machine import host
from fastconv.plans.dispatch import candidates, family_of
from fastconv.problem.convolutions import LAYOUTS
from fastconv.problem.problem import Problem

Array = np.ndarray
LANES = host().lanes(np.dtype(np.float32))
TILE = (1, LANES - 1, LANES, LANES + 1, 2 * LANES)  # the sizes at which a kernel written in vectors changes its path
ROWS = (2, 5, 7, 11, 13, 29)  # and those around which register tiles have their rows


@dataclass(frozen=True)
class Case:
    """A call of fastconv.<operation>(**inputs, **options)."""

    name: str
    operation: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...] | None = None
    bias: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    floats_only: bool = False
    residual: bool = False

    def __str__(self) -> str:
        layout = dict(self.options).get("layout")
        return "-".join(part for part in (self.operation, layout, self.name) if part)

    @property
    def family(self) -> str:
        """The key of the operation in the registry."""
        return family_of(self.operation)

    @property
    def channels_last(self) -> bool:
        """Whether its layout is one with channels last."""
        return str(dict(self.options).get("layout")).endswith("C")

    @property
    def is_gradient(self) -> bool:
        """Whether the operation is one of fastconv.grad, which takes `input` and `grad_output`."""
        return self.family.endswith(("_weight", "_input"))

    @property
    def function(self) -> Any:
        """The operation."""
        return getattr(fc.grad if self.is_gradient else fc, self.operation)

    @property
    def planner(self) -> Any:
        return self.function.plan

    def call(self, inputs: dict[str, Array], implementation: str = "auto", **changes: Any) -> Any:
        """The public function on these inputs."""
        options = {**dict(self.options), **changes}
        if "input" in inputs:  # it has a size
            options.pop("input_size", None)
        return self.function(**inputs, **options, implementation=implementation)

    def plan(self, inputs: dict[str, Array], implementation: str = "auto") -> Any:
        """The plan of the call."""
        weights = {name: inputs[name] for name in ("w", "bias") if name in inputs}
        x, residual = inputs[self.first], {"residual": True} if self.residual else {}
        return self.planner(
            self.x_shape, **weights, **dict(self.options), **residual, implementation=implementation, x_dtype=x.dtype
        )

    @property
    def first(self) -> str:
        """The array that a NaN or a factor is put into: that of a shape which a plan takes."""
        return "x" if not self.is_gradient else "input" if self.family == "conv_weight" else "grad_output"

    @staticmethod
    def operands(plan: Any, inputs: dict[str, Array]) -> list[Array]:
        """The arrays that a plan takes, in order."""
        names = {"x": "input", "y": "output", "dy": "grad_output"}
        return [inputs[one.name if one.name in inputs else names[one.name]] for one in plan.operands]

    def explain(self, dtype: Any) -> list[str]:
        """explain()'s lines for the call."""
        w = {} if self.w_shape is None else {"w_shape": self.w_shape}
        residual = {"residual": True} if self.residual else {}
        return fc.explain(self.operation, self.x_shape, **w, **dict(self.options), **residual, x_dtype=dtype).splitlines()

    def inputs(self, dtype: Any, values: str = "whole") -> dict[str, Array]:
        """New arrays, the same ones every time: small whole numbers, or normal ones."""
        rng = np.random.default_rng(crc32(str(self).encode()))
        if self.is_gradient:
            return self.gradient_inputs(rng, dtype, values)
        found = {"x": draw(rng, self.x_shape, dtype, values)}
        if self.w_shape is not None:
            found["w"] = draw(rng, self.w_shape, dtype, values)
        if self.bias is not None:
            found["bias"] = draw(rng, (self.bias,), dtype, values)
        if self.residual:
            shape = unbatched(self.geometry.out_shape, self.x_shape, self.geometry.x_shape)
            found["residual"] = draw(rng, shape, dtype, values)
        if self.family == "max_unpool":
            plane = int(np.prod(self.geometry.out_size))
            found["indices"] = rng.integers(0, max(1, plane), self.x_shape)
        return found

    def gradient_inputs(self, rng: np.random.Generator, dtype: Any, values: str) -> dict[str, Array]:
        """The arrays that the gradient's operation takes."""
        geometry = self.geometry
        dy_shape = unbatched(geometry.dy_shape, self.x_shape, geometry.dy_shape)
        if self.family == "conv_weight":
            dy_shape = unbatched(geometry.dy_shape, self.x_shape, geometry.x_shape)
            return {"input": draw(rng, self.x_shape, dtype, values), "grad_output": draw(rng, dy_shape, dtype, values)}
        found = {"grad_output": draw(rng, dy_shape, dtype, values)}
        if self.family == "max_pool_input":
            return {"indices": rng.integers(0, max(1, int(np.prod(geometry.in_size))), dy_shape), **found}
        if self.family == "lp_pool_input":
            x = draw(rng, dict(self.options)["input_size"], dtype, values)
            if np.dtype(dtype).kind != "f":
                return {"input": x, "output": found["grad_output"], **found}
            options = {key: value for key, value in self.options if key != "input_size"}
            y = getattr(fc, self.operation.removesuffix("_input"))(x, **options, implementation="loops")
            return {"input": x, "output": y, **found}
        return found

    @property
    def geometry(self) -> Any:
        """The geometry of a float32 call."""
        return self.problem(np.float32).geometry

    def takes(self, dtype: Any) -> bool:
        """Whether the operation is defined for a dtype."""
        kind = np.dtype(dtype).kind
        if self.is_gradient:
            return kind == "f"
        if kind == "c":
            ordered = self.family in ("max_pool", "min_pool", "rank_pool", "adaptive_max_pool", "lp_pool", "activation")
            return not ordered and not self.floats_only and "activation" not in dict(self.options)
        return kind == "f" or not (self.floats_only or self.family == "lp_pool")

    def supporting(self, dtype: Any) -> list[str]:
        """The implementations that serve the call."""
        problem = self.problem(dtype)
        return [one.name for one in candidates(self.operation) if one.supports(problem) is None]

    def problem(self, dtype: Any) -> Problem:
        """What is asked of arrays of a dtype."""
        return problem_of(self, np.dtype(dtype))


@cache
def problem_of(case: Case, dtype: np.dtype[Any]) -> Problem:
    """The problem of a call on arrays of one dtype."""
    weights = {} if case.w_shape is None else {"w": np.broadcast_to(dtype.type(0), case.w_shape)}
    residual = {"residual": True} if case.residual else {}
    options = {**dict(case.options), **residual, "implementation": "reference", "x_dtype": dtype}
    return case.planner(case.x_shape, **weights, **options).problem


def unbatched(shape: tuple[int, ...], given: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without its batch axis where the input came without one."""
    return shape if len(given) == len(full) else shape[1:]


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, values: str) -> Array:
    """Whole numbers from -4 to 4 (unsigned: 0 to 8), or numbers of a normal distribution."""
    dtype = np.dtype(dtype)

    def part() -> Any:
        if values == "whole":
            return rng.integers(0, 9, shape) - (0 if dtype.kind == "u" else 4)
        return rng.standard_normal(shape)

    return np.asarray(part() + 1j * part() if dtype.kind == "c" else part(), dtype)


def both_layouts(case: Case) -> tuple[Case, Case]:
    """The case with channels first, and with channels last."""
    rank = int(case.operation[-2]) if case.operation[-1] == "d" else len(case.x_shape) - 2
    batched = len(case.x_shape) == rank + 2

    def moved(shape: tuple[int, ...], channel: int) -> tuple[int, ...]:
        return (*shape[:channel], *shape[channel + 1 :], shape[channel])

    last = Case(
        case.name,
        case.operation,
        moved(case.x_shape, 1 if batched else 0),
        case.w_shape and moved(case.w_shape, 1),
        case.bias,
        (*case.options, ("layout", LAYOUTS[rank][1])),
        case.floats_only,
        case.residual,
    )
    return case, last
