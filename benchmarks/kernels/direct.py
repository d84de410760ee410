"""Dense convolutions: every implementation on layers of real networks, in both layouts, on one thread and on two."""

from benchmarks.common import ORDERS, THREADS, _ConvSpeedups, _Plans, served

RESNET = ["resnet50.conv1", "resnet50.res2_1x1a", "resnet50.res3_3x3_s2", "resnet50.res4_1x1b"]
SOUND = ["wavenet.dilated1", "wavenet.dilated512", "wavenet.skip"]
CLIP = ["c3d.conv5"]
UPWARDS = ["unet.up4_2x2", "unet.up1_2x2"]


class Conv2d(_Plans):
    params = (RESNET, served("conv2d"), ORDERS, THREADS)


class Conv1d(_Plans):
    params = (SOUND, served("conv1d"), ORDERS, THREADS)


class Conv3d(_Plans):
    params = (CLIP, served("conv3d"), ORDERS, THREADS)


class Transposed(_Plans):
    params = (UPWARDS, served("conv_transpose2d"), ORDERS, THREADS)


class Speedups(_ConvSpeedups):
    params = (RESNET + SOUND + CLIP + UPWARDS, ORDERS)
