"""A team of threads in compiled code: one leads, the others follow, and nobody waits for a thread that has taken no part.

A job is a kernel on equal parts of range(total). Its leader writes down what the job is, then LEFT, the number of parts:
whoever counts it down takes a part, the leader too. A part that was taken holds the job back, so that its taker may read what
the job is; a thread that comes late finds LEFT at zero or below, and has touched nothing else. The leader returns when DONE has
counted all parts. Threads that wait spin for a while, then nap until they are woken; followers are woken as down a binary tree.

    LEFT                                parts that nobody has taken
    DONE, FAILED                        parts that have ended; those that raised
    ADAPTER, ARGUMENTS, KERNEL          the kernel and what it is called with, by address
    PARTS, TOTAL                        of the job
    HELPERS                             followers that may take parts
    LED                                 1 while somebody leads
    WAITING                             1 while the leader naps, until the last part is done
    QUIT                                1 once followers shall return
    FOLLOWERS + k                       1 while follower k naps
"""

import ctypes
import platform
import sys
from typing import Any

import numpy as np

from fastconv.kernels.compiling.functions import compiled, entry
from fastconv.kernels.simd.vector.atomics import adapter_failed, added, c_call, exchanged, loaded, pause
from fastconv.problem.convolutions import Array

APART = 128  # bytes from word to word: processors fetch lines of 64 by pairs
WORDS = tuple(range(0, 16 * APART, APART))
LEFT, DONE, FAILED, ADAPTER, ARGUMENTS, KERNEL, PARTS, TOTAL, HELPERS, LED, WAITING, QUIT, NAP, WAKE, ONE, FOLLOWERS = WORDS
MOST = 256  # followers
ALONE = -1  # what `lead` returns where another thread leads

FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}.get(platform.machine(), 0)  # the system call's number
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # of one process
ULOCK = 0x01000001  # compare and wait; errors are returned, not kept
FOREVER = 0xFFFFFFFF


def functions() -> tuple[int, int] | None:
    """The addresses of what puts a thread to sleep while a word is 1 and of what wakes it, or None."""
    try:
        if sys.platform == "darwin":
            library, names = ctypes.CDLL(None), ("__ulock_wait", "__ulock_wake")
        elif sys.platform == "win32":
            library, names = ctypes.WinDLL("kernelbase"), ("WaitOnAddress", "WakeByAddressSingle")
        else:
            library, names = ctypes.CDLL(None), ("syscall", "syscall")
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except (OSError, AttributeError, TypeError):
        return None
    usable = all(found) and sys.byteorder == "little" and (not sys.platform.startswith("linux") or FUTEX)
    return (int(found[0] or 0), int(found[1] or 0)) if usable else None


