"""Compares datafusion-asof with its peers: the command `benches/compare`.

In reading order:

* `options` reads the flags, `places` knows where files are, `machine` what this machine is.
* `build` makes our programs, `data` the workloads; `workload` is what one consists of.
* `engines` lists who is compared and how one run of each is started; `sql` has the queries.
* `job` is what is asked of an engine and what it replies, `run` what is kept of it.
* `worker` is the process in which a Python peer of `peers` answers.
* `measure` runs one process, `schedule` all of them in turn, `alone` sees that nothing else does;
  `copied` reads back what a process wrote.
* `agreement` compares the answers, `results` keeps every run.
* `statistics`, `table` and `chart` make the report.
* `phases` is a command of its own, `benches/phases`: where the processor time of a workload goes.
* `cluster` is one too, `benches/cluster`: what the same join costs on a cluster of this machine.
"""
