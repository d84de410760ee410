"""The command as a process: its manners on a terminal, in a pipe and when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from commands import FEW, SMALL

pytest.importorskip("rich", reason="tables need rich")


def process(*arguments, **options):
    """The command as a process of its own."""
    command = [sys.executable, "-m", "fastconv", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_ends_a_real_process_cleanly():
    program = (
        "import signal, sys; from fastconv import cli; from fastconv.measuring import measure as measuring\n"
        "real = measuring._run\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where a shell put the tests in the background
        "def run(*arguments): print('begun', flush=True); real(*arguments)\n"
        "measuring._run = run; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        program,
        "compare",
        "--layer",
        "vgg19.conv3_2",
        "--implementations",
        "loops",
        "--seconds",
        "60",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "begun" not in (line := running.stdout.readline()):
            assert line, running.communicate()
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Interrupted" in out
    assert "Traceback" not in err


def test_a_pipe_gets_no_colour_and_no_progress_and_may_close_early():
    running = process("compare", *FEW[1:], env={**os.environ, "TERM": "xterm-256color", "OPENBLAS_CORETYPE": "Haswell"})
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert "\x1b" not in out
    with process("layers") as running:
        assert running.stdout is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.wait(timeout=60) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_gets_progress_with_the_time_left_and_colour_unless_told_not_to(plain):
    import pty

    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {
        "TERM": "xterm-256color",
        "COLUMNS": "80",
    }
    if plain:
        environment["NO_COLOR"] = "1"
    command = [sys.executable, "-m", "fastconv", *SMALL[:-1], "0.3", "--implementations", "loops,reference"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        out = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            out += piece
        assert running.wait(timeout=60) == 0
    os.close(ours)
    text = out.decode()
    assert "conv2d: loops: round" in text
    assert re.search(r"\d:\d\d:\d\d", text), "the time left"
    coloured = re.search(r"\x1b\[[0-9;]*3[0-7]m|\x1b\[[0-9;]*38;", text) is not None
    assert coloured != plain
