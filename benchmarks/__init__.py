"""The asv suite, partitioned like the library: conv, pool, process. See README.md for how to run it."""
