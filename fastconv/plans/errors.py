"""How far an implementation may be from the exact result: the bound that its record states and its tests hold it to.

    |y - exact| <= factor * eps * L * conv(|x|, |w|)

with eps of the dtype that sums are made in, and L the products of a sum, to which come the bias and the roundings that an
activation makes. Implementations that sum the products themselves, in any order, have a factor of 1, and are exact where a
float holds every sum: the bound then is 0. One that transforms its input first rounds what many outputs share: its bound is
relative to the largest conv(|x|, |w|) of the result, and an output whose own terms are tiny may be wrong in all its digits.
What it makes of the input is larger than the input: it takes room below the largest float.

Measured: the largest error over the outputs' root mean square, in float32, on normal weights and normal inputs (and inputs
after a ReLU), against float64.

    case                        direct                the faster one
    3x3, 64 channels            5e-6 (4e-6)           winograd F(4) 9e-6 (6e-6), F(2) 2e-6 (1e-6)
    3x3, 512 channels           1e-5 (8e-6)           winograd F(4) 2e-5 (1e-5), F(2) 5e-6 (3e-6)
    1x1, 64 channels            1e-6 (1e-6)           strassen 5e-6 (3e-6)
    1x1, 2,048 channels         9e-6 (5e-6)           strassen 2e-5 (2e-5)
    3x3 stride 2, 512 channels  1e-5 (8e-6)           strassen 3e-5 (3e-5)
    5x5, 64 channels            8e-6 (6e-6)           winograd F(4) 1e-5 (9e-6), F(2) 3e-6 (3e-6)
    7x7, 512 channels           3e-5 (2e-5)           winograd F(4) 5e-5 (5e-5), F(2) 1e-5 (1e-5)
    1-D, 3 taps, 64 channels    2e-6 (2e-6)           winograd F(4) 5e-6 (3e-6), F(2) 1e-6 (1e-6)
    3x3x3, 64 channels          1e-5 (5e-6)           winograd F(4) 1e-5 (1e-5), F(2) 3e-6 (3e-6)
    9x9, one channel            1e-6 (1e-6)           winograd by 3 rows 2e-6 (2e-6)
    11x11, one channel          3e-6 (2e-6)           winograd by 4 rows 5e-6 (4e-6)
    31x31, one channel          6e-6 (4e-6)           fft 2e-6 (1e-6)
    1-D, 1,025 taps             7e-6 (3e-6)           fft 1e-6 (1e-6)
    Gaussian 31x31              6e-6                  separable 1e-6

Ask for implementation="direct" where cells differ by many orders of magnitude. The errors of winograd, strassen, separable and
fft are relative to the largest terms of a tile or a block, and a block may be the whole image: one cell of 1e8 in 256x256
cells of 0 .. 1, under random 31x31 weights, makes 32,773 of the 64,575 outputs whose windows do not hold it wrong by over 0.1
% (direct: 22, which are next to zero).

A NaN or inf in x reaches the outputs whose windows hold it, and under winograd the 4x4 (or 2x2) outputs that share its tile,
or, of filters of one channel, at most 6 rows above and 3 below; under strassen one position more, the next in memory or at
most 64 away; under fft two whole blocks; under toeplitz all of its image. Cells of x and sums of products may come up to the
largest float, but under winograd to a 32nd of it, under strassen to an 8th, under separable to a quarter, under fft to 2**-19:
1e37, 4e37, 8e37 and 6e32 in float32.

Whole numbers in float arrays have exact sums, where those fit, but under fft, strassen and winograd of several channels. For
whole filters of one channel up to 15x15 "auto" takes none of these: a 0/1 image under 5x5 ones may be compared with == 25.
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
    "toeplitz": Error(1.0, spread=True),  # of a NaN alone
}
