"""Hydra launcher: the runs of a multirun side by side, in as many processes as the machine has room for."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from catdog import job
from catdog.errors import check_whole_number
from catdog.files import METRICS
from catdog.interruption import SIGNALS

MEMORY_OF_RUN = 0.6e9  # bytes; docs/performance.md
REFRESH = 1.0  # seconds between updates of the progress line
RESUMES = "the same command runs the rest"


@dataclass(frozen=True)
class Run:
    """A run of the multirun, composed and executed in a worker process."""

    context: HydraContext
    config: DictConfig  # of the multirun
    overrides: Sequence[str]
    number: int

    @property
    def epochs(self) -> float:
        """Epochs, which the run's time is proportional to; 1 if all runs have as many."""
        values = (override.removeprefix("trainer.max_epochs=") for override in self.overrides)
        return next((float(value) for value in values if value.isdigit()), 1.0)

    def prepare(self) -> bool:
        """Decode the run's photos, with a progress bar; return whether it is to train on a GPU."""
        import torch  # here, because the command itself does without

        config = self._compose()
        with suppress(Exception):  # the run will report it
            instantiate(config.data, _convert_="all").prepare_data()
        return config.trainer.accelerator != "cpu" and torch.accelerator.is_available()

    def execute(self) -> tuple[JobReturn, bool]:
        """Run the job, with all that it prints in the log of its folder; return whether it was finished before, too."""
        config = self._compose()
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{config.hydra.job.name}.log", "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        before = (folder / METRICS).exists()
        return run_job(job.train, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=self.context), before

    def _compose(self) -> DictConfig:
        """Compose the run's configuration, without the console's log."""
        setup_globals()
        JobRuntime.instance().set("name", self.config.hydra.job.name)
        config = self.context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
            config.hydra.job_logging.root.handlers = ["file"]
        HydraConfig.instance().set_config(config)
        return config


class Progress:
    """One line on all runs, such as `run 17 of 60, 4 at a time, about 6 min left`.

    Attributes:
        at_once: number of runs at once.
        finished: number of finished runs.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs, self.at_once, self.finished = len(runs), 1, 0
        self._waiting = sum(run.epochs for run in runs)  # epochs of unfinished runs
        self._trained = self._seconds = 0.0  # epochs and time of runs that this command has finished
        self._started: dict[int, float] = {}  # of the running ones
        self._printed = -1

    def start(self, run: Run) -> None:
        """Start a run's clock."""
        self._started[run.number] = time.monotonic()

    def finish(self, run: Run, before: bool) -> None:
        """Count a run as finished, `before` if by an earlier command."""
        self.finished += 1
        self._waiting -= run.epochs
        seconds = time.monotonic() - self._started.pop(run.number)
        if not before:
            self._trained, self._seconds = self._trained + run.epochs, self._seconds + seconds

    def show(self) -> None:
        """Print the line to standard error: over the one before on a terminal, else once for every finished run."""
        line = f"run {self.finished} of {self.runs}, {self.at_once} at a time"
        if self._trained and self._started:
            elapsed = sum(time.monotonic() - started for started in self._started.values())
            work = self._seconds / self._trained * self._waiting - elapsed
            left = max(0.0, work / min(self.at_once, self.runs - self.finished))
            line += f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
        if sys.stderr.isatty():
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif self._printed != self.finished:
            print(line, file=sys.stderr, flush=True)
        self._printed = self.finished


class ProcessLauncher(Launcher):
    """Launcher of `catdog.job.train` in several processes, with one line of progress for all runs.

    What a run prints goes to the log in its folder.

    Args:
        jobs: number of runs at once; None for as many as there are cores and memory for them, and 1 on a GPU.
    """

    def __init__(self, jobs: int | None = None) -> None:
        check_whole_number("jobs", 1 if jobs is None else jobs, least=1)
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over the multirun's configuration, as Hydra asks a launcher to."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Decode the photos of the first run, then run all; return what Hydra's `run_job` returned, in order.

        Raises:
            SystemExit: the command was interrupted, or a process was killed.
        """
        numbered = enumerate(job_overrides, initial_job_idx)
        runs = [Run(self.context, self.config, overrides, number) for number, overrides in numbered]
        progress, processes = Progress(runs), self.jobs or min(room(), len(runs))
        try:
            with _pool(processes) as pool:
                on_gpu = pool.submit(runs[0].prepare).result()
                progress.at_once = 1 if on_gpu and self.jobs is None else processes
                return _execute(pool, runs, progress)
        except KeyboardInterrupt:
            sys.exit(f"catdog: interrupted after {progress.finished} of {len(runs)} runs; {RESUMES}")
        except SystemExit as end:  # of a run: an interpolation that cannot be resolved, or a signal
            sys.exit(end.code if isinstance(end.code, str) else f"catdog: a run's process was stopped; {RESUMES}")
        except (BrokenProcessPool, EOFError):
            sys.exit(f"catdog: a run's process was killed; if memory was short, jobs=1 needs less; {RESUMES}")


def room() -> int:
    """Count the runs that the cores and the memory of this machine have room for."""
    affinity = getattr(os, "sched_getaffinity", None)  # of the cores, those that this process may use; Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # a container's limits; without one, or elsewhere than on Linux: no numbers
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, -(-int(quota) // int(period)))
    with suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(1, min(cores, int(memory / MEMORY_OF_RUN)))


def _execute(pool: ProcessPoolExecutor, runs: Sequence[Run], progress: Progress) -> list[JobReturn]:
    """Execute runs, `progress.at_once` at a time: a process then never has another one waiting when it is stopped."""
    returned: dict[int, JobReturn] = {}
    longest_first = iter(sorted(runs, key=lambda run: -run.epochs))  # so that no core is idle at the end
    running = dict[Future[tuple[JobReturn, bool]], Run]()
    while len(returned) < len(runs):
        for run in islice(longest_first, progress.at_once - len(running)):
            progress.start(run)
            running[pool.submit(run.execute)] = run
        progress.show()
        for future in wait(running, REFRESH, FIRST_COMPLETED).done:
            run = running.pop(future)
            returned[run.number], before = future.result()
            progress.finish(run, before)
    progress.show()
    return [returned[run.number] for run in runs]


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool whose processes end with the block, and with this process even if it is killed.

    On Linux they are forked from one process that has imported PyTorch and Lightning, and share that memory.
    """
    method = "spawn"
    if sys.platform == "linux":
        method = "forkserver"
        multiprocessing.set_forkserver_preload(["catdog.job", "catdog.training"])
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for this process alone
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, handler)
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context(method), initializer=_start_worker)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a process whose start is cut off would complain
        pool.submit(int)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield pool
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while workers := multiprocessing.active_children():  # repeatedly: the first signal ends a run in order
            for worker in workers:
                worker.terminate()
                worker.join(0.2)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends: a killed parent stops no process."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent
        parent.join()
        while True:  # the first ends the run in order, the next one the process
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
