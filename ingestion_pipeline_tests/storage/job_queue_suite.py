"""What the job queue promises, after River, Oban and Procrastinate. docs/jobs.md draws the states that it walks.

Belongs here: one promise a test, on a real database with real concurrent workers. Killed processes are in
flows/test_job_faults.py. Time is never waited for: what shall be over is moved into the past.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import product
from threading import Barrier
from typing import Any

import psycopg
import pytest

from ingestion_pipeline.core.clock import utc_now
from ingestion_pipeline.storage.jobs import FINISHED, UNFINISHED, ClaimedJob, Job, JobQueue, NewJob, Status

FREE: dict[str, int | None] = {"plain": None, "other": None}
STATES: tuple[Status, ...] = (*UNFINISHED, *FINISHED)
ARROWS = {
    ("QUEUED", "RUNNING"),
    ("QUEUED", "CANCELLED"),
    ("RETRYING", "RUNNING"),
    ("RETRYING", "CANCELLED"),
    ("RUNNING", "COMPLETED"),
    ("RUNNING", "RETRYING"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELLED"),
    ("FAILED", "QUEUED"),
    ("CANCELLED", "QUEUED"),
}
"""The arrows of docs/jobs.md."""
NO_ARROWS = {(one, other) for one, other in product(STATES, STATES) if one != other} - ARROWS
HOUR = timedelta(hours=1)


def at_the_same_time(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What `count` threads got that began together."""
    barrier = Barrier(count)

    def one(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class JobQueueSuite:
    """Subclasses provide the fixtures `queue`, a JobQueue, and `owner`, a connection that may do what no worker may."""

    # in

    def test_a_new_job_waits(self, queue: JobQueue) -> None:
        """It is there as it was asked for, without attempts."""
        job_id, is_new = queue.enqueue(
            NewJob(job_type="plain", owner_id="me", input_data={"a": [1, "ü"]}, market_slug="dallas", request_id="r")
        )
        job = self.job(queue, job_id)
        assert (True, "QUEUED", {"a": [1, "ü"]}, 0) == (is_new, job.status, job.input_data, job.attempt_count)
        assert ("me", "dallas", "r", None, None) == (
            job.owner_id,
            job.market_slug,
            job.request_id,
            job.started_at,
            job.output_data,
        )

    def test_a_unique_key_holds_while_the_job_is_not_finished(self, queue: JobQueue) -> None:
        """A second one is the first, in whatever state that waits or runs; once it is finished there is room again."""
        new = NewJob(job_type="plain", owner_id="me", unique_key="k")
        first, _ = queue.enqueue(new)
        assert (first, False) == queue.enqueue(new)
        running = self.claimed(queue)
        assert (first, False) == queue.enqueue(new)
        assert queue.settle(running.attempt_id, "failed", error_kind="transient", error_message="x") == "RETRYING"
        assert (first, False) == queue.enqueue(new)
        assert queue.cancel(first) == "CANCELLED"
        second, is_new = queue.enqueue(new)
        assert (True, True) == (is_new, second != first)

    def test_a_unique_key_belongs_to_its_owner_and_type(self, queue: JobQueue) -> None:
        """Nobody learns of, or is kept from work by, what somebody else has asked for."""
        jobs = [
            queue.enqueue(NewJob(job_type=job_type, owner_id=owner_id, unique_key="k"))
            for job_type, owner_id in product(("plain", "other"), ("me", "you"))
        ]
        assert (4, True) == (len({job_id for job_id, _ in jobs}), all(is_new for _, is_new in jobs))

    def test_many_enqueue_one_key_at_once(self, queue: JobQueue) -> None:
        """One of them made it, all are told the same job."""
        new = NewJob(job_type="plain", owner_id="me", unique_key="k")
        answers = at_the_same_time(8, lambda _: queue.enqueue(new))
        assert (1, 1) == (len({job_id for job_id, _ in answers}), sum(is_new for _, is_new in answers))

    def test_a_retry_by_hand_does_not_break_a_unique_key(self, queue: JobQueue) -> None:
        """The failed one stays failed while another one with its key is not finished."""
        new = NewJob(job_type="plain", owner_id="me", unique_key="k")
        first, _ = queue.enqueue(new)
        queue.cancel(first)
        queue.enqueue(new)
        with pytest.raises(psycopg.errors.UniqueViolation):
            queue.retry(first)
        assert "CANCELLED" == self.job(queue, first).status

    @pytest.mark.parametrize("most", [0, 26])
    def test_attempts_are_bounded(self, queue: JobQueue, most: int) -> None:
        """1 to 25."""
        with pytest.raises(psycopg.errors.CheckViolation):
            queue.enqueue(NewJob(job_type="plain", owner_id="me", max_attempts=most))

    # order

    def test_due_order_is_priority_then_due_time_then_age(self, queue: JobQueue) -> None:
        """The oldest of the longest due of the most urgent."""
        now = utc_now()
        early, late = now - 2 * HOUR, now - HOUR
        ids = [
            self.add(queue, priority=priority, run_at=run_at)
            for priority, run_at in ((0, late), (0, early), (0, early), (9, late), (-9, early), (9, early))
        ]
        claimed = [job.job_id for job in queue.claim("w", FREE, most=10)]
        assert [ids[5], ids[3], ids[1], ids[2], ids[0], ids[4]] == claimed

    def test_claiming_one_by_one_keeps_the_order(self, queue: JobQueue) -> None:
        """As claiming many does."""
        ids = [self.add(queue, priority=priority) for priority in (1, 3, 2)]
        assert [ids[1], ids[2], ids[0]] == [self.claimed(queue).job_id for _ in ids]

    def test_a_job_is_not_claimed_before_it_is_due(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """However urgent it is."""
        job_id = self.add(queue, priority=100, run_at=utc_now() + HOUR)
        assert ([], 0) == (queue.claim("w", FREE), queue.due_count(FREE))
        self.change(owner, job_id, "run_at = clock_timestamp()")
        assert 1 == queue.due_count(FREE)
        assert job_id == self.claimed(queue).job_id

    def test_a_worker_gets_only_the_types_it_knows(self, queue: JobQueue) -> None:
        """A code location that lacks a type leaves its jobs to others."""
        self.add(queue, job_type="plain")
        assert ([], 0) == (queue.claim("w", {"other": None}), queue.due_count({"other": None}))

    # claimed by one

    def test_a_job_is_claimed_by_one_of_many_workers(self, queue: JobQueue) -> None:
        """Eight workers that take what they can get share the jobs: each one once, none left."""
        ids = {self.add(queue) for _ in range(60)}

        def all_i_can_get(number: int) -> list[str]:
            got: list[str] = []
            while claimed := queue.claim(f"w{number}", FREE, most=1 + number % 3):
                got += [job.job_id for job in claimed]
            return got

        shares = at_the_same_time(8, all_i_can_get)
        assert Counter(ids) == Counter(job_id for share in shares for job_id in share)

    @pytest.mark.parametrize("most", [1, 5])
    def test_a_limit_of_a_type_holds_under_many_claimers(self, queue: JobQueue, most: int) -> None:
        """Three at once, whoever asks how often and for how many; other types are not held up."""
        limits = {"plain": 3, "other": None}
        for _ in range(20):
            self.add(queue)
        other = self.add(queue, job_type="other", priority=-1)
        shares = at_the_same_time(8, lambda number: queue.claim(f"w{number}", limits, most=most))
        taken = Counter(job.job_type for share in shares for job in share)
        assert (3, 1) == (taken["plain"], taken["other"])
        assert ([], 0) == (queue.claim("late", limits, most=most), queue.due_count(limits))
        one = next(job for share in shares for job in share if job.job_type == "plain")
        queue.settle(one.attempt_id, "completed", output={})
        assert 1 == queue.due_count(limits)
        assert 1 == len(queue.claim("late", limits, most=5))
        assert "RUNNING" == self.job(queue, other).status

    # the states

    @pytest.mark.parametrize(("start", "end"), sorted(ARROWS))
    def test_a_transition_that_is_drawn_works(self, queue: JobQueue, start: Status, end: Status) -> None:
        """By the function that is there for it."""
        job_id, attempt_id = self.in_state(queue, start)
        transient: dict[str, Any] = {"error_kind": "transient", "error_message": "later"}
        permanent: dict[str, Any] = {"error_kind": "permanent", "error_message": "never"}
        functions: dict[tuple[Status, Status], Callable[[], object]] = {
            ("QUEUED", "RUNNING"): lambda: queue.claim("w", FREE),
            ("QUEUED", "CANCELLED"): lambda: queue.cancel(job_id),
            ("RETRYING", "RUNNING"): lambda: queue.claim("w", FREE),
            ("RETRYING", "CANCELLED"): lambda: queue.cancel(job_id),
            ("RUNNING", "COMPLETED"): lambda: queue.settle(attempt_id, "completed", output={"n": 1}),
            ("RUNNING", "RETRYING"): lambda: queue.settle(attempt_id, "failed", **transient),
            ("RUNNING", "FAILED"): lambda: queue.settle(attempt_id, "failed", **permanent),
            ("RUNNING", "CANCELLED"): lambda: queue.settle(attempt_id, "cancelled", error_message="asked for"),
            ("FAILED", "QUEUED"): lambda: queue.retry(job_id),
            ("CANCELLED", "QUEUED"): lambda: queue.retry(job_id),
        }
        functions[start, end]()
        assert end == self.job(queue, job_id).status

    @pytest.mark.parametrize(("start", "end"), sorted(NO_ARROWS))
    def test_every_other_transition_is_refused_whoever_asks(
        self, queue: JobQueue, owner: psycopg.Connection[Any], worker_url: str, start: Status, end: Status
    ) -> None:
        """Also a plain UPDATE, by a worker and by the owner of the tables, that fills in all that the state needs."""
        job_id, _ = self.in_state(queue, start)
        columns = {
            "lease_until": "clock_timestamp()" if end == "RUNNING" else "null",
            "worker": "'w'",
            "started_at": "clock_timestamp()",
            "finished_at": "clock_timestamp()" if end in FINISHED else "null",
            "output_data": "'{}'" if end == "COMPLETED" else "null",
            "error_message": "'x'",
        }
        setting = ", ".join(f"{name} = {value}" for name, value in columns.items())
        with psycopg.connect(worker_url, autocommit=True) as worker:
            for connection in (worker, owner):
                with pytest.raises(psycopg.errors.CheckViolation, match=f"{start} to {end} is no transition"):
                    connection.execute(
                        f"update operations.jobs set status = '{end}', {setting} where job_id = '{job_id}'"
                    )
        assert start == self.job(queue, job_id).status

    @pytest.mark.parametrize("state", STATES)
    def test_what_a_job_is_cannot_be_changed(
        self, queue: JobQueue, owner: psycopg.Connection[Any], state: Status
    ) -> None:
        """Neither what was asked for, nor by whom, nor, without a transition, the attempts."""
        job_id, _ = self.in_state(queue, state)
        for change in ("input_data = '{\"b\": 1}'", "owner_id = 'you'", "job_type = 'other'", "attempt_count = 2"):
            with pytest.raises(psycopg.errors.CheckViolation):
                self.change(owner, job_id, change)

    @pytest.mark.parametrize("state", FINISHED)
    def test_what_is_finished_is_not_changed(
        self, queue: JobQueue, owner: psycopg.Connection[Any], state: Status
    ) -> None:
        """Its result is what it was."""
        job_id, _ = self.in_state(queue, state)
        with pytest.raises(psycopg.errors.CheckViolation):
            self.change(owner, job_id, "priority = 1")

    @pytest.mark.parametrize("state", STATES)
    def test_only_a_finished_job_can_be_deleted(
        self, queue: JobQueue, owner: psycopg.Connection[Any], state: Status
    ) -> None:
        """With its attempts."""
        job_id, _ = self.in_state(queue, state)
        statement = f"delete from operations.jobs where job_id = '{job_id}'"
        if state in FINISHED:
            owner.execute(statement)
            assert (None, []) == (queue.job(job_id), queue.attempts(job_id))
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match="cancel it before"):
                owner.execute(statement)

    @pytest.mark.parametrize("state", [state for state in STATES if state != "QUEUED"])
    def test_a_job_begins_as_queued(self, owner: psycopg.Connection[Any], state: Status) -> None:
        """No row appears in the middle of its life."""
        with pytest.raises(psycopg.errors.CheckViolation, match="begins as QUEUED"):
            owner.execute(
                "insert into operations.jobs (job_type, owner_id, status) values ('plain', 'me', %s)", [state]
            )

    # ends

    def test_a_completed_job_has_its_output_and_no_error(self, queue: JobQueue) -> None:
        """Also after attempts that failed."""
        job_id = self.add(queue)
        self.fail(queue)
        self.make_due(job_id)
        assert "COMPLETED" == queue.settle(self.claimed(queue).attempt_id, "completed", output={"n": 1}, time_ms=12.5)
        job = self.job(queue, job_id)
        assert ({"n": 1}, None, None, 2, 12.5) == (
            job.output_data,
            job.error_kind,
            job.error_message,
            job.attempt_count,
            job.processing_time_ms,
        )
        assert ["retrying", "completed"] == [it["outcome"] for it in queue.attempts(job_id)]
        assert [1, 2] == [it["attempt"] for it in queue.attempts(job_id)]

    def test_an_attempt_is_settled_once(self, queue: JobQueue) -> None:
        """Whoever comes second is told so, and changes nothing."""
        job_id = self.add(queue)
        attempt_id = self.claimed(queue).attempt_id
        assert "COMPLETED" == queue.settle(attempt_id, "completed", output={"n": 1})
        assert None is queue.settle(attempt_id, "completed", output={"n": 2})
        assert None is queue.settle(attempt_id, "failed", error_kind="permanent", error_message="x")
        assert ("COMPLETED", {"n": 1}) == (self.job(queue, job_id).status, self.job(queue, job_id).output_data)

    def test_many_settle_one_attempt_at_once(self, queue: JobQueue) -> None:
        """One of them wins."""
        self.add(queue)
        attempt_id = self.claimed(queue).attempt_id
        told = at_the_same_time(8, lambda number: queue.settle(attempt_id, "completed", output={"n": number}))
        assert Counter({None: 7, "COMPLETED": 1}) == Counter(told)

    def test_nobody_settles_an_attempt_that_never_was(self, queue: JobQueue) -> None:
        """It is over, as far as anybody can tell."""
        assert None is queue.settle(4711, "completed", output={})

    def test_a_transient_failure_is_tried_until_no_attempt_is_left(self, queue: JobQueue) -> None:
        """Then it has failed, for the last reason."""
        job_id = self.add(queue, max_attempts=3)
        statuses = []
        for number in range(3):
            statuses.append(self.fail(queue, message=f"reason {number}"))
            if number < 2:
                self.make_due(job_id)
        job = self.job(queue, job_id)
        assert ["RETRYING", "RETRYING", "FAILED"] == statuses
        assert (3, "transient", "reason 2") == (job.attempt_count, job.error_kind, job.error_message)
        assert ["retrying", "retrying", "failed"] == [it["outcome"] for it in queue.attempts(job_id)]
        assert ([], 0) == (queue.claim("w", FREE), queue.due_count(FREE))

    def test_a_permanent_failure_fails_at_once(self, queue: JobQueue) -> None:
        """With attempts left."""
        job_id = self.add(queue, max_attempts=3)
        assert "FAILED" == self.fail(queue, kind="permanent")
        assert (1, "permanent") == (self.job(queue, job_id).attempt_count, self.job(queue, job_id).error_kind)

    def test_back_off_grows_with_jitter_up_to_a_cap(self, owner: psycopg.Connection[Any]) -> None:
        """5, 10, 20 … 600 seconds, a fifth more or less, and no two alike."""
        for attempt, seconds in ((1, 5), (2, 10), (3, 20), (8, 600), (25, 600), (1000, 600)):
            found = owner.execute(
                "select operations.job_backoff(%s) from generate_series(1, 200)", [attempt]
            ).fetchall()
            waits = [wait.total_seconds() for (wait,) in found]
            assert 0.8 * seconds <= min(waits) < max(waits) <= 1.2 * seconds
            assert len(set(waits)) > 150

    def test_a_failed_attempt_waits_for_the_back_off(self, queue: JobQueue) -> None:
        """The time of the next is in the row, and nobody gets the job before."""
        job_id = self.add(queue)
        self.fail(queue)
        job = self.job(queue, job_id)
        assert timedelta(seconds=4) <= job.run_at - self.ended_at(queue, job_id) <= timedelta(seconds=6.1)
        assert [] == queue.claim("w", FREE)

    # postponed

    def test_a_postponed_job_spends_no_attempt(self, queue: JobQueue) -> None:
        """It waits as long as the source asked for; its next attempt has the number of this one."""
        job_id = self.add(queue, max_attempts=1)
        assert "RETRYING" == self.postpone(queue, timedelta(seconds=90))
        job = self.job(queue, job_id)
        assert (0, 1, "wait") == (job.attempt_count, job.postponed_count, job.error_message)
        waited = job.run_at - self.ended_at(queue, job_id)
        assert timedelta(seconds=89) < waited < timedelta(seconds=91)
        self.make_due(job_id)
        assert "COMPLETED" == queue.settle(self.claimed(queue).attempt_id, "completed", output={})
        assert [(1, "postponed"), (1, "completed")] == [(it["attempt"], it["outcome"]) for it in queue.attempts(job_id)]
        assert 1 == self.job(queue, job_id).attempt_count

    def test_a_job_is_not_postponed_for_ever(self, queue: JobQueue) -> None:
        """From the eleventh time on it spends attempts, so that it ends."""
        job_id = self.add(queue, max_attempts=2)
        counts, status = [], "RETRYING"
        while status == "RETRYING":
            status = self.postpone(queue, timedelta(seconds=90)) or "lost"
            counts.append(self.job(queue, job_id).attempt_count)
            if status == "RETRYING":
                self.make_due(job_id)
        assert ([0] * 10 + [1, 2], "FAILED") == (counts, status)

    @pytest.mark.parametrize(("asked", "least", "most"), [(0, 1, 2), (-5, 1, 2), (10**6, 3599, 3601)])
    def test_how_long_a_source_can_postpone_is_bounded(
        self, queue: JobQueue, asked: int, least: int, most: int
    ) -> None:
        """A second to an hour: nobody's header parks a job for days, or makes us ask in a tight loop."""
        job_id = self.add(queue)
        self.postpone(queue, timedelta(seconds=asked))
        waited = (self.job(queue, job_id).run_at - self.ended_at(queue, job_id)).total_seconds()
        assert least - 0.5 <= waited <= most

    # leases

    def test_a_heartbeat_keeps_the_lease(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """Only its worker's; who holds it is not rescued."""
        job_id = self.add(queue)
        attempt_id = self.claimed(queue, "mine").attempt_id
        self.end_lease(owner, job_id)
        assert {} == queue.heartbeat("somebody else")
        assert {attempt_id: False} == queue.heartbeat("mine")
        assert {} == queue.rescue()
        assert "RUNNING" == self.job(queue, job_id).status

    def test_a_lost_job_is_rescued_and_the_attempt_counts(
        self, queue: JobQueue, owner: psycopg.Connection[Any]
    ) -> None:
        """It is tried again, and after its last attempt has failed as lost."""
        job_id = self.add(queue, max_attempts=2)
        self.claimed(queue)
        self.end_lease(owner, job_id)
        assert {job_id: "RETRYING"} == queue.rescue()
        assert (1, "lost") == (self.job(queue, job_id).attempt_count, self.job(queue, job_id).error_kind)
        self.make_due(job_id)
        self.claimed(queue)
        self.end_lease(owner, job_id)
        assert {job_id: "FAILED"} == queue.rescue()
        job = self.job(queue, job_id)
        assert ("FAILED", 2, "lost") == (job.status, job.attempt_count, job.error_kind)
        assert ["lost", "lost"] == [it["outcome"] for it in queue.attempts(job_id)]

    def test_a_job_whose_run_has_ended_is_rescued_before_its_lease_is_over(self, queue: JobQueue) -> None:
        """And no other one."""
        lost, kept = self.add(queue, priority=1), self.add(queue)
        queue.claim("one", FREE, run_id="run-1")
        queue.claim("two", FREE, run_id="run-2")
        assert {"run-1", "run-2"} == queue.running_runs()
        assert {lost: "RETRYING"} == queue.rescue(ended_runs=["run-1"])
        assert "RUNNING" == self.job(queue, kept).status

    def test_nothing_is_rescued_twice(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """Many rescuers at once count one attempt."""
        job_id = self.add(queue)
        self.claimed(queue)
        self.end_lease(owner, job_id)
        found = at_the_same_time(6, lambda _: queue.rescue())
        assert [{job_id: "RETRYING"}] == [it for it in found if it]
        assert 1 == len(queue.attempts(job_id))

    def test_who_lost_a_job_cannot_settle_it(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """Not while it waits, nor while another has it, nor under the same name: an attempt is over once."""
        job_id = self.add(queue)
        first = self.claimed(queue, "w")
        self.end_lease(owner, job_id)
        queue.rescue()
        assert None is queue.settle(first.attempt_id, "completed", output={"by": "the first"})
        self.make_due(job_id)
        second = self.claimed(queue, "w")
        assert {second.attempt_id: False} == queue.heartbeat("w")
        assert None is queue.settle(first.attempt_id, "failed", error_kind="permanent", error_message="late")
        assert "COMPLETED" == queue.settle(second.attempt_id, "completed", output={"by": "the second"})
        assert {"by": "the second"} == self.job(queue, job_id).output_data

    def test_a_settle_and_a_rescue_at_once(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """Either the worker was in time, or the job is tried again: never both, never neither."""
        for _ in range(20):
            job_id = self.add(queue)
            attempt_id = self.claimed(queue).attempt_id
            self.end_lease(owner, job_id)
            works = (lambda: queue.settle(attempt_id, "completed", output={}), queue.rescue)  # noqa: B023
            settled, rescued = at_the_same_time(2, lambda number: works[number]())  # noqa: B023
            ways = {("COMPLETED", ()), (None, ((job_id, "RETRYING"),))}
            assert (settled, tuple(rescued.items())) in ways
            queue.cancel(job_id)

    # cancelled

    @pytest.mark.parametrize("state", ["QUEUED", "RETRYING"])
    def test_a_waiting_job_is_cancelled_at_once(self, queue: JobQueue, state: Status) -> None:
        """And never claimed again."""
        job_id, _ = self.in_state(queue, state)
        assert "CANCELLED" == queue.cancel(job_id)
        assert ([], 0) == (queue.claim("w", FREE), queue.due_count(FREE))

    def test_a_running_job_is_asked_to_end(self, queue: JobQueue) -> None:
        """Its worker learns of it with the next heartbeat; asking twice is asking once."""
        job_id = self.add(queue)
        attempt_id = self.claimed(queue, "w").attempt_id
        assert ("RUNNING", "RUNNING") == (queue.cancel(job_id), queue.cancel(job_id))
        assert {attempt_id: True} == queue.heartbeat("w")
        assert "CANCELLED" == queue.settle(attempt_id, "cancelled", error_message="asked for")

    def test_a_job_that_finishes_all_the_same_is_finished(self, queue: JobQueue) -> None:
        """What was done was done."""
        job_id = self.add(queue)
        attempt_id = self.claimed(queue).attempt_id
        queue.cancel(job_id)
        assert "COMPLETED" == queue.settle(attempt_id, "completed", output={})
        assert "COMPLETED" == queue.cancel(job_id)

    @pytest.mark.parametrize(
        ("ending", "kind"), [("failed", "transient"), ("failed", "permanent"), ("postponed", "transient")]
    )
    def test_a_job_that_fails_after_it_was_to_end_is_cancelled(self, queue: JobQueue, ending: Any, kind: Any) -> None:
        """Nobody wants it tried again; the reason is kept."""
        job_id = self.add(queue)
        attempt_id = self.claimed(queue).attempt_id
        queue.cancel(job_id)
        assert "CANCELLED" == queue.settle(attempt_id, ending, error_kind=kind, error_message="why")
        assert "why" == self.job(queue, job_id).error_message

    def test_a_lost_job_that_was_to_end_is_cancelled(self, queue: JobQueue, owner: psycopg.Connection[Any]) -> None:
        """It does not come back."""
        job_id = self.add(queue)
        self.claimed(queue)
        queue.cancel(job_id)
        self.end_lease(owner, job_id)
        assert {job_id: "CANCELLED"} == queue.rescue()

    def test_a_cancel_and_a_claim_at_once(self, queue: JobQueue) -> None:
        """Cancelled before, or running and asked to end."""
        for _ in range(20):
            job_id = self.add(queue)
            works = (lambda: queue.cancel(job_id), lambda: queue.claim("w", FREE))  # noqa: B023
            told, claimed = at_the_same_time(2, lambda number: works[number]())  # noqa: B023
            assert (told, len(claimed)) in {("CANCELLED", 0), ("RUNNING", 1)}
            if claimed:
                assert {claimed[0].attempt_id: True} == queue.heartbeat("w")
                queue.settle(claimed[0].attempt_id, "cancelled", error_message="asked for")

    def test_a_cancel_and_a_settle_at_once(self, queue: JobQueue) -> None:
        """The job is completed either way, and who cancelled knows whether that was too late."""
        for _ in range(20):
            job_id = self.add(queue)
            attempt_id = self.claimed(queue).attempt_id
            works = (lambda: queue.cancel(job_id), lambda: queue.settle(attempt_id, "completed", output={}))  # noqa: B023
            told, settled = at_the_same_time(2, lambda number: works[number]())  # noqa: B023
            assert settled == "COMPLETED"
            assert told in {"RUNNING", "COMPLETED"}
            assert "COMPLETED" == self.job(queue, job_id).status

    def test_there_is_nothing_to_cancel_or_retry_where_there_is_no_job(self, queue: JobQueue) -> None:
        """That is an answer, not an error."""
        nobody = "00000000-0000-4000-8000-000000000000"
        assert (None, None, None) == (queue.cancel(nobody), queue.retry(nobody), queue.job(nobody))

    # again, by hand

    @pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
    def test_a_finished_job_is_retried_by_hand(self, queue: JobQueue, state: Status) -> None:
        """Due at once, with an attempt left, its history kept."""
        job_id, _ = self.in_state(queue, state, max_attempts=1)
        before = len(queue.attempts(job_id))
        assert "QUEUED" == queue.retry(job_id)
        job = self.job(queue, job_id)
        assert (None, None, None) == (job.error_message, job.finished_at, job.cancel_requested_at)
        assert "COMPLETED" == queue.settle(self.claimed(queue).attempt_id, "completed", output={})
        numbers = [it["attempt"] for it in queue.attempts(job_id)]
        assert (before + 1, list(range(1, before + 2))) == (len(numbers), numbers)

    @pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "RETRYING", "COMPLETED"])
    def test_other_jobs_are_not_retried_by_hand(self, queue: JobQueue, state: Status) -> None:
        """They stay as they are, and that is what is told."""
        job_id, _ = self.in_state(queue, state)
        assert (state, state) == (queue.retry(job_id), self.job(queue, job_id).status)

    # the means of these tests

    def add(self, queue: JobQueue, **over: Any) -> str:
        return queue.enqueue(NewJob(**{"job_type": "plain", "owner_id": "me", **over}))[0]

    def claimed(self, queue: JobQueue, worker: str = "w") -> ClaimedJob:
        (job,) = queue.claim(worker, FREE)
        return job

    def job(self, queue: JobQueue, job_id: str) -> Job:
        found = queue.job(job_id)
        assert found is not None
        return found

    def fail(self, queue: JobQueue, *, kind: Any = "transient", message: str = "x") -> Status | None:
        return queue.settle(self.claimed(queue).attempt_id, "failed", error_kind=kind, error_message=message)

    def postpone(self, queue: JobQueue, wait: timedelta) -> Status | None:
        attempt_id = self.claimed(queue).attempt_id
        return queue.settle(attempt_id, "postponed", error_kind="transient", error_message="wait", wait=wait)

    def in_state(self, queue: JobQueue, state: Status, **over: Any) -> tuple[str, int]:
        """A job in `state`, and its last attempt."""
        job_id = self.add(queue, **over)
        if state == "QUEUED":
            return job_id, 0
        attempt_id = self.claimed(queue).attempt_id
        match state:
            case "RETRYING":
                queue.settle(attempt_id, "failed", error_kind="transient", error_message="x")
                self.make_due(job_id)
            case "COMPLETED":
                queue.settle(attempt_id, "completed", output={})
            case "FAILED":
                queue.settle(attempt_id, "failed", error_kind="permanent", error_message="x")
            case "CANCELLED":
                queue.settle(attempt_id, "cancelled", error_message="x")
        return job_id, attempt_id

    def make_due(self, job_id: str) -> None:
        raise NotImplementedError

    def ended_at(self, queue: JobQueue, job_id: str) -> datetime:
        """When the last attempt ended."""
        ended: datetime = queue.attempts(job_id)[-1]["finished_at"]
        return ended

    def change(self, owner: psycopg.Connection[Any], job_id: str, setting: str) -> None:
        owner.execute(f"update operations.jobs set {setting} where job_id = '{job_id}'")

    def end_lease(self, owner: psycopg.Connection[Any], job_id: str) -> None:
        self.change(owner, job_id, "lease_until = clock_timestamp() - interval '1 second'")