def memory() -> Array | None:
    """The words of a team that nobody leads, from the beginning of a line on; None where threads cannot nap."""
    found = functions()
    if found is None:
        return None
    room = np.zeros((FOLLOWERS + (MOST + 1) * APART) // 8, np.int64)
    words = room[-room.ctypes.data % APART // 8 :]
    words[NAP // 8], words[WAKE // 8], words[ONE // 8] = *found, 1
    return words


# Naps -------------------------------------------------------------------------------------------------------------------

if sys.platform == "darwin":

    @compiled
    def sleep(team, word):
        """Until somebody wakes who naps here, if the word is 1; or shorter."""
        c_call(loaded(team + NAP), (ULOCK, word, 1, 0))

    @compiled
    def rouse(team, word):
        """Whoever naps here."""
        c_call(loaded(team + WAKE), (ULOCK, word, 0))

elif sys.platform == "win32":

    @compiled
    def sleep(team, word):
        """Until somebody wakes who naps here, if the word is 1; or shorter."""
        c_call(loaded(team + NAP), (word, team + ONE, 4, FOREVER))

    @compiled
    def rouse(team, word):
        """Whoever naps here."""
        c_call(loaded(team + WAKE), (word,))

else:

    @compiled
    def sleep(team, word):
        """Until somebody wakes who naps here, if the word is 1; or shorter."""
        c_call(loaded(team + NAP), (FUTEX, word, FUTEX_WAIT, 1, 0, 0, 0))

    @compiled
    def rouse(team, word):
        """Whoever naps here."""
        c_call(loaded(team + WAKE), (FUTEX, word, FUTEX_WAKE, 1, 0, 0, 0))


@compiled
def wake(team, word):
    """Whoever naps at the word, or is about to."""
    if loaded(word) == 1 and exchanged(word, 0) == 1:
        rouse(team, word)


@compiled
def wake_below(team, node):
    """The followers that `node` has in the tree of those that may help; the leader is node 0, follower k is node k + 1."""
    for k in range(2 * node, min(2 * node + 2, loaded(team + HELPERS))):
        wake(team, team + FOLLOWERS + k * APART)


# Parts ------------------------------------------------------------------------------------------------------------------


@compiled
def take(team):
    """The number of parts that were left before one was taken: none was where that is not positive."""
    return added(team + LEFT, -1) if loaded(team + LEFT) > 0 else 0


@compiled
def make(team, left):
    """The part that was taken when `left` were."""
    parts, total = loaded(team + PARTS), loaded(team + TOTAL)
    part = parts - left
    begin, end = part * total // parts, (part + 1) * total // parts
    if adapter_failed(loaded(team + ADAPTER), loaded(team + ARGUMENTS), loaded(team + KERNEL), begin, end):
        added(team + FAILED, 1)
    return added(team + DONE, 1) + 1 == parts


@compiled
def may_help(team, number):
    """Whether there are parts for this follower."""
    return loaded(team + LEFT) > 0 and number < loaded(team + HELPERS)


@compiled
def help_out(team, number):
    """Take parts until none is left, and tell the leader of the last."""
    left = take(team)
    if left > 0:
        wake_below(team, number + 1)
    while left > 0:
        if make(team, left):
            wake(team, team + WAITING)
        left = take(team)


def follow(team, number, spins):
    """What follower `number` does from its first day to its last; `spins` pauses after each job."""
    own = team + FOLLOWERS + number * APART
    while loaded(team + QUIT) == 0:
        spun = 0
        while spun < spins:
            if may_help(team, number):
                help_out(team, number)
                spun = 0
            pause()
            spun += 1
        exchanged(own, 1)
        if not may_help(team, number) and loaded(team + QUIT) == 0:
            sleep(team, own)
        exchanged(own, 0)
    return 0


@compiled
def wait_for_parts(team, parts, spins):
    """Until all parts have ended."""
    spun = 0
    while loaded(team + DONE) < parts:
        pause()
        spun += 1
        if spun >= spins:
            exchanged(team + WAITING, 1)
            if loaded(team + DONE) < parts:
                sleep(team, team + WAITING)
            exchanged(team + WAITING, 0)
            spun = 0


@compiled
def lead(team, job, kernel, parts, total, helpers, spins):
    """The number of parts that raised, of a job (address of arguments, of their adapter); or ALONE."""
    if exchanged(team + LED, 1) != 0:
        return ALONE
    exchanged(team + ARGUMENTS, job[0])
    exchanged(team + ADAPTER, job[1])
    exchanged(team + KERNEL, kernel)
    exchanged(team + PARTS, parts)
    exchanged(team + TOTAL, total)
    exchanged(team + HELPERS, helpers)
    exchanged(team + DONE, 0)
    exchanged(team + FAILED, 0)
    exchanged(team + LEFT, parts)
    wake_below(team, 0)
    left = take(team)
    while left > 0:
        make(team, left)
        left = take(team)
    wait_for_parts(team, parts, spins)
    failures = loaded(team + FAILED)
    exchanged(team + LED, 0)
    return failures


def dismiss(team, followers):
    """Let all followers return."""
    exchanged(team + QUIT, 1)
    for k in range(followers):
        exchanged(team + FOLLOWERS + k * APART, 0)
        rouse(team, team + FOLLOWERS + k * APART)
    return 0


def pauses(count):
    """So many, one after the other."""
    for _ in range(count):
        pause()
    return 0


entries: dict[str, Any] = {
    function.__name__: entry(function, f"team {function.__name__}") for function in (follow, dismiss, pauses)
}
