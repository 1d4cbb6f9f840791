"""Compares frames and messages on one network, in poses it has and has not seen in training.

Every cell, a variant with a seed, is trained for the same processor time on the same clouds. Each
finished one is a line of ``--out``, and is skipped when the command is run again.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from ablation_results import write_results
from ablation_runs import Setup, cells, finished, run

DOCS = Path(__file__).parents[1] / "docs"
TRAINING_SHARE = 0.9
"""Of the time; the rest is for making clouds and for tests."""


def main() -> None:
    """Runs what is missing; with ``--plot`` only draws what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("ablation.jsonl"))
    parser.add_argument("--minutes", type=float, default=165.0, help="for all cells together")
    parser.add_argument("--steps", type=int, help="as many for each cell, however long they take")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--plot", action="store_true", help="write plot and tables to docs/")
    args = parser.parse_args()
    every = cells(args.seeds)
    each = TRAINING_SHARE * 60 * args.minutes * args.processes / len(every)
    setup = Setup(seconds=round(each, 1), steps=args.steps)
    done = finished(args.out, setup)
    if args.plot:
        if not done:
            parser.error(
                f"{args.out}: no cells of this budget; give the options they were run with"
            )
        write_results(done, DOCS)
        return
    missing = [cell for cell in every if cell not in done]
    print(f"{len(missing)} of {len(every)} cells to run: {setup}")
    with ProcessPoolExecutor(
        args.processes, get_context("spawn"), torch.set_num_threads, (1,)
    ) as pool:
        for future in as_completed([pool.submit(run, cell, setup) for cell in missing]):
            row = future.result()
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["frames"], row["messages"], row["seed"], row["poses"], flush=True)


if __name__ == "__main__":
    main()
