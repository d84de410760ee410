"""How far an implementation may be from the exact result: the bound that its record states and its tests hold it to.

    |y - exact| <= factor * eps * L * conv(|x|, |w|)

with eps of the dtype that sums are made in, and L the products of a sum, to which come the bias and the roundings that an
activation makes. Implementations that sum the products themselves, in any order, have a factor of 1, and are exact where a
float holds every sum: the bound then is 0. One that transforms its input first rounds what many outputs share: its bound is
relative to the largest conv(|x|, |w|) of the result, and an output whose own terms are tiny may be wrong in all its digits.
What it makes of the input is larger than the input: it takes room below the largest float.
"""

from typing import NamedTuple


class Error(NamedTuple):
    """The bound of an implementation's rounding.

    Attributes
    ----------
    factor : float
        The factor of the formula.
    spread : bool
        Whether errors are relative to the largest terms of the result, not to the terms of the output's own window.
    room : int
        The bound holds where the largest |x|, and the largest conv(|x|, |w|), are no more than the largest float over this.
    """

    factor: float = 1.0
    spread: bool = False
    room: int = 1


LOCAL = Error()
SPREAD = {
    "winograd": Error(0.5, spread=True, room=2**5),
    "winograd_weights": Error(1.0, spread=True, room=2**8),
    "strassen": Error(1.0, spread=True, room=2**3),
    "fft": Error(4.0, spread=True, room=2**19),  # twice the cells of the largest block
    "separable": Error(2.0, spread=True, room=2**2),
}
