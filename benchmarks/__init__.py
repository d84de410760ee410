"""The asv suite, partitioned like the library; README.md says how to run it.

kernels.direct        dense convolutions in one, two and three dimensions, and transposed ones
kernels.winograd      3x3 layers, from large maps to small ones
kernels.depthwise     a kernel per channel
kernels.filters       image filters of one and three channels
kernels.pools         pools of networks and of images
operations.calls      the function, which packs its weights, beside the plan, which has
operations.process    import, the first call of a process, memory
quick                 one layer of each kind, for the gate

and programs of their own: pools, windows and functions against rivals, regret of `auto`, sameness of two versions.

Every benchmark of a result first compiles what it times and checks it against the reference loops.
"""
