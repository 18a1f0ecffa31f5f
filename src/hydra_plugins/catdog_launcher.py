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
from importlib import import_module
from itertools import islice
from multiprocessing import forkserver
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from tqdm import tqdm

from catdog.errors import check_whole_number
from catdog.files import METRICS
from catdog.interruption import SIGNALS

MEMORY_OF_RUN = 0.6e9  # bytes; less where processes share memory, more for wide layers: docs/performance.md
PATIENCE = 30.0  # seconds until a process that ignores SIGTERM is killed
RESUMES = "the same command runs the rest"


@dataclass(frozen=True)
class Run:
    """A run of the multirun, composed and executed in a worker process."""

    context: HydraContext
    config: DictConfig  # of the multirun
    task: tuple[str, str]  # module and name of the function that `hydra.main` decorates
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
        """Run the task, with all that it prints in the log of its folder; return whether it has trained, too."""
        config = self._compose()
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        folder.mkdir(parents=True, exist_ok=True)
        before = (folder / METRICS).exists()
        with open(folder / f"{config.hydra.job.name}.log", "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        module, name = self.task
        task = getattr(import_module(module), name).__wrapped__
        returned = run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=self.context)
        sys.stdout.flush()  # into this run's log, not the next one's
        return returned, (folder / METRICS).exists() and not before

    def _compose(self) -> DictConfig:
        """Compose the run's configuration, without the console's log where a file has the same lines."""
        setup_globals()
        JobRuntime.instance().set("name", self.config.hydra.job.name)
        config = self.context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
            handlers = OmegaConf.select(config, "hydra.job_logging.root.handlers") or ()
            if "file" in handlers:
                config.hydra.job_logging.root.handlers = [name for name in handlers if name != "console"]
        HydraConfig.instance().set_config(config)
        return config


class Progress:
    """One line on all runs, such as `run 17 of 60, 4 at a time, about 6 min left`."""

    def __init__(self, runs: Sequence[Run], at_once: int) -> None:
        self.runs, self.at_once, self.finished = len(runs), at_once, 0
        self._ahead, self._trained = sum(run.epochs for run in runs), 0.0  # epochs
        self._started = time.monotonic()
        self._end: float | None = None  # estimated

    def finish(self, run: Run, trained: bool) -> None:
        """Count a run as finished; not `trained`: in no time, as it was finished before or has failed."""
        self.finished += 1
        self._ahead -= run.epochs
        if trained:
            self._trained += run.epochs
            now = time.monotonic()
            self._end = now + (now - self._started) * self._ahead / self._trained

    def __str__(self) -> str:
        """Format the line."""
        line = f"run {self.finished} of {self.runs}, {self.at_once} at a time"
        if self._end is None or self.finished == self.runs:
            return line
        left = max(0.0, self._end - time.monotonic())
        return f"{line}, about {left / 60:.0f} min left" if left >= 90 else f"{line}, about {left:.0f} s left"


class ProcessLauncher(Launcher):
    """Launcher of the task in several processes, with one line of progress; a run prints to the log in its folder.

    `jobs` is the number of runs at once; None: as many as `room` counts, but 1 if the first run trains on a GPU.
    """

    def __init__(self, jobs: int | None = None) -> None:
        check_whole_number("jobs", 1 if jobs is None else jobs, least=1)
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over the multirun's configuration, as Hydra asks a launcher to."""
        self.context, self.config = hydra_context, config
        self.task = task_function.__module__, task_function.__name__

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all, after the first one's photos are decoded; SystemExit if the command or a process was stopped."""
        check_whole_number("threads", self.config.threads, least=1)
        numbered = enumerate(job_overrides, initial_job_idx)
        runs = [Run(self.context, self.config, self.task, overrides, number) for number, overrides in numbered]
        processes, returned = self.jobs or min(room(self.config.threads), len(runs)), dict[int, JobReturn]()
        try:
            with _pool(processes) as pool:
                on_gpu = pool.submit(runs[0].prepare).result()
                _execute(pool, runs, 1 if on_gpu and self.jobs is None else processes, returned)
        except KeyboardInterrupt:
            sys.exit(f"catdog: interrupted after {len(returned)} of {len(runs)} runs; {RESUMES}")
        except SystemExit as end:  # of a run: an interpolation that cannot be resolved, or a signal
            sys.exit(end.code if isinstance(end.code, str) else f"catdog: a run's process was stopped; {RESUMES}")
        except (BrokenProcessPool, ConnectionError, EOFError):
            sys.exit(f"catdog: a run's process was killed; if memory was short, jobs=1 needs less; {RESUMES}")
        return [returned[run.number] for run in runs]


def room(threads: int) -> int:
    """Count the runs of so many threads that this machine's cores and memory have room for."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores // threads, int(memory / MEMORY_OF_RUN)))


def _execute(pool: ProcessPoolExecutor, runs: Sequence[Run], at_once: int, returned: dict[int, JobReturn]) -> None:
    """Execute runs, the longest first, so that no core is idle at the end; show their progress.

    Only `at_once` runs are submitted at a time, so a process has no other one waiting when it is stopped.
    """
    waiting, progress = iter(sorted(runs, key=lambda run: -run.epochs)), Progress(runs, at_once)
    running: dict[Future[tuple[JobReturn, bool]], Run] = {}
    while True:
        running |= {pool.submit(run.execute): run for run in islice(waiting, at_once - len(running))}
        if sys.stderr.isatty():
            print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)
        if not running:
            return
        for future in wait(running, 1.0, FIRST_COMPLETED).done:
            run = running.pop(future)
            returned[run.number], trained = future.result()
            progress.finish(run, trained)
            if not sys.stderr.isatty():
                print(progress, file=sys.stderr, flush=True)


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
        pool.submit(int).result()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield pool
        pool.shutdown()
    except BaseException:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second one would leave processes behind
        pool.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + PATIENCE
        while workers := multiprocessing.active_children():
            for worker in workers:  # repeatedly: the first SIGTERM ends a run in order, the next one the process
                worker.terminate() if time.monotonic() < deadline else worker.kill()
            time.sleep(0.2)
        raise


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it ends: a killed parent stops no process."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent
        parent.join()
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # blocked in the parent while this process starts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process would leave
    threading.Thread(target=watch, daemon=True).start()
