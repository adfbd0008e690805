"""The peers that are Python packages.

Each module has `opened(job)`, a context manager that prepares what does not count and yields the
query: a function that returns the answer, or writes `job.output` in mode `copy`.
"""
