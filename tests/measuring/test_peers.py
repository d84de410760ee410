"""Peers compute what fastconv computes, in processes that never hang, never outlive their block, and say why they refuse."""

import importlib.metadata
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

import fastconv as api
from fastconv.measuring.checking import error_of, sample
from fastconv.measuring.layers import Layer
from fastconv.measuring.peers import NAMES, Case, Peer, PeerError, opened, process
from fastconv.measuring.peers.worker import HOMES
from fastconv.plans.timing import timed_round

POOL3 = (("kernel_size", 3), ("stride", 2), ("padding", 1))
SAME5 = (("kernel_size", 5), ("stride", 1), ("padding", 2))
VALID = (("kernel_size", (4, 3)), ("stride", 1))
REFLECT = (("padding", ((1, 2), (0, 1))), ("padding_mode", "reflect"), ("activation", "relu6"))
UNEVEN = (("stride", (2, 1)), ("padding", (0, 2)), ("dilation", (2, 1)), ("activation", "relu6"))
EVERYONE, FRAMEWORKS = NAMES, NAMES[:4]
PHONES = ("ncnn", "mnn")  # libraries for images, made for phones
CASES = [
    (Layer("conv2d", "conv2d", (2, 3, 9, 8), (4, 3, 3, 3), (("padding", 1),)), (*FRAMEWORKS, *PHONES)),
    (Layer("conv2d-last", "conv2d", (2, 3, 9, 8), (4, 3, 3, 3), (("stride", 2),), channels_last=True), (*FRAMEWORKS, *PHONES)),
    (Layer("grouped", "conv2d", (1, 4, 9, 8), (6, 2, 3, 3), (("groups", 2), ("dilation", 2))), (*FRAMEWORKS, "ncnn")),
    (Layer("reflected", "conv2d", (1, 2, 9, 8), (3, 2, 3, 3), REFLECT), FRAMEWORKS),
    (
        Layer("causal", "conv1d", (1, 3, 40), (4, 3, 2), (("padding", ((4, 0),)), ("dilation", 4))),
        FRAMEWORKS[:1] + FRAMEWORKS[2:],
    ),
    (Layer("conv3d", "conv3d", (1, 2, 5, 6, 7), (3, 2, 3, 3, 3), (("padding", 1),)), FRAMEWORKS),
    (Layer("transposed", "conv_transpose2d", (1, 4, 5, 6), (4, 3, 2, 2), (("stride", 2),)), (*FRAMEWORKS, "ncnn")),
    (Layer("filter", "conv2d", (1, 1, 20, 21), (1, 1, 5, 5), (("padding", 2),)), EVERYONE),
    (Layer("filter-valid", "conv2d", (2, 1, 20, 21), (3, 1, 3, 5)), EVERYONE),
    (
        Layer("filter-rgb", "conv2d", (1, 3, 20, 21), (3, 1, 5, 5), (("padding", 2), ("groups", 3)), channels_last=True),
        EVERYONE,
    ),
    (Layer("max-strided", "max_pool2d", (2, 3, 9, 8), None, POOL3), (*FRAMEWORKS, "ncnn")),
    (Layer("max-same", "max_pool2d", (2, 3, 9, 8), None, SAME5), EVERYONE),
    (Layer("max-last", "max_pool2d", (2, 3, 9, 8), None, VALID, channels_last=True), EVERYONE),
    (Layer("min-valid", "min_pool2d", (2, 3, 9, 8), None, VALID), ("cv2", "scipy")),
    (Layer("avg-strided", "avg_pool2d", (2, 3, 9, 8), None, (*POOL3, ("count_include_pad", False))), (*FRAMEWORKS, "ncnn")),
    (Layer("avg-same", "avg_pool2d", (2, 3, 9, 8), None, SAME5), tuple(name for name in NAMES if name != "mnn")),
    (Layer("lp", "lp_pool2d", (1, 2, 9, 8), None, (("norm_type", 2), ("kernel_size", 3))), FRAMEWORKS),
    (Layer("max3d", "max_pool3d", (1, 2, 5, 6, 7), None, (("kernel_size", 2),)), FRAMEWORKS),
    (Layer("median-same", "median_pool2d", (2, 3, 9, 8), None, SAME5), ("scipy",)),
    (Layer("adaptive", "adaptive_avg_pool2d", (1, 2, 9, 8), None, (("output_size", 1),)), (*FRAMEWORKS, "ncnn")),
    (Layer("uneven", "conv2d", (1, 3, 12, 15), (4, 3, 3, 5), UNEVEN), (*FRAMEWORKS, *PHONES)),
]


