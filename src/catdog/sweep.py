"""What Hydra calls when a multirun has ended."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class ReportCallback(Callback):
    """Compares all runs of a multirun, and gives it a failing exit status where one has failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the report into the sweep's folder."""
        from catdog import report  # here, so that plain runs and --help need not wait for pandas

        folder = Path(config.hydra.sweep.dir)
        comparison = report.compare([folder])
        comparison.save(folder)
        print(f"\n{comparison}\ntable, verdict and figure: {folder / 'comparison.md'}")
        if comparison.failed:
            sys.exit(f"catdog: {comparison.failed} runs failed; the table says which, and why")
