"""``tfnormals`` with small clouds to train on, for processes that tests start under torchrun.

INTERRUPTED_STEP in the environment is the step at which the whole run gets a Ctrl-C.
"""

import os
import signal
import time

from tfnormals import training
from tfnormals.cli import main
from tfnormals.data import batches

SMALL = (
    (batches, "CLOUD_POINTS", (200, 400, 800)),
    (training, "VALIDATION_CLOUDS", 2),
    (training, "VALIDATION_POINTS", 300),
    (training, "SAVE_SECONDS", 0.0),
)
"""What is set to what."""

log = training.Trainer._log


def log_or_stop(trainer, *figures):
    """Interrupts torchrun, as a terminal would, and waits for what comes of it."""
    log(trainer, *figures)
    if trainer.step == int(os.environ.get("INTERRUPTED_STEP", "0")):
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)


if __name__ in ("__main__", "__mp_main__"):  # the second is the process that makes batches
    training.Trainer._log = log_or_stop
    for module, name, value in SMALL:
        setattr(module, name, value)
if __name__ == "__main__":
    main()
