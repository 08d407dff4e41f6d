"""Utility benchmarks: the ten closed tasks of arXiv 2603.13461, run by lm-eval in a process of its own."""
