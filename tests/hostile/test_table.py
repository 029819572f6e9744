"""What the red team broke, row by row, and the test that holds each row now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

ROWS = {
    "reconcile obeys a stranger's folder": "tests/hostile/test_folders.py::test_a_folder_may_ask_only_for_itself",
    "one broken folder stops list, reconcile, exporter": (
        "tests/hostile/test_folders.py::test_operators_see_every_good_job"
    ),
    "one message ends every worker": "tests/hostile/test_messages.py::test_any_message",
    "a pickle corrupts memory": (
        "tests/hostile/test_planted_pickles.py::test_a_planted_pickle_is_refused_and_does_nothing"
    ),
    "a link for .covaria leads outside": "tests/hostile/test_messages.py::test_a_link_for_our_state_leads_nowhere",
    "an orphaned stage writes after the takeover": (
        "tests/hostile/test_orphans.py::test_woken_late_an_orphan_changes_nothing"
    ),
    "one file name ends watch": "tests/hostile/test_arrivals.py::test_any_name_leaves_the_good_set_alone",
    "idle connections stop a worker": "tests/hostile/test_ports.py::test_answers_under_a_crowd",
    "run takes no lease": "tests/local/test_overwrite_and_lease.py::test_a_second_run_in_a_folder_is_refused",
    "a full disk ends workers": "tests/hostile/test_messages.py::test_full_disk_ends_no_worker",
    "another job's analysis is replaced": (
        "tests/hostile/test_opening.py::test_results_of_another_job_are_never_replaced"
    ),
    "checked by name and opened later": "tests/hostile/test_opening.py::test_exchanged_after_it_was_looked_at",
    "a FIFO hangs the worker": ("tests/hostile/test_messages.py::test_books_of_a_stranger_are_that_jobs_problem_alone"),
    "a password's beginning in error texts": "tests/hostile/test_secrets.py::test_no_piece_of_a_password_is_said",
    "the parent hashes whole files": "tests/worker/test_patience.py::test_a_frozen_disk_keeps_the_worker_alive",
    "no sums over intermediate files": "tests/tree/test_integrity.py::test_every_flipped_bit_is_named",
    "control characters on the terminal": (
        "tests/hostile/test_folders.py::test_nothing_of_others_commands_the_terminal"
    ),
    "fields without bounds; 1e999; half characters": "tests/hostile/test_messages.py::test_what_the_table_names",
    "a loop of links in a STAR file": "tests/hostile/test_opening.py::test_what_a_star_file_may_name",
    "two sets in one folder": "tests/hostile/test_arrivals.py::test_no_two_sets_in_one_folder",
    "an empty lease": "tests/local/test_overwrite_and_lease.py::test_a_damaged_lease_is_watched_and_taken_over",
    "truncated records are `unknown`": (
        "tests/hostile/test_messages.py::test_books_of_a_stranger_are_that_jobs_problem_alone"
    ),
    "a lease in another spelling hangs all who look": (
        "tests/hostile/test_folders.py::test_operators_see_every_good_job"
    ),
    "a book names files elsewhere, or none": (
        "tests/hostile/test_folders.py::test_a_book_names_files_of_its_own_folder_only"
    ),
    "odd files in the place of results": "tests/hostile/test_folders.py::test_odd_files_in_the_place_of_results",
    "a name with a line break forges lines": "tests/hostile/test_folders.py::test_a_name_begins_no_line_of_its_own",
    "looking at parked messages hides them": "tests/hostile/test_parking.py::test_killed_while_it_looks",
    "two hosts, clocks ten minutes apart": (
        "tests/hostile/test_two_hosts.py::test_a_host_that_dies_is_replaced_and_one_that_lives_is_not"
    ),
    "headers that break the connection": "tests/bus/test_rabbit.py::test_headers_that_pika_cannot_read",
}


@pytest.mark.parametrize("row", ROWS)
def test_the_row_is_held_by_a_test(row: str) -> None:
    file, _, name = ROWS[row].partition("::")
    assert re.search(rf"^def {name}\(", (REPOSITORY / file).read_text(), re.MULTILINE), ROWS[row]
