"""HTTP services in processes of their own: the intake with an endpoint that does nothing, and what many would write.

Run as `python -m benchmarks._services intake|plain` with PORT and the database in the environment.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from benchmarks._measures import PROJECT_ROOT
from ingestion_pipeline.settings import Settings, child_environment

TOKEN = "benchmark-token-of-some-length"


@contextmanager
def service(name: str, environment: Mapping[str, str], *, port: int) -> Iterator[psutil.Process]:
    """The service, up; ended with SIGTERM."""
    given = child_environment({**environment, "PORT": str(port), "EVENTS_RATE_LIMIT": "0", "INGEST_APP_TOKEN": TOKEN})
    given |= {"LOG_LEVEL": "warning", "CRON_SECRET": "unused-in-benchmarks", "JWT_SECRET": "unused-in-benchmarks-" * 2}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks._services", name]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=given, stdout=subprocess.DEVNULL) as process:
        try:
            _await(port, process)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def memory_mb(process: psutil.Process) -> float:
    """What a service and its children hold in memory."""
    return sum(part.memory_info().rss for part in [process, *process.children(recursive=True)]) / 1e6


def intake() -> None:
    """Our intake, with POST /empty beside its endpoints."""
    from ingestion_pipeline.asgi import DOMAINS, create_app
    from ingestion_pipeline.intake.endpoints import PUBLIC, Answer, Call, Endpoint, HttpDomain, Response
    from ingestion_pipeline.intake.server import serve
    from ingestion_pipeline.intake.services import Services

    async def nothing(_: Call) -> Answer:
        return Answer(202, b"{}")

    def empty(_: Services) -> HttpDomain:
        described = {202: Response(description="Nothing", schema={"type": "object"})}
        return HttpDomain(
            endpoints=[
                Endpoint(
                    method="POST", path="/empty", handler=nothing, access=(PUBLIC,), summary="", responses=described
                )
            ]
        )

    settings = Settings.from_environment()
    serve(settings, lambda: create_app(settings, domains=(*DOMAINS, empty)), tell=lambda _: None)


def plain() -> None:
    """The peer: a FastAPI model, an SQLAlchemy insert and commit a request; the same table, keyed in the same way."""
    import uvicorn
    from fastapi import FastAPI, Request
    from pydantic import BaseModel
    from sqlalchemy import JSON, create_engine, text
    from sqlalchemy.dialects.postgresql import insert
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class StoredEvent(Base):
        __tablename__ = "plain_events"
        idempotency_key: Mapped[str] = mapped_column(primary_key=True)
        type: Mapped[str]
        rule_id: Mapped[str | None]
        user_id: Mapped[str | None]
        session_id: Mapped[str | None]
        ts: Mapped[str | None]
        data: Mapped[dict[str, object]] = mapped_column(JSON)

    class Event(BaseModel):
        type: str
        ruleId: str | None = None  # noqa: N815
        userId: str | None = None  # noqa: N815
        sessionId: str | None = None  # noqa: N815
        ts: str | None = None
        idempotencyKey: str  # noqa: N815
        data: dict[str, object] = {}

    class Batch(BaseModel):
        events: list[Event]

    engine = create_engine(os.environ["PLAIN_URL"], pool_size=10)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("truncate plain_events"))
    app = FastAPI()

    @app.post("/ingest/events", status_code=202)
    def ingest(batch: Batch, request: Request) -> dict[str, int]:
        if request.headers.get("x-app-token") != TOKEN:
            return {"accepted": 0}
        with Session(engine) as session:
            for event in batch.events:
                row = {
                    "idempotency_key": event.idempotencyKey,
                    "type": event.type,
                    "rule_id": event.ruleId,
                    "user_id": event.userId,
                    "session_id": event.sessionId,
                    "ts": event.ts,
                    "data": event.data,
                }
                session.execute(insert(StoredEvent).values(row).on_conflict_do_nothing())
            session.commit()
        return {"accepted": len(batch.events)}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("the service ended")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the service did not answer")


if __name__ == "__main__":
    {"intake": intake, "plain": plain}[sys.argv[1]]()
