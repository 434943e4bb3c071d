"""The process that carries messages to their targets: `python -m ingestion_pipeline.providers.alert_sender`.

A process of its own, because a receiver that trickles and a notification library that hangs can only be stopped from
outside, because the library logs what it is given, and because only here every connection can be kept to public
addresses, those of the library and of redirects too. Reads one order from standard input, writes one line an outcome.

Belongs here: what runs inside it. Does not belong here: settings, what is said (alerts.py in this folder).
"""

import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ingestion_pipeline.providers.addresses import keep_to_public

REFUSED = "its address is not public; ALERT_PRIVATE_TARGETS=true allows private ones"
_REQUEST_SECONDS = 5.0
_STATUS = re.compile(r"error=(\d{3})\b")

Send = Callable[[str, Mapping[str, Any]], str | None]


def main() -> None:
    """Sends the messages of each target in their order, all targets at the same time, for at most `seconds`."""
    order = json.load(sys.stdin)
    signal.alarm(int(order["seconds"]) + 1)  # also when whoever started us is gone
    has_refused = (lambda: False) if order["may_be_private"] else keep_to_public()
    threads = [threading.Thread(target=_serve, args=(target, has_refused), daemon=True) for target in order["targets"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.flush()
    os._exit(0)


def _serve(target: Mapping[str, Any], has_refused: Callable[[], bool]) -> None:
    """A target that does not take a message is not bothered with the next."""
    send = _SENDS[target["kind"]]
    for place, message in enumerate(target["messages"]):
        try:
            problem = send(target["url"], message)
        except Exception as error:  # noqa: BLE001 a library may raise anything, and its text may hold a key
            problem = type(error).__name__
        if problem and has_refused():
            problem = REFUSED
        _tell({"target": target["name"], "message": place, "problem": problem})
        if problem:
            return


def _tell(outcome: Mapping[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(outcome).encode() + b"\n")  # one write: threads do not mix their lines


def _post(url: str, message: Mapping[str, Any]) -> str | None:
    import httpx

    # streamed: what the receiver says beyond its status is not read
    with httpx.stream("POST", url, json=message, timeout=_REQUEST_SECONDS, follow_redirects=False) as response:
        return None if response.is_success else f"status {response.status_code}"


def _notify(url: str, message: Mapping[str, Any]) -> str | None:
    import apprise

    asset = apprise.AppriseAsset(
        app_id="ingestion-pipeline",
        app_desc="Ingestion pipeline",
        async_mode=False,
        http_redirects=False,
        storage_mode="memory",
        service_timeout=_REQUEST_SECONDS,
        allow_templates=False,
    )
    target = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if target is None:
        return "Apprise cannot read the target"
    lines = [message["message"], *(f"{name}: {value}" for name, value in message["context"].items())]
    with _statuses() as seen:
        is_taken = target.notify(
            title=f"[{message['severity']}] ingestion pipeline",
            body="\n".join(lines),
            notify_type=_notify_type(message),
            body_format=apprise.NotifyFormat.TEXT,
        )
    return None if is_taken else f"status {seen[-1]}" if seen else "not taken"


def _notify_type(message: Mapping[str, Any]) -> str:
    if message["context"].get("notice") == "recovery":
        return "success"
    return {"info": "info", "warning": "warning"}.get(message["severity"], "failure")


class _statuses(logging.Handler):  # noqa: N801 used as a context manager
    """The HTTP statuses in what Apprise logs in this thread: its lines hold more than may be repeated."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread = threading.get_ident()
        self.seen: list[str] = []

    def __enter__(self) -> list[str]:
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)
        return self.seen

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.seen += _STATUS.findall(record.getMessage())


_SENDS: Mapping[str, Send] = {"webhook": _post, "apprise": _notify}

if __name__ == "__main__":
    main()
