"""`predict` with workers of Dask, which are processes of their own."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster
from helpers import run_cli, torus

from tfnormals.cli.journal import JOURNAL
from tfnormals.cli.outcome import Report
from tfnormals.cli.targets import Job
from tfnormals.cli.workers import Crew

pytestmark = pytest.mark.slow
NAMES = [f"{number}.xyz" for number in range(4)]


@pytest.fixture(scope="module")
def cluster():
    """Two workers and their scheduler."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=None,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    ) as started:
        yield started


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Clouds in the working folder, and a folder for the results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for seed, name in enumerate(NAMES):
        np.savetxt(name, torus(300, np.random.default_rng(seed))[0])
    return NAMES


def results(folder="out"):
    return {
        path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != JOURNAL
    }


@pytest.fixture
def expected(scans, model):
    """The files of a run without workers, with the threads of a worker."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    Path("alone").mkdir()
    assert run_cli("predict", *scans, "-o", "alone", "--model", model) == 0
    torch.set_num_threads(threads)
    return results("alone")


def test_tiles_are_done_by_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    points, normals = torus(6000, np.random.default_rng(0))
    left = points[:, 0] < 0
    for name, half in (("left.npy", left), ("right.npy", ~left)):
        np.save(name, points[half])

    code = run_cli("predict", "left.npy", "right.npy", "-o", "out", "--together", "--workers", 2)

    assert code == 0
    for name, half in (("left.npy", left), ("right.npy", ~left)):
        assert (np.load(f"out/{name}")[:, 3:6] * normals[half]).sum(1).min() > 0


def test_workers_write_the_same_files(scans, model, expected, capsys, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    Path("few.xyz").write_text("1 2 3\n")
    arguments = ("few.xyz", *scans, "-o", "out", "--model", model)

    assert run_cli("predict", *arguments, "--workers", 2) == 1

    assert results() == expected
    err = capsys.readouterr().err
    assert err.count("300 points in ") == 4
    assert "tfnormals: few.xyz: 1 usable point; at least 17 are needed\n" in err
    assert err.endswith("tfnormals: 1 of 5 clouds failed\n")
    assert run_cli("predict", *arguments, "--resume") == 1
    assert "4 of 5 clouds were finished before" in capsys.readouterr().err
    assert results() == expected


def test_a_scheduler_has_its_workers_write_the_same_files(scans, model, expected, cluster):
    arguments = ("-o", "out", "--model", model, "--scheduler", cluster.scheduler_address)

    assert run_cli("predict", *scans, *arguments) == 0

    assert results() == expected


def kill_the_reader(address, pipe, killed):
    """Kills the worker that reads a pipe, and lets the next one find the whole file."""
    with Client(address, set_as_default=False) as client:
        busy = []
        while len(results()) < 2 or len(busy) != 1:
            time.sleep(0.05)
            busy = [worker for worker, keys in client.processing().items() if keys]
        pids = client.run(os.getpid, workers=busy)
        text = pipe.with_name("0.xyz").read_text()
        pipe.unlink()
        pipe.write_text(text)
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_the_cloud_of_a_killed_worker_is_done_by_another(
    scans, model, expected, cluster, tmp_path
):
    pipe, killed = tmp_path / "pipe.xyz", []
    os.mkfifo(pipe)
    address = cluster.scheduler_address
    killer = threading.Thread(target=kill_the_reader, args=(address, pipe, killed))
    killer.start()

    code = run_cli(
        "predict", pipe, *scans[:2], "-o", "out", "--model", model, "--scheduler", address
    )

    killer.join()
    assert (code, len(killed)) == (0, 1)
    found = results()
    assert found.pop("pipe.xyz") == expected["0.xyz"]
    assert found == {name: expected[name] for name in scans[:2]}


class Deadly:
    """A predictor of which workers die."""

    def settings(self):
        return "none"

    def report(self, job, on_progress):
        if job.source.name == "0.xyz":
            os.kill(os.getpid(), signal.SIGKILL)
        return Report({}, "fine", 1)

    def failure(self, job, reason):
        return Report({}, reason)


def test_a_cloud_of_which_workers_die_does_not_stop_the_others(cluster):
    jobs = [Job(Path(name), Path("out", name)) for name in ("0.xyz", "1.xyz")]

    crew = Crew(None, cluster.scheduler_address)
    told = {job.source.name: report.line for job, report, _ in crew.run(Deadly(), "none", jobs)}

    assert told["1.xyz"] == "fine"
    assert told["0.xyz"].startswith("0.xyz: 4 workers died of it, perhaps for lack of memory")


@pytest.mark.parametrize("differs", ["predictor.__version__", "workers.__version__"])
def test_another_version_is_refused(differs, scans, model, cluster, monkeypatch, capsys):
    monkeypatch.setattr(f"tfnormals.cli.{differs}", "0.0.1")
    arguments = ("-o", "out", "--model", model, "--scheduler", cluster.scheduler_address)

    assert run_cli("predict", *scans, *arguments) == 1

    assert "a worker has another tfnormals or another model" in capsys.readouterr().err
    assert results() == {}


@pytest.mark.parametrize(
    ("address", "code", "reason"),
    [
        ("tcp://127.0.0.1:9", 1, "tcp://127.0.0.1:9: no scheduler answers; check the address"),
        ("somewhere", 2, "'somewhere' is no address; give one like tcp://host:8786"),
    ],
)
def test_no_scheduler(address, code, reason, scans, model, monkeypatch, capsys):
    monkeypatch.setattr("tfnormals.cli.workers.CONNECT_SECONDS", 0.5)

    arguments = ("-o", "out", "--model", model, "--scheduler", address)
    assert run_cli("predict", *scans, *arguments) == code

    assert reason in capsys.readouterr().err
    assert list(Path("out").iterdir()) == []


def test_something_else_than_a_scheduler(scans, model, monkeypatch, capsys):
    monkeypatch.setattr("tfnormals.cli.workers.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        arguments = ("-o", "out", "--model", model, "--scheduler", address)
        assert run_cli("predict", *scans, *arguments) == 1

    assert f"{address}: no scheduler answers" in capsys.readouterr().err


def test_without_dask_workers_tell_what_to_install(scans, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)

    assert run_cli("predict", *scans, "-o", "out", "--workers", 2) == 1

    told = "workers need Dask, which is not installed; pip install 'tfnormals[cluster]'"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["0.xyz", "--workers", "2", "--scheduler", "tcp://a:1"], "of no use with --scheduler"),
        (["-", "--workers", "2"], "not for stdin and stdout; name files"),
        (["0.xyz", "--workers", "2", "--device", "gpu"], "no device 'gpu' here"),
        (["0.xyz", "--workers", "0"], "greater than or equal to 1"),
    ],
)
def test_wrong_usage(arguments, reason, scans, capsys):
    assert run_cli("predict", *arguments) == 2
    assert reason in capsys.readouterr().err
    assert sorted(map(str, Path().iterdir())) == [*NAMES, "out"]


@pytest.mark.parametrize(("count", "device"), [(0, "auto"), (1, "auto"), (2, "cuda:1")])
def test_own_workers_share_the_gpus(count, device, monkeypatch):
    from tfnormals.cli.predictor import Predictor
    from tfnormals.cli.sides import SideOptions

    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    predictor = Predictor("m", "auto", SideOptions(None, None, None, None), None, None, False)

    assert predictor.on_one_gpu(3).device == device
