"""What to look for in assembly, of x86 and of AArch64, and where: in the innermost loops that multiply and add."""

import re
from typing import NamedTuple


class Mnemonics(NamedTuple):
    """How an instruction set writes what tests look for.

    Attributes
    ----------
    fma : re.Pattern
        A fused multiply-add of float32 vectors.
    other : re.Pattern
        A sum, difference or product of float32 vectors.
    double : re.Pattern
        Arithmetic in float64, or a conversion of float32 to it.
    spill, reload : re.Pattern
        A vector that is stored on the stack, and one that is read there, as an operand too.
    clamp : re.Pattern
        A smaller or larger one of two vectors: exponentials have them, of activations.
    branch : re.Pattern
        A jump, whose label is its group.
    """

    fma: re.Pattern[str]
    other: re.Pattern[str]
    double: re.Pattern[str]
    spill: re.Pattern[str]
    reload: re.Pattern[str]
    clamp: re.Pattern[str]
    branch: re.Pattern[str]


X86 = Mnemonics(
    fma=re.compile(r"\svfmadd\d*ps\s"),
    other=re.compile(r"\sv(?:add|sub|mul)ps\s"),
    double=re.compile(r"\s(v?(add|sub|mul|div|max|min|fn?m(add|sub)\d*|sqrt)[sp]d|v?cvt(ss2sd|ps2pd))\s"),
    spill=re.compile(r"%[xyz]mm\d+, -?\d*\(%r[sb]p\)"),  # a sum that leaves its register is stored
    reload=re.compile(r"-?\d*\(%r[sb]p\), (?:%[xyz]mm\d+, )?%[xyz]mm\d+"),  # so is what stays the same, but once, outside
    clamp=re.compile(r"\sv?(?:max|min)ps\s"),
    branch=re.compile(r"\sj\w+\s+(\.?LBB\w+)"),
)
_STACK = r"\[sp"
_FLOATS = r"f(?:add|sub|mul|div|mla|mls|max|min|maxnm|minnm|madd|msub|nmadd|nmsub|nmul|sqrt|addp|abd)"
AARCH64 = Mnemonics(  # macOS writes fmla.4s v0, v1, v2 for fmla v0.4s, v1.4s, v2.4s
    fma=re.compile(r"\sfmla(?:\.4s\s+v|\s+v\d+\.4s)"),
    other=re.compile(r"\sf(?:add|sub|mul)(?:\.4s\s+v|\s+v\d+\.4s)"),
    double=re.compile(rf"\s(?:{_FLOATS}(?:\.2d\s|\s+(?:v\d+\.2d|d\d+))|fcvtl2?(?:\.2d\s|\s+v\d+\.2d)|fcvt\s+d\d+, [sh])"),
    spill=re.compile(rf"\sst(?:[ru]|ur|p|np)?\s+[qv]\d+[^\n]*{_STACK}"),
    reload=re.compile(rf"\sld(?:[ru]|ur|p|np|1r?)\s+\{{?\s*[qv]\d+[^\n]*{_STACK}"),
    clamp=re.compile(r"\sf(?:max|min)(?:nm)?[\s.]"),
    branch=re.compile(r"\s(?:b|b\.\w+|cbn?z|tbn?z)\s+(?:[^\n]*, )?(\.?LBB\w+)"),
)

CALL = re.compile(r"\s(?:blr?|callq?)\s")
MOVES_RBP = re.compile(r"\s(?:add|sub|inc|dec|lea|mov)q\s+(?:[^\n]*, )?%rbp\n")


def on_stack(access: re.Pattern[str], block: str) -> list[str]:
    """A loop's spills or reloads: where it moves %rbp, that is a pointer as another, and not the frame's."""
    found = [one[0] for one in access.finditer(block)]
    return [one for one in found if "(%rbp)" not in one] if MOVES_RBP.search(block) else found


def blocks(code: str) -> list[str]:
    """The straight runs of code from one label to the next."""
    return re.split(r"\n(?=\.?LBB\w+:)", code)


def loops(code: str, of: Mnemonics) -> list[str]:
    """The innermost loops: straight runs up to a jump to their own beginning, without calls."""
    found = []
    for block in blocks(code):
        label = block.strip().split(":", 1)[0]
        ends = [jump.end() for jump in of.branch.finditer(block) if jump[1] == label]
        found += [block[: ends[0]]] if ends and not CALL.search(block[: ends[0]]) else []
    return found


def busiest(code: str, of: Mnemonics) -> str:
    """The innermost loop with the most multiply-adds beyond other arithmetic, which transforms have more of.

    Loops of exponentials are none of these. Where no loop has any, the straight run of code.
    """
    summing = [loop for loop in loops(code, of) if of.fma.search(loop) and not of.clamp.search(loop)]
    return max(summing or blocks(code), key=lambda one: len(of.fma.findall(one)) - len(of.other.findall(one)))


def sums(block: str, of: Mnemonics) -> str:
    """A run of code from its first multiply-add to its last."""
    found = list(of.fma.finditer(block))
    return block[found[0].start() : block.index("\n", found[-1].end() - 1)] if found else ""


def instructions(block: str) -> list[str]:
    """The lines that are instructions: no labels, directives or comments."""
    lines = (line.strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith((".", "//", ";", "#", "@")) and not line.endswith(":")]
