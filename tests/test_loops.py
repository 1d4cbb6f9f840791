import os
import threading

import numpy as np
import pytest
import torch
from helpers import cut

from tfnormals.tensorframes import loops
from tfnormals.tensorframes.loops import (
    array,
    chunked,
    compilable,
    compiled,
    in_chunks,
    place_of_loops,
    rowwise,
)

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 511, 513, loops.CHUNK, loops.CHUNK + 1, 40_000])
def test_chunks_cover_all_points_once(count, two_threads):
    seen = np.zeros(count, int)

    def work(rows):
        seen[rows] += 1

    in_chunks(work, count)

    assert (seen == 1).all()


def test_threads_share_the_chunks_and_take_one_core_each(two_threads):
    meeting = threading.Barrier(2, timeout=30)
    cores = []

    def work(rows):
        meeting.wait()  # broken, unless two chunks are worked on at a time
        cores.append(torch.get_num_threads())

    in_chunks(work, 2000)

    assert cores == [1, 1]
    assert torch.get_num_threads() == 2


def test_threads_stay(two_threads):
    def names():
        meeting, found = threading.Barrier(2, timeout=30), []

        def work(rows):
            meeting.wait()
            found.append(threading.current_thread().name)

        in_chunks(work, 2000)
        return set(found)

    assert names() == names()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it has threads
def test_a_process_that_is_forked_has_threads_of_its_own(two_threads):
    in_chunks(lambda rows: None, 2000)

    child = os.fork()
    if child == 0:
        done = np.zeros(2000)
        in_chunks(lambda rows: done.__setitem__(rows, 1), 2000)
        os._exit(int(not done.all()))

    assert os.waitpid(child, 0)[1] == 0


def test_no_gradient_is_kept_in_chunks(two_threads):
    kept = []
    in_chunks(lambda rows: kept.append(torch.is_grad_enabled()), 2000)
    in_chunks(lambda rows: kept.append(torch.is_grad_enabled()), 100)

    assert kept == [False] * 3
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("count", [100, 2000])
def test_an_error_in_a_chunk_is_told(count, two_threads):
    def fail(rows):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_chunks(fail, count)


@pytest.mark.parametrize("chunk", [7, loops.CHUNK])
def test_chunks_are_put_together_along_their_axes(chunk, monkeypatch):
    rows, columns = torch.randn(50, 3), torch.randn(2, 50)
    cut(monkeypatch, chunk)

    with torch.no_grad():
        one, other = chunked(lambda some: (2 * rows[some], 3 * columns[:, some]), 50, (0, 1), CPU)
        alone = rowwise(torch.exp, rows)

    assert torch.equal(one, 2 * rows)
    assert torch.equal(other, 3 * columns)
    assert torch.equal(alone, rows.exp())


def test_a_gpu_takes_large_chunks_one_after_the_other(monkeypatch, two_threads):
    monkeypatch.setattr(loops, "GPU_CHUNK", 1000)
    seen, rows = [], torch.arange(3000.0)

    def some(part):
        seen.append((part, threading.current_thread()))
        return [2 * rows[part]]

    with torch.no_grad():
        (found,) = chunked(some, 3000, (0,), torch.device("cuda"))

    assert torch.equal(found, 2 * rows)
    main = threading.current_thread()
    assert seen == [(slice(a, a + 1000), main) for a in (0, 1000, 2000)]


def test_where_numba_cuda_is_missing_or_fails_loops_run_on_the_cpu(monkeypatch):
    nowhere = torch.device("cuda:99")
    assert place_of_loops(nowhere) == CPU

    monkeypatch.setattr(loops, "find_spec", lambda name: name == "numba_cuda")
    with pytest.warns(UserWarning, match="^numba-cuda fails, so graphs are built on the CPU: "):
        assert place_of_loops(nowhere) == CPU


def test_with_gradients_all_points_are_one_chunk(monkeypatch):
    rows = torch.randn(50, 3, requires_grad=True)
    cut(monkeypatch, 7)

    rowwise(torch.exp, rows).sum().backward()

    assert torch.equal(rows.grad, rows.exp())


def test_loops_are_for_real_numbers_on_a_cpu():
    numbers = torch.zeros(3)

    assert compilable(numbers)
    assert compilable(numbers.double())
    assert not compilable(numbers.bfloat16())
    assert not compilable(numbers.to("meta"))


def test_loops_get_memory_in_order():
    columns = torch.arange(6.0).view(2, 3).T

    assert array(columns).flags.c_contiguous
    np.testing.assert_array_equal(array(columns), columns.numpy())


def test_a_loop_compiles_where_no_folder_can_be_written(monkeypatch):
    made = []

    def njit(*, cache=False, **options):
        made.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(loops.numba, "njit", njit)

    assert compiled(len)([1, 2]) == 2
    assert made == [True, False]
