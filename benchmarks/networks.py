"""Whole networks of torchvision, converted, beside torch, its compiler and the runtimes that are installed.

    taskset -c 0 python -m benchmarks.networks [--batch 1 8] [--seconds 3] [network ...]

on one thread and float32, random weights. All run in this process, in turn, so that a busy machine slows them alike; a time is
the median of processor time, milliseconds a call. What is not installed has no column.
"""

import argparse
import copy
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import fastconv as fc

try:
    import torch

    import fastconv.torch
except ImportError:  # the folder's modules are imported together, also where torch is not installed
    torch = None

NETWORKS = ("resnet50", "vgg16", "mobilenet_v2", "densenet121", "googlenet", "efficientnet_b0", "fcn_resnet50")
COMPILED = (
    *("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool"),
    *(f"_{name}_backward" for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")),
    *("nms", "qnms", "deform_conv2d", "_cuda_version"),
)
_library = None


def torchvision_models():
    """torchvision.models, where its compiled operators do not load too: it then only needs to know that they are there."""
    global _library
    try:
        import torchvision
    except RuntimeError:
        _library = torch.library.Library("torchvision", "DEF")
        for name in COMPILED:
            _library.define(f"{name}(Tensor a) -> Tensor")
        import torchvision
    return torchvision.models


def network(name):
    """A network in eval mode, with seeded weights and batch norms that have seen data."""
    models = torchvision_models()
    torch.manual_seed(0)
    if name.startswith("fcn"):
        model = getattr(models.segmentation, name)(weights=None, weights_backbone=None)
    else:
        model = getattr(models, name)(weights=None, **({"init_weights": True} if name == "googlenet" else {}))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return model.eval()


def output(y):
    """The one tensor that is compared."""
    return y["out"] if isinstance(y, dict) else y


def with_one_result(model):
    """A network whose result is one tensor, for those that take no dicts."""

    class Tensors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return output(self.model(x))

    return Tensors()


def eager(model, x):
    return lambda: output(model(x))


def eager_channels_last(model, x):
    model, x = copy.deepcopy(model).to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return lambda: output(model(x))


def compiled(model, x):
    found = torch.compile(with_one_result(model))
    return lambda: found(x)


def converted(model, x):
    found = fastconv.torch.convert(model, memory_format=torch.preserve_format)
    return lambda: output(found(x))


def converted_channels_last(model, x):
    found = fastconv.torch.convert(model, memory_format=torch.channels_last)
    return lambda: output(found(x))


def exported(model, x):
    """The network as ONNX."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter that needs no other package
        torch.onnx.export(with_one_result(model), (x,), stream, dynamo=False, input_names=["x"], output_names=["y"])
    return stream.getvalue()


def onnxruntime(model, x):
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = 1, 1, 4
    session = runtime.InferenceSession(exported(model, x), options, providers=["CPUExecutionProvider"])
    array = x.numpy()
    return lambda: torch.from_numpy(session.run(None, {"x": array})[0])


def openvino(model, x):
    import openvino as runtime

    core = runtime.Core()
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(exported(model, x)), "CPU", options).create_infer_request()
    return lambda: torch.from_numpy(next(iter(request.infer({"x": x.numpy()}).values())))


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that this process and its children write reaches the terminal."""
    kept, nothing = [os.dup(number) for number in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nothing, number)
    try:
        yield
    finally:
        for number, one in zip((1, 2), kept, strict=True):
            os.dup2(one, number)
            os.close(one)
        os.close(nothing)


def ncnn(model, x):
    """By pnnx, which makes ncnn's layers of a torch model; one image at a time is all that ncnn takes."""
    import ncnn as runtime
    import pnnx

    if len(x) > 1:
        raise ValueError("ncnn takes one image at a time")
    net = runtime.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    with tempfile.TemporaryDirectory() as folder, silence():
        pnnx.export(with_one_result(model), str(Path(folder, "model.pt")), (x,), fp16=False)
        net.load_param(str(Path(folder, "model.ncnn.param")))
        net.load_model(str(Path(folder, "model.ncnn.bin")))
    image = x.numpy()[0].copy()

    def call():
        run = net.create_extractor()
        run.input("in0", runtime.Mat(image))  # which keeps no array alive
        return torch.from_numpy(np.array(run.extract("out0")[1]))[None]

    return call


CONTENDERS = {
    "torch": eager,
    "torch NHWC": eager_channels_last,
    "compiled": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "ncnn": ncnn,
    "fastconv": converted,
    "fastconv NHWC": converted_channels_last,
}
OURS = ("fastconv", "fastconv NHWC")


def measured(name, batch, seconds, wanted):
    """(milliseconds of each contender that runs and is right, why each other one does not)."""
    model = network(name)
    x = torch.randn(batch, 3, 224, 224)
    calls, reasons, times = {}, {}, {}
    expected = output(model(x))
    for contender in wanted:
        try:
            call = CONTENDERS[contender](model, x)
            far = (call() - expected).abs().max().item() / expected.abs().max().item()
        except Exception as error:
            reasons[contender] = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            continue
        if far >= 1e-4:
            assert contender not in OURS, (name, contender, far)
            reasons[contender] = f"of {name} it gives {far:.1g} of the largest output too much or too little"
            continue
        calls[contender], times[contender] = call, []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds * len(calls) or len(times[next(iter(times))]) < 3:
        for contender, call in calls.items():
            start = time.thread_time()
            call()
            times[contender].append(time.thread_time() - start)
    return {contender: 1e3 * statistics.median(found) for contender, found in times.items()}, reasons


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="network", help=", ".join(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each contender of each network")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    chosen = parser.parse_args()
    if torch is None:
        parser.error("torch is not installed")
    fc.set_num_threads(1)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print(f"{'network':18}{'batch':>6}" + "".join(f"{one:>15}" for one in chosen.contenders) + f"{'ratio':>8}")
    told: dict[str, str] = {}  # reasons, and the contender whose they are
    for name in chosen.networks:
        for batch in chosen.batch:
            found, reasons = measured(name, batch, chosen.seconds, chosen.contenders)
            told |= {reason: contender for contender, reason in reasons.items()}
            cells = [f"{found[one]:15.1f}" if one in found else f"{'-':>15}" for one in chosen.contenders]
            theirs = [value for one, value in found.items() if one not in OURS]
            ours = [value for one, value in found.items() if one in OURS]
            ratio = f"{min(theirs) / min(ours):7.2f}x" if theirs and ours else ""
            print(f"{name:18}{batch:6}" + "".join(cells) + ratio, flush=True)
    for reason, contender in told.items():
        print(f"{contender}: {reason}")


if __name__ == "__main__":
    main()
