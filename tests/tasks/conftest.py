"""An application on a broker in memory, and a worker's work done in the test's own thread."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

import pytest

from umbel import Umbel, attempt, current, states
from umbel.drivers import memory
from umbel.message import Settlement
from umbel.outcome import Failed
from umbel.worker.admission import Admission
from umbel.worker.options import Duty

OWNER = "the test"


class ShiftedClock:
    """The machine's clock, ahead by as much as the test wants."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return time.time() + self.ahead

    def monotonic(self):
        return time.monotonic() + self.ahead


@dataclass
class Attempt:
    """One attempt that has been settled."""

    job: object
    outcome: object
    settlement: Settlement

    @property
    def request(self):
        return self.job.request


class Site:
    """One broker and result backend, with as many applications as a test makes."""

    def __init__(self):
        self.name = uuid.uuid4().hex
        self.clock = ShiftedClock()
        self.apps = []
        memory._servers[self.name] = memory.serve(self.name, self.clock)

    @property
    def broker(self):
        return memory._servers[self.name].broker

    def app(self, main="t", **settings):
        """An application of this site, current nowhere."""
        settings = {"set_as_current": False, "broker": f"memory://{self.name}", **settings}
        app = Umbel(main, **settings)
        self.apps.append(app)
        return app

    def close(self):
        for app in self.apps:
            app.close()
        del memory._servers[self.name]

    def pass_time(self, seconds):
        """Let delayed messages become due."""
        self.clock.ahead += seconds

    def waiting(self, queue="celery"):
        """The messages of a queue, in the order in which they are taken."""
        return [each.message for each in self.broker.browse(queue)]

    def dead(self):
        """The dead letters, newest first."""
        return [buried.letter for buried in self.broker.dead()]

    def drain(self, app, *, queues=("celery",), most=50):
        """Run what is due until nothing is; returns the attempts in order."""
        return list(self._attempts(app, queues, most))

    def run_one(self, app):
        """Run one message."""
        (attempt_,) = self.drain(app, most=1)
        return attempt_

    def _attempts(self, app, queues, most):
        admission = Admission(app, Duty(owner=OWNER, node="worker@here", queues=queues))
        broker = app.broker
        broker.enroll(OWNER, 30.0)
        for _ in range(most):
            deliveries = broker.reserve(OWNER, queues, limit=1, wait=0.0)
            if not deliveries:
                return
            admitted = admission.admit(deliveries[0])
            if isinstance(admitted, Settlement):
                assert broker.settle([admitted]) == [True]
                continue
            yield self._work(app, admission, admitted)

    def _work(self, app, admission, job):
        """What a slot does: open, run, conclude, settle."""
        broker, delivery = app.broker, job.delivery
        outcome = admission.open(job)
        if outcome is None:
            if not job.plan.acks_late:
                assert broker.settle([Settlement(delivery)]) == [True]
                job.acknowledged = True
            self._prepare(app, job)
            if job.plan.is_async:
                outcome = asyncio.run(attempt.arun(job.plan, job.request))
            else:
                outcome = attempt.run(job.plan, job.request)
        elif isinstance(outcome, Failed):
            attempt.after(job.plan, job.request, outcome)
        held = None if job.acknowledged else delivery
        settlement = attempt.conclude(job.plan, job.request, held, outcome)
        assert broker.settle([settlement]) == [True]
        return Attempt(job, outcome, settlement)

    def _prepare(self, app, job):
        request = job.request
        request.post = lambda result: broker_settle(app, result)
        if job.plan.task.track_started and job.plan.keeps_result(request):
            meta = {"pid": 1, "hostname": request.hostname}
            request.post(app.result_codec.encode(request.id, states.STARTED, meta))


def broker_settle(app, result):
    app.broker.settle([Settlement(None, result)])


@pytest.fixture
def site():
    """A broker of this test's own; what tests share between applications is put back."""
    shared, default = list(current._on_finalize), current._default
    now_current = current._apps.current
    site = Site()
    yield site
    site.close()
    current._on_finalize[:] = shared
    current.set_default_app(default)
    current.set_current_app(now_current)


@pytest.fixture
def app(site):
    """An application named ``t``."""
    return site.app()


@pytest.fixture
def drain(site):
    """Runs the messages of an application in this thread."""
    return site.drain
