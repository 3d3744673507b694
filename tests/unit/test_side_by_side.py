"""Work side by side has one of torch's threads each, and changes nothing outside it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from leukospike.side_by_side import one_core_each


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(("most", "at_once"), [(None, 3), (2, 2), (8, 3)])
def test_as_many_at_once_as_torch_has_threads_each_with_one(most, at_once):
    together = threading.Barrier(at_once)

    def work(_):
        together.wait(timeout=10)
        return torch.get_num_threads(), threading.get_ident()

    with one_core_each(most) as pool:
        seen = list(pool.map(work, range(at_once)))
        assert torch.get_num_threads() == 3
    assert {n_threads for n_threads, _ in seen} == {1}
    assert len({ident for _, ident in seen}) == at_once
    after = threading.Thread(target=lambda: seen.append((torch.get_num_threads(), 0)))
    after.start()
    after.join()
    assert seen[-1] == (3, 0)


def _of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.usefixtures("three_threads")
def test_other_threads_have_as_many_as_before_while_two_callers_overlap():
    with one_core_each() as first:
        first.submit(torch.get_num_threads).result()
        with one_core_each() as second:
            assert second.submit(torch.get_num_threads).result() == 1
            assert (torch.get_num_threads(), _of_a_new_thread()) == (3, 3)
        assert (torch.get_num_threads(), _of_a_new_thread()) == (3, 3)
    assert (torch.get_num_threads(), _of_a_new_thread()) == (3, 3)


@pytest.mark.usefixtures("three_threads")
def test_the_number_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError), one_core_each() as pool:
        pool.submit(lambda: 1 // 0).result()
    assert (torch.get_num_threads(), _of_a_new_thread()) == (3, 3)
