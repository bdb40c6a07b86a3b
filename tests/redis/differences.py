"""What fakeredis does differently from Redis and Valkey: the tests that do not run on it, each with the reason.

`servers.kinds_for` reads this table; all other tests of this directory run on fakeredis too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FAKEREDIS: Final = "fakeredis"

# The name of a test → what fakeredis does differently.
DIFFERENCES: Final[Mapping[str, str]] = {
    # tests/redis/test_acl.py
    "test_a_gateway_with_the_acl_of_the_docs_can_do_its_work": "an ACL knows no FCALL",
    "test_a_gateway_with_the_acl_of_the_docs_reaches_no_other_pool_and_no_administration": "an ACL forbids no command",
    # tests/redis/test_client.py
    "test_a_claim_whose_reply_was_lost_is_a_replay": "each connection has a thread, so the later call can run first",
    "test_a_server_that_hangs_is_given_up_soon_and_a_lost_reply_runs_at_most_three_times": "each connection has a "
    "thread, so a call that was given up can still run",
    "test_a_server_that_is_away_is_unavailable_and_found_again": "no INFO, so no run_id",
    "test_a_full_server_says_not_now_and_nothing_is_written": "maxmemory limits nothing",
    "test_a_replica_says_not_now": "no REPLICAOF",
    "test_wrong_credentials_are_forbidden_at_once_and_not_shown": "a password does not lock out those without one",
    "test_a_key_of_another_type_is_refused_with_the_line_and_without_arguments": "an error does not name the line",
    "test_the_part_of_a_command_that_the_server_repeats_is_not_shown": "an error does not repeat the arguments",
    "test_every_method_is_counted_when_it_is_answered_and_when_it_is_not": "no INFO; a password does not lock out",
    "test_every_attempt_that_a_retry_makes_is_counted": "no REPLICAOF",
    "test_a_listener_hears_every_message_until_its_connection_is_lost": "a message reaches a connection only with its "
    "next command",
    "test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_request": "no CLIENT KILL",
    # tests/redis/test_events.py
    "test_the_oldest_entries_go_beyond_a_number": "100 000 entries take longer than the client waits for a reply",
    # tests/redis/test_leftovers.py
    **dict.fromkeys(
        (
            "test_a_leftover_of_each_kind_is_found_and_cleaned_once",
            "test_a_leftover_that_is_in_use_again_when_it_is_cleaned_stays",
            "test_a_sweep_that_has_lost_its_lease_or_its_redis_writes_nothing",
            "test_nothing_of_a_pool_or_a_cluster_that_we_do_not_serve_is_found",
            "test_keys_with_an_end_bans_and_streams_are_never_looked_at",
            "test_what_a_ledger_still_holds_stays_until_the_ledger_is_settled",
        ),
        "no OBJECT IDLETIME, and RESTORE takes none",
    ),
    # tests/redis/test_mending.py
    "test_a_damaged_guard_counts_as_a_loss_of_data_and_the_pool_is_restored_when_it_opens": "an error in a script has "
    "no WRONGTYPE",
    # tests/redis/test_rights.py
    **dict.fromkeys(
        (
            "test_a_claim_that_may_take_no_user_out_of_the_queue_writes_nothing_however_often_it_is_sent",
            "test_a_gateway_can_do_all_that_gateways_do",
            "test_a_matchmaker_can_do_all_that_matchmakers_do",
            "test_the_operator_can_run_all_of_its_scripts",
            "test_the_operator_can_sweep",
        ),
        "rights of commands are not those of Redis: one that is given is refused in a script",
    ),
    "test_no_other_user_reaches_another_pool_or_administers_the_server": "a command that it does not know is not "
    "refused for lack of rights",
    "test_the_operator_has_no_rights_beyond_its_pools": "as above",
    # tests/redis/test_states.py
    "test_s1_to_s5_hold_after_any_calls_in_any_order": "several times slower, and `make unit` is to be short",
    # tests/redis/test_triggers.py
    "test_a_stream_that_is_none_holds_up_no_other": "XREAD of a string ends the connection, without WRONGTYPE",
}


def is_different(test: str) -> bool:
    """Whether fakeredis differs in what this test is about."""
    return test in DIFFERENCES
