"""SciPy's own test files, run on fastconv's functions in a process of their own by the plugin `scipy_plugin`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HOUR = 3600


def run(folder: Path, room: str, files: tuple[str, ...], left_out: dict[str, str], **options: object) -> dict[str, Any]:
    """The counts of a run of SciPy's test modules on the functions of a room; `left_out` has patterns of ids, and reasons."""
    here, report = Path(__file__).parent, folder / "report.json"
    settings = {"room": room, "left_out": left_out, "report": str(report), **options}
    path = os.pathsep.join((str(here), *filter(None, (os.environ.get("PYTHONPATH"),))))
    environment = os.environ | {"PYTHONPATH": path, "FASTCONV_SCIPY": json.dumps(settings)}
    command = (sys.executable, "-m", "pytest", "-q", "-p", "scipy_plugin", "-p", "no:cacheprovider", "--pyargs", *files)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=HOUR, check=False)
    assert report.exists(), done.stdout[-4000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def passed(found: dict[str, Any]) -> int:
    """How many tests that call fastconv passed, where none failed."""
    assert not found["failed"], "\n".join(f"{name}\n{why}" for name, why in found["failed"].items())
    return int(found["served"]["passed"])
