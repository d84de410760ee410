"""A pytest plugin that runs SciPy's own test files on fastconv's functions.

    FASTCONV_SCIPY='{"room": "signal", "left_out": {"TestFoo::test_bar": "why"}, "report": "report.json"}' \
        python -m pytest -p scipy_plugin --pyargs scipy.signal.tests.test_signaltools

Before any test file is imported, the functions of `fastconv.<room>.__all__` take the place of scipy.<room>'s, without a way
back to SciPy's own: a call that fastconv does not serve fails. Options, as JSON in the environment:

room : "signal" or "ndimage"
left_out : patterns of ids of tests, as in re.search, and the reasons why these are not run
share, seed : the share of the tests that call these functions to run, drawn by the seed; all by default
report : the file to which the counts go

A test "calls these functions" if fastconv was called while it ran, which is counted; others are SciPy's own affair.
"""

import functools
import importlib
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

OPTIONS = json.loads(os.environ.get("FASTCONV_SCIPY", '{"room": "signal"}'))
CALLS: Counter[str] = Counter()
OUTCOMES: dict[str, str] = {}
MESSAGES: dict[str, str] = {}
LEFT: dict[str, str] = {}
SERVED: set[str] = set()


def counted(function, name):
    """The function, whose calls are counted."""

    @functools.wraps(function)
    def called(*arguments, **options):
        CALLS[name] += 1
        return function(*arguments, **options)

    return called


def replace(room):
    """Put fastconv's functions into the public module, and their entries into SciPy's table of capabilities."""
    ours, theirs = importlib.import_module(f"fastconv.{room}"), importlib.import_module(f"scipy.{room}")
    try:
        from scipy._lib._array_api import xp_capabilities_table as capabilities
    except ImportError:  # an older SciPy
        capabilities = {}
    for name in ours.__all__:
        original = getattr(theirs, name, None)
        if not callable(original):
            continue
        function = counted(getattr(ours, name), name)
        for one in (original, getattr(original, "__wrapped__", None)):
            if one in capabilities:
                capabilities[function] = capabilities[one]
        setattr(theirs, name, function)


replace(OPTIONS["room"])


def pytest_collection_modifyitems(config, items):
    """Leave out what is named, then draw."""
    kept = []
    for item in items:
        reason = next((why for pattern, why in OPTIONS.get("left_out", {}).items() if re.search(pattern, item.nodeid)), None)
        if reason is None:
            kept.append(item)
        else:
            LEFT[item.nodeid] = reason
    share = OPTIONS.get("share", 1)
    if share < 1:
        kept = random.Random(OPTIONS.get("seed", 0)).sample(kept, max(1, int(share * len(kept))))
    names = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in names])
    items[:] = [item for item in items if item in names]


def pytest_runtest_setup(item):
    item.calls_before = sum(CALLS.values())


def pytest_runtest_teardown(item):
    if sum(CALLS.values()) > getattr(item, "calls_before", 0):
        SERVED.add(item.nodeid)


def pytest_runtest_logreport(report):
    """What became of each test, but for what its teardown says of one that failed."""
    if report.when == "call" or (report.outcome != "passed" and report.nodeid not in OUTCOMES):
        OUTCOMES[report.nodeid] = report.outcome
        if report.failed:
            MESSAGES[report.nodeid] = str(report.longrepr)[-2000:]


def pytest_sessionfinish():
    """The counts, of tests that called fastconv, and of all."""
    if "report" not in OPTIONS:
        return
    found = {
        "outcomes": Counter(OUTCOMES.values()),
        "served": Counter(OUTCOMES[name] for name in SERVED if name in OUTCOMES),
        "failed": MESSAGES,
        "left_out": LEFT,
        "calls": CALLS,
    }
    Path(OPTIONS["report"]).write_text(json.dumps(found))