def built(layer, dtype=np.float32):
    """(case, sample of the reference) of a layer."""
    x, w = layer.arrays(dtype)
    weights = () if w is None else (w,)
    plan = getattr(api, layer.operation).plan(x.shape, *weights, x_dtype=dtype, layout=layer.layout, **layer.kwargs)
    return Case(plan.geometry, x, w), sample(plan.geometry, x, w, None, plan.out_dtype, 60)


@pytest.fixture(scope="module")
def peers():
    """One running process for each library, started side by side."""
    with opened() as running:
        yield {peer.name: peer for peer in running}


@pytest.fixture
def installed(peers):
    """The peer of a name, or a skip with its reason."""

    def find(name):
        if peers[name].start() is not None:
            pytest.skip(f"{name}: {peers[name].reason}")
        return peers[name]

    return find


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("layer", "servers"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_a_peer_computes_what_the_reference_does_or_refuses(installed, layer, servers, name):
    peer = installed(name)
    case, expected = built(layer)
    reason = peer.prepare(case)
    if name not in servers:
        assert reason
        return
    assert reason is None
    y = peer.result()
    assert y.dtype == np.float32
    assert y.size == expected.total
    assert expected.check(y, error_of(layer.operation, name))[1] is None


@pytest.mark.parametrize("name", ["torch", "cv2", "scipy"])
def test_double_precision_is_computed_in_double_precision(installed, name):
    case, expected = built(CASES[7][0], np.float64)
    peer = installed(name)
    assert peer.prepare(case) is None
    assert expected.check(peer.result(), error_of(CASES[7][0].operation, name))[1] is None


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("cv2", CASES[0][0], "does not sum over channels"),
        ("cv2", CASES[10][0], "stride 1 only"),
        ("scipy", CASES[2][0], "no dilation"),
        ("torch", CASES[13][0], "no min pool"),
        ("torch_channels_last", CASES[4][0], "no channels_last memory for 1-D"),
        ("onnxruntime", CASES[13][0], "no min pool"),
    ],
)
def test_a_case_that_a_library_lacks_is_refused_with_the_reason(installed, name, layer, reason):
    assert reason in installed(name).prepare(built(layer)[0])


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_weights_that_come_with_each_call(installed, name):
    """Served by what is called with them; what runs a model that was told them before is no rival of a function."""
    case, expected = built(CASES[4 if name == "onnxruntime" else 0][0])
    peer, case = installed(name), replace(case, called=True)
    if name == "openvino":
        assert "runs models" in peer.prepare(case)
    else:
        assert peer.prepare(case) is None
        assert expected.check(peer.result(), error_of("conv2d", name))[1] is None


def test_after_a_refusal_the_next_case_runs(installed):
    peer = installed("scipy")
    assert peer.prepare(built(CASES[0][0])[0])
    with pytest.raises(PeerError, match="no case is prepared"):
        peer.result()
    assert peer.prepare(built(CASES[7][0])[0]) is None
    assert peer.run(0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_round_gives_times_and_lasts_as_long_as_asked(installed, name):
    peer = installed(name)
    assert peer.prepare(built(CASES[7][0])[0]) is None
    times = peer.run(0.05)
    assert all(seconds > 0 for seconds in times)
    assert 0.001 < sum(times) < 5 or len(times) == 1  # of this process alone: others may have had the rest


@pytest.mark.parametrize("name", NAMES)
def test_a_peer_tells_its_version(installed, name):
    package = {"cv2": "opencv-python-headless", "torch_channels_last": "torch"}.get(name, name)
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} comes under another name")
    assert version.startswith(installed(name).version)


