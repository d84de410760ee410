"""The asv suite, partitioned like the library; README.md says how to run it.

conv        dense convolutions in one, two and three dimensions, and transposed ones
winograd    3x3 layers, from large maps to small ones
depthwise   a kernel per channel
planar      image filters of one and three channels
pool        pools of networks and of images
calls       the function, which packs its weights, beside the plan, which has
process     import, the first call of a process, memory
quick       one layer of each kind, for the gate

Every benchmark of a result first compiles what it times and checks it against the reference loops.
"""
