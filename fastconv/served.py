"""What fastconv's counterparts of SciPy's functions say of a call that SciPy serves and they do not."""


class NotServed(TypeError):
    """A call that SciPy would serve and fastconv does not: objects for numbers, a recursive filter, an unknown window.

    Raised before anything is written, so that `fastconv.patch_scipy` can pass the call on.
    """
