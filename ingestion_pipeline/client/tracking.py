"""Sessions, `emit` and the events that have a method of their own; the same for both clients.

Belongs here: from a method's arguments to one encoded event. Does not belong here: sending it (delivery.py).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Unpack

from .delivery import Delivery, Stats
from .events import Envelope, device_context, encoded, event_key


class Tracking:
    """Puts events into `delivery`. Nothing here waits for the network, and only wrong types raise."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._session: Envelope = {}

    def init_session(self, *, user_id: str | None = None, context: Mapping[str, Any] | None = None) -> str:
        """Begins a session: what is emitted from now on carries its id, this device and `context`.

        Args:
            user_id: of every event that names none.
            context: fields added to, or put in place of, those of the device: `userAgent`, `ip`, `locale`, `screen`,
                `timezone`, `device`.

        Returns:
            The session's id, unique and ordered by time.
        """
        session_id = event_key()
        session: Envelope = {"session_id": session_id, "context": {**device_context(), **(context or {})}}
        encoded("session", None, {**session, "user_id": user_id})  # wrong types show here, not at the first event
        self._session = {**session, "user_id": user_id}
        return session_id

    def emit(
        self,
        event_type: str,
        data: Mapping[str, Any] | None = None,
        /,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        rule_id: str | None = None,
        category: str | None = None,
        ts: datetime | None = None,
        idempotency_key: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str:
        """Queues one event and returns its idempotency key. Never waits; `on_rejected` hears of a refusal.

        Args:
            event_type: a registered type, such as `project.created` or `VIEW`.
            data: what its JSON Schema asks for.
            user_id: default: that of the session.
            session_id: default: that of `init_session`.
            rule_id: what a VIEW, COPY, SAVE, FORK or VOTE is about.
            category: default: the category of the type.
            ts: when it happened, with a time zone; default: now.
            idempotency_key: default: a new one. Two events with one key count once.
            context: default: that of the session.

        Raises:
            TypeError: an argument, or a value in `data`, has a type that cannot be sent.
            ValueError: `ts` has no time zone.
        """
        key = event_key() if idempotency_key is None else idempotency_key
        envelope: Envelope = {
            "user_id": user_id if user_id is not None else self._session.get("user_id"),
            "session_id": session_id if session_id is not None else self._session.get("session_id"),
            "context": context if context is not None else self._session.get("context"),
            "rule_id": rule_id,
            "category": category,
            "ts": ts,
            "idempotency_key": key,
        }
        try:
            event = encoded(event_type, data, envelope)
        except (ValueError, RecursionError) as error:
            if ts is not None and ts.tzinfo is None:
                raise
            self._delivery.refuse({"type": event_type, "data": data, "idempotencyKey": key}, f"data: {error}")
        else:
            self._delivery.offer(event)
        return key

    def stats(self) -> Stats:
        """What has become of the events of this process."""
        return self._delivery.stats()

    def track_project_created(
        self, project_id: str, data: Mapping[str, Any] | None = None, /, **envelope: Unpack[Envelope]
    ) -> str:
        """`project.created`; `data` may hold title, budget (≥ 0), currency. Needs a user."""
        return self.emit("project.created", {**(data or {}), "project_id": project_id}, **envelope)

    def track_proposal_submitted(
        self,
        proposal_id: str,
        project_id: str,
        data: Mapping[str, Any] | None = None,
        /,
        **envelope: Unpack[Envelope],
    ) -> str:
        """`proposal.submitted`; `data` may hold amount (≥ 0). Needs a user."""
        content = {**(data or {}), "proposal_id": proposal_id, "project_id": project_id}
        return self.emit("proposal.submitted", content, **envelope)

    def track_milestone_approved(
        self,
        milestone_id: str,
        project_id: str,
        data: Mapping[str, Any] | None = None,
        /,
        **envelope: Unpack[Envelope],
    ) -> str:
        """`milestone.approved`, kept for seven years; `data` may hold amount (≥ 0). Needs a user."""
        content = {**(data or {}), "milestone_id": milestone_id, "project_id": project_id}
        return self.emit("milestone.approved", content, **envelope)

    def track_review_posted(
        self, review_id: str, data: Mapping[str, Any] | None = None, /, **envelope: Unpack[Envelope]
    ) -> str:
        """`review.posted`; `data` may hold project_id, rating (0-5). Needs a user."""
        return self.emit("review.posted", {**(data or {}), "review_id": review_id}, **envelope)

    def track_profile_viewed(self, profile_id: str, /, **envelope: Unpack[Envelope]) -> str:
        """`profile.viewed`."""
        return self.emit("profile.viewed", {"profile_id": profile_id}, **envelope)

    def track_search_performed(
        self,
        query: str,
        filters: Mapping[str, Any] | None = None,
        results_count: int | None = None,
        search_time_ms: float | None = None,
        /,
        **envelope: Unpack[Envelope],
    ) -> str:
        """`search.performed`; the search took `search_time_ms` milliseconds."""
        content = {"query": query, "filters": filters or {}}
        measured = {"results_count": results_count, "search_time_ms": search_time_ms}
        known = {name: value for name, value in measured.items() if value is not None}
        return self.emit("search.performed", {**content, **known}, **envelope)

    def track_user_login(self, method: str | None = None, /, **envelope: Unpack[Envelope]) -> str:
        """`user.login`; `method` such as `password` or `google`. Needs a user."""
        return self.emit("user.login", {} if method is None else {"method": method}, **envelope)
