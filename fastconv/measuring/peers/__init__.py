"""The same case in other libraries: torch, onnxruntime, openvino, ncnn, MNN, cv2 and scipy, each in a process of its own.

    case = Case(plan.geometry, x, w, bias)
    with opened(NAMES, threads=1) as peers:
        for peer in peers:
            reason = peer.prepare(case)          # None, or why this peer cannot serve the case
            y = peer.result()                    # to check: channels first, whatever the layout
            times = peer.run(seconds=0.1)        # seconds per call

A process of its own gives each library its own thread pool, and lets the caller take rounds in turn. Every library gets the
same number of threads; input and weights are converted before the clock starts and the output stays where the library
leaves it. A library that is missing or cannot serve a case answers with a reason; nothing waits without a limit.

    process.py     this side: start, ask, stop
    worker.py      the other side: `python -m fastconv.measuring.peers.worker NAME THREADS`, messages over stdin and stdout
    frameworks.py  torch
    onnx_graph.py  onnxruntime and openvino, from one ONNX model
    ncnn_layer.py  ncnn, from parameters and weights
    mnn_session.py MNN, from a model of one layer
    images.py      cv2 and scipy
"""

from fastconv.measuring.peers.case import NAMES, Case
from fastconv.measuring.peers.process import Peer, PeerError, opened

__all__ = ["NAMES", "Case", "Peer", "PeerError", "opened"]