def test_ctrl_c_is_left_to_the_caller(installed):
    peer = installed("scipy")
    os.kill(peer._process.pid, signal.SIGINT)
    assert peer.prepare(built(CASES[7][0])[0]) is None


# Processes that go wrong ------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_cv2(tmp_path, monkeypatch):
    """Puts a module in the place of cv2, in processes that start from here."""

    def place(source):
        (tmp_path / "cv2.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return Peer("cv2")

    return place


def gone(peer):
    """Whether the peer's process has ended."""
    return peer._process.poll() is not None


def test_a_missing_library_is_a_reason(fake_cv2):
    with fake_cv2("raise ModuleNotFoundError('No module', name='cv2')") as peer:
        assert peer.start() == "cv2 is not installed"
        assert peer.prepare(built(CASES[7][0])[0]) == "cv2 is not installed"
        with pytest.raises(PeerError, match="cv2 is not installed"):
            peer.run(0.01)


def test_a_library_that_cannot_be_imported_is_a_reason(fake_cv2):
    with fake_cv2("print('noise'); raise ImportError('libGL.so.1: cannot open')") as peer:
        assert peer.start() == "ImportError: libGL.so.1: cannot open"


def test_a_process_that_ends_is_a_reason(fake_cv2):
    with fake_cv2("import os; os._exit(3)") as peer:
        assert peer.start() == "its process ended (exit status 3)"


def test_a_process_that_hangs_is_ended(fake_cv2, monkeypatch):
    monkeypatch.setattr(process, "START_LIMIT", 0.3)
    with fake_cv2("import time; time.sleep(1000)") as peer:
        begin = time.monotonic()
        assert "no answer within" in peer.start()
        assert time.monotonic() - begin < 10
        assert gone(peer)


def test_an_interrupt_while_waiting_ends_the_process(fake_cv2, monkeypatch):
    with fake_cv2("import time; time.sleep(1000)") as peer:

        def interrupted(timeout):
            raise KeyboardInterrupt

        monkeypatch.setattr(peer._answers, "get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            peer.start()
        assert gone(peer)
        assert peer.reason == "interrupted"


def test_leaving_the_block_ends_every_process():
    def leave():
        with opened(["scipy", "cv2"]) as running:
            left.extend(running)
            raise KeyboardInterrupt

    left = []
    with pytest.raises(KeyboardInterrupt):
        leave()
    assert len(left) == 2
    assert all(map(gone, left))
    assert all(peer.prepare(built(CASES[7][0])[0]) == "closed" for peer in left)


def test_peers_start_with_one_number_of_threads_and_without_what_misleads_blas(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = process.environment(3)
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & found.keys()
    assert [found[name] for name in process.THREAD_VARIABLES] == ["3", "3", "3"]


def test_an_unknown_name_is_an_error_and_every_name_has_a_home():
    with pytest.raises(ValueError, match=r"name must be one of torch, .*, got 'tensorflow'"):
        Peer("tensorflow")
    assert set(HOMES) == set(NAMES)


def test_a_round_of_a_slow_call_is_one_call():
    calls = []

    def work():
        calls.append(1)
        end = time.process_time() + 0.03
        while time.process_time() < end:
            pass

    times = timed_round(work, 0.01)
    assert len(times) == len(calls) == 1


def test_what_a_peer_answers_is_made_of_plain_types(peers):
    for peer in peers.values():
        peer.start()
        assert type(peer.version) is str  # torch has a kind of its own, whose unpickling would import torch here
