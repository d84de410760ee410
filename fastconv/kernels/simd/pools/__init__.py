"""Pools: windows reduced to their largest, smallest, mean or norm; max_unpool."""
