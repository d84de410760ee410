"""The public functions, one module a family; each makes a plan and calls it."""

from fastconv.operations.activations import hardswish, leaky_relu, plan_hardswish, plan_leaky_relu, plan_silu, silu
from fastconv.operations.adaptive_avg_pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    plan_adaptive_avg_pool1d,
    plan_adaptive_avg_pool2d,
    plan_adaptive_avg_pool3d,
)
from fastconv.operations.adaptive_max_pool import (
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    plan_adaptive_max_pool1d,
    plan_adaptive_max_pool2d,
    plan_adaptive_max_pool3d,
)
from fastconv.operations.avg_pool import avg_pool1d, avg_pool2d, avg_pool3d, plan_avg_pool1d, plan_avg_pool2d, plan_avg_pool3d
from fastconv.operations.clips import clip, plan_clip, plan_relu, plan_relu6, relu, relu6
from fastconv.operations.conv import conv1d, conv2d, conv3d
from fastconv.operations.conv_plans import plan_conv1d, plan_conv2d, plan_conv3d
from fastconv.operations.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from fastconv.operations.conv_transpose_plans import plan_conv_transpose1d, plan_conv_transpose2d, plan_conv_transpose3d
from fastconv.operations.global_pool import global_avg_pool, global_max_pool, plan_global_avg_pool, plan_global_max_pool
from fastconv.operations.inspect import explain, get_num_threads, implementations, set_num_threads
from fastconv.operations.lp_pool import lp_pool1d, lp_pool2d, lp_pool3d, plan_lp_pool1d, plan_lp_pool2d, plan_lp_pool3d
from fastconv.operations.max_pool import max_pool1d, max_pool2d, max_pool3d, plan_max_pool1d, plan_max_pool2d, plan_max_pool3d
from fastconv.operations.max_unpool import (
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    plan_max_unpool1d,
    plan_max_unpool2d,
    plan_max_unpool3d,
)
from fastconv.operations.min_pool import min_pool1d, min_pool2d, min_pool3d, plan_min_pool1d, plan_min_pool2d, plan_min_pool3d
from fastconv.operations.warming import warmup
from fastconv.operations.windows import fold, plan_fold, plan_unfold, unfold

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "clip",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "explain",
    "fold",
    "get_num_threads",
    "global_avg_pool",
    "global_max_pool",
    "hardswish",
    "implementations",
    "leaky_relu",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "min_pool1d",
    "min_pool2d",
    "min_pool3d",
    "plan_adaptive_avg_pool1d",
    "plan_adaptive_avg_pool2d",
    "plan_adaptive_avg_pool3d",
    "plan_adaptive_max_pool1d",
    "plan_adaptive_max_pool2d",
    "plan_adaptive_max_pool3d",
    "plan_avg_pool1d",
    "plan_avg_pool2d",
    "plan_avg_pool3d",
    "plan_clip",
    "plan_conv1d",
    "plan_conv2d",
    "plan_conv3d",
    "plan_conv_transpose1d",
    "plan_conv_transpose2d",
    "plan_conv_transpose3d",
    "plan_fold",
    "plan_global_avg_pool",
    "plan_global_max_pool",
    "plan_hardswish",
    "plan_leaky_relu",
    "plan_lp_pool1d",
    "plan_lp_pool2d",
    "plan_lp_pool3d",
    "plan_max_pool1d",
    "plan_max_pool2d",
    "plan_max_pool3d",
    "plan_max_unpool1d",
    "plan_max_unpool2d",
    "plan_max_unpool3d",
    "plan_min_pool1d",
    "plan_min_pool2d",
    "plan_min_pool3d",
    "plan_relu",
    "plan_relu6",
    "plan_silu",
    "plan_unfold",
    "relu",
    "relu6",
    "set_num_threads",
    "silu",
    "unfold",
    "warmup",
]
