import threading
import time

import numpy as np
import pytest
import torch

from tersor.data.samples import Samples
from tersor.network.workers import over_batches, together

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def numbered(count):
    return Samples({"x": np.arange(count, dtype=np.float32)}).batches(1)


def number(batch):
    return int(batch.inputs["x"][0])


def slow_first(batch):
    time.sleep(0.05 if number(batch) == 0 else 0)
    return number(batch)


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_the_order_of_batches(threads):
    torch.set_num_threads(threads)
    assert list(over_batches(lambda: slow_first, numbered(20), CPU)) == list(range(20))


def test_each_thread_makes_its_own_run_and_takes_its_share_of_the_cores():
    makers, shares = [], set()  # of threads
    gate = threading.Barrier(4, timeout=10)  # nobody goes on before all four run

    def make():
        makers.append(threading.get_ident())
        gate.wait()
        return lambda _: shares.add((threading.get_ident(), torch.get_num_threads()))

    list(over_batches(make, numbered(12), CPU))
    assert len(makers) == len(set(makers)) == 4
    assert {share for _, share in shares} == {1}
    assert {thread for thread, _ in shares} <= set(makers)
    assert torch.get_num_threads() == 4


def test_no_more_batches_are_read_than_run_at_once():
    read = []

    def reading():
        for batch in numbered(50):
            read.append(number(batch))
            yield batch

    results = over_batches(lambda: number, reading(), CPU)
    assert next(results) == 0
    assert len(read) == 5  # four run, and the next one waits for the first's place
    results.close()
    assert torch.get_num_threads() == 4


def test_an_error_of_a_run_is_raised_and_the_cores_are_given_back():
    def fail(batch):
        if number(batch) == 3:
            raise ValueError("three")
        return number(batch)

    with pytest.raises(ValueError, match="three"):
        list(over_batches(lambda: fail, numbered(20), CPU))
    assert torch.get_num_threads() == 4


def test_on_another_device_one_batch_runs_at_a_time():
    threads = set()

    def run(batch):
        threads.add(threading.get_ident())
        return number(batch)

    assert list(over_batches(lambda: run, numbered(8), torch.device("meta"))) == list(range(8))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("threads", [1, 4])
def test_what_is_done_together_comes_in_order_and_without_gradients(threads):
    torch.set_num_threads(threads)

    def counting(start):
        while True:
            yield start, torch.is_grad_enabled()
            start += 10

    runs = [counting(i) for i in range(9)]
    for step in (0, 10):
        wanted = [(i + step, False) for i in range(9)]
        assert together(next, runs, CPU) == wanted
