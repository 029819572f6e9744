"""Pieces of work side by side: each with one thread, in order, and the process afterwards as before."""

import threading
import time

import numba
import pytest
import torch

from covaria.running.side_by_side import side_by_side, workers


@pytest.fixture
def two_threads():
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def threads_here(_):
    return torch.get_num_threads(), numba.get_num_threads()


def in_a_new_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_two_pieces_are_under_way_together_and_come_in_order(two_threads):
    both = threading.Barrier(2, timeout=60)  # one at a time would break it

    def piece(number):
        both.wait()
        return number, threads_here(number)

    assert list(side_by_side(piece, range(4))) == [(number, (1, 1)) for number in range(4)]
    assert torch.get_num_threads() == 2
    assert in_a_new_thread() == 2


def test_a_single_thread_works_them_off_itself(two_threads):
    torch.set_num_threads(1)
    own = threading.get_ident()
    assert list(side_by_side(lambda _: threading.get_ident(), range(3))) == [own] * 3
    assert list(side_by_side(threads_here, [0])) == [(1, 1)]
    assert workers(5) == 1


def test_what_the_first_to_fail_raises_ends_it(two_threads):
    done = []

    def piece(number):
        if number == 1:
            raise ValueError("piece 1")
        time.sleep(0.05)  # all of them: five seconds
        done.append(number)
        return number

    with pytest.raises(ValueError, match="piece 1"):
        list(side_by_side(piece, range(200)))
    assert len(done) < 199
    assert torch.get_num_threads() == 2


def test_a_card_is_given_one_piece_at_a_time():
    assert workers(5, "cuda:0") == 1
    assert list(side_by_side(lambda number: number + 1, [1, 2], device="cuda:0")) == [2, 3]
