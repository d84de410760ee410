"""An operation is an object, as NumPy's ufuncs are: it is called, plans, explains, and lists its implementations."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, get_type_hints

import numpy as np
import numpy.typing as npt

from fastconv.doors import lazily
from fastconv.machine import host
from fastconv.operations import documentation
from fastconv.operations.types import DEFAULTS, PlainOptions
from fastconv.plans import dispatch, pullbacks
from fastconv.plans.plan import Plan
from fastconv.plans.pullbacks import Pullback
from fastconv.problem import arguments as check
from fastconv.problem.foreign import LazyArray

ARRAYS = ("x", "w", "residual", "indices", "input", "output", "weight", "grad_output")
NO_ARGUMENTS = ("self", *ARRAYS, "out")  # of a plan


def a_shape(name: str, value: Any) -> Any:
    """`value`, where it is no array that itself was passed for its shape."""
    if type(value) is tuple or getattr(value, "ndim", 1) <= 1 or not hasattr(value, "shape"):
        return value
    if hasattr(value, "chunksize"):
        block = f"; {name}.chunksize is a block's, which its tasks are given" if name == "x" else ""
        raise TypeError(f"{name}_shape must be a shape, got a dask array: pass {name}.shape{block}")
    raise TypeError(f"{name}_shape must be a shape, got an array of shape {tuple(value.shape)}: pass {name}.shape")


class _Docstring:
    """The docstring of a class, and a rendered one of each instance."""

    def __init__(self, of_class: str | None) -> None:
        self.of_class = of_class

    def __get__(self, instance: Any, owner: Any = None) -> str | None:
        return self.of_class if instance is None else instance.documentation()


class Operation:
    """A function over arrays with `plan`, `explain` and `implementations`.

    Attributes
    ----------
    name : str
        Its name in `fastconv`.
    rank : int
        Its number of spatial axes; 0 where the arguments tell it.
    """

    TEMPLATE: ClassVar[str] = ""
    OWN: ClassVar[dict[str, tuple[str, str]]] = {}  # parameters that are described otherwise than elsewhere
    RAISES: ClassVar[str] = "If an argument does not fit; the message names it, what came and what is allowed."
    OPTIONS: ClassVar[Any] = PlainOptions
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str, rank: int, example: str) -> None:
        self.name = self.__name__ = self.__qualname__ = name
        self.rank, self.example = rank, example
        self.__module__ = "fastconv"

    def __init_subclass__(cls) -> None:
        cls.__doc__ = _Docstring(cls.__doc__)  # type: ignore[assignment]
        cls.options = cls.OPTIONS.__optional_keys__

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The result; see the operation's own documentation."""
        raise NotImplementedError

    def lazily(self, arguments: dict[str, Any], error: LazyArray) -> Any:
        """The lazy result of a call with a lazy array; arguments by name."""
        return lazily(self, arguments, error.library)

    def plan(self, x_shape: Sequence[int], *arguments: Any, x_dtype: npt.DTypeLike | None = None, **options: Any) -> Any:
        """Everything that does not depend on the data, done once.

        Parameters
        ----------
        x_shape : sequence of int
            The shape of the inputs to come, with or without a batch axis.
        *arguments, **options
            The operation's other arguments but arrays and `out`, as a call takes them. ``implementation="measure"`` times the
            candidates here and keeps the fastest.
        x_dtype : dtype, optional
            Of the inputs to come; float32 by default.

        Returns
        -------
        Plan
            ``plan(x, out=None)`` gives the result; ``print(plan)`` tells what was decided. Immutable and thread-safe.
        """
        try:
            return self.planned(a_shape("x", x_shape), x_dtype, self.bound(arguments, options))
        except (TypeError, ValueError) as error:
            raise check.about_shapes(error) from None

    def vjp(self, *arguments: Any, **options: Any) -> tuple[Any, Pullback]:
        """The result, and what takes its gradient to the gradients of the operands.

        Parameters
        ----------
        *arguments, **options
            As a call takes them. The arrays and the result are kept without copies, and must not change until `pull` is called.

        Returns
        -------
        y : array
            What the call gives.
        pull : Pullback
            ``pull(dy, wrt=None)``, with dy of the shape of y, gives the gradients by all operands that were given, in the order
            of the arguments; or by those that `wrt` names, and computes no other. One operand's comes as an array, not a tuple.

        Raises
        ------
        ValueError, TypeError
            As the call; or if a dtype is not a real float, or the operation is not differentiable.

        Examples
        --------
        >>> import numpy as np
        >>> import fastconv as fc
        >>> x, w = np.array([[1.0, 2.0, 3.0]]), np.array([[[1.0, 10.0]]])
        >>> y, pull = fc.conv1d.vjp(x, w)
        >>> dx, dw = pull(np.ones_like(y))
        >>> dx, dw
        (array([[ 1., 11., 10.]]), array([[[3., 5.]]]))
        """
        given = self.arguments(arguments, options)
        arrays = {name: check.array(name, given.pop(name)) for name in ARRAYS if name in given}
        out = given.pop("out", None)
        x = arrays["x"]
        plan: Plan = self.planned(x.shape, x.dtype, given)
        found: tuple[Any, Pullback] = pullbacks.vjp(plan, arrays, out)
        return found

    def arguments(self, given: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, as Python binds them: those that fit at sight need not be looked at one by one."""
        names, known, required = self.binding
        found = dict(zip(names, given, strict=False))
        if len(given) > len(names) or not found.keys().isdisjoint(options) or not options.keys() <= known:
            return dict(self.signature.bind(*given, **options).arguments)  # which raises what Python would
        found |= options
        return found if required <= found.keys() else dict(self.signature.bind(*given, **options).arguments)

    @cached_property
    def binding(self) -> tuple[tuple[str, ...], frozenset[str], frozenset[str]]:
        """The names of the arguments of a call by position, of all, and of those without a default."""
        parameters = self.signature.parameters.values()
        names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        required = frozenset(p.name for p in parameters if p.default is p.empty)
        return names, frozenset(p.name for p in parameters), required

    def planned(self, x_shape: Any, x_dtype: Any, options: dict[str, Any]) -> Plan:
        """The plan for arguments by name."""
        raise NotImplementedError

    def bound(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name: those of a call but its arrays and `out`."""
        places, names = self.places, self.accepted
        if len(arguments) > len(places):
            raise TypeError(f"{self.name}.plan() takes {len(places)} arguments behind the shape, got {len(arguments)}")
        found = dict(zip(places, arguments, strict=False))
        for name, value in options.items():
            if name in found:
                raise TypeError(f"{self.name}.plan() got multiple values for argument {name!r}")
            if name not in names:
                raise TypeError(f"{self.name}.plan() got an unexpected keyword argument {name!r}")
            found[name] = value
        missing = [name for name in self.required if name not in found]
        if missing:
            raise TypeError(f"{self.name}.plan() is missing the argument {missing[0]!r}")
        return found

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The names of the arguments that a call takes by position, but for its arrays and `out`."""
        kinds = inspect.signature(type(self).__call__).parameters.values()
        return tuple(p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in NO_ARGUMENTS)

    @cached_property
    def accepted(self) -> frozenset[str]:
        """The names of all arguments but arrays and `out`."""
        named = inspect.signature(type(self).__call__).parameters.values()
        return self.options.union(p.name for p in named if p.kind is not p.VAR_KEYWORD and p.name not in NO_ARGUMENTS)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Those of them that have no default."""
        parameters = inspect.signature(type(self).__call__).parameters
        return tuple(name for name in self.places if parameters[name].default is inspect.Parameter.empty)

    @property
    def implementations(self) -> list[str]:
        """The names of the implementations, best first."""
        return [one.name for one in dispatch.candidates(self.name)]

    def explain(self, x_shape: Any, *arguments: Any, x_dtype: npt.DTypeLike = np.float32, **options: Any) -> str:
        """Which implementation "auto" takes for a plan, and for each of the others why not: one line a candidate.

        Parameters
        ----------
        x_shape : sequence of int
            The shape of the input.
        *arguments, **options
            The operation's other arguments, without `out`, as it takes them; for weights their shape.
        x_dtype : dtype
            Of the input, and of weights.

        Returns
        -------
        str
            Lines to print.
        """
        try:
            plan = self.plan_of_shapes(x_shape, *arguments, x_dtype=check.dtype("x_dtype", x_dtype), **options)
        except (TypeError, ValueError) as error:
            raise check.about_shapes(error) from None
        return "\n".join(dispatch.explanation(self.name, plan.problem, host(), plan.magnitudes))

    def plan_of_shapes(self, x_shape: Any, *arguments: Any, x_dtype: np.dtype[Any], **options: Any) -> Plan:
        """A plan whose operands are known by their shapes alone."""
        return self.plan(x_shape, *arguments, x_dtype=x_dtype, **options)

    def check_options(self, options: Any) -> None:
        """Refuse a name that the operation does not take, as Python would."""
        if not options.keys() <= self.options:
            unknown = next(name for name in options if name not in self.options)
            raise TypeError(f"{self.name}() got an unexpected keyword argument {unknown!r}")

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature of a call, kept."""
        return self.__signature__

    @property
    def __signature__(self) -> inspect.Signature:
        """The signature of a call, with each option by name."""
        found = inspect.signature(type(self).__call__)
        parameters = list(found.parameters.values())[1:]
        hints = get_type_hints(self.OPTIONS)
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=self.default_of(name), annotation=hints[name])
            for name in DEFAULTS
            if name in hints
        ]
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        return inspect.Signature([*positional, *named, *keyword], return_annotation=found.return_annotation)

    def default_of(self, option: str) -> Any:
        """The default of an option."""
        return DEFAULTS[option]

    def documentation(self) -> str:
        """The docstring, rendered for this operation."""
        return documentation.rendered(self.TEMPLATE, self.words(), self.__signature__, self.OWN, self.example)

    def words(self) -> dict[str, Any]:
        """What words in braces stand for in the documentation."""
        return {
            **documentation.words(self.name, self.rank),
            "raises": f"Raises\n------\nValueError, TypeError\n    {self.RAISES}",
        }

    def __repr__(self) -> str:
        return f"<operation fastconv.{self.name}>"

    def __reduce__(self) -> str:
        return self.name  # pickles and copies as a function does: by its name
