"""What is seen of a studio at work: whether its workers live, how long its queues are, how quickly it answers."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from statistics import median, quantiles

import psutil

from frami import __version__
from frami.studio.services.shared import Services
from frami.studio.services.troubles import LOG

#: The latest clicks of each kind whose times are stored.
_LATEST = 500
#: Metrics: name, kind, what it is.
_HELP = {
    "frami_up": ("gauge", "1 while all workers live"),
    "frami_uptime_seconds": ("gauge", "Seconds since the studio began"),
    "frami_memory_bytes": ("gauge", "Resident memory, of the page's process and of those that it started"),
    "frami_worker_alive": ("gauge", "1 while this worker lives"),
    "frami_waiting": ("gauge", "What waits, by kind"),
    "frami_running": ("gauge", "What is at work, by kind"),
    "frami_refusals_total": ("counter", "Requests refused in words, by kind"),
    "frami_errors_total": ("counter", "Unexpected errors, by kind"),
    "frami_jobs_total": ("counter", "Jobs of worker processes, by how they ended"),
    "frami_answer_seconds": ("summary", "Time until the first answer to a click, by what was clicked"),
}


class Observation(logging.Handler):
    """Counts what ``troubles`` logs from ``begin`` to ``end``, and times what ``timed`` is told."""

    def __init__(self, services: Services):
        super().__init__(logging.INFO)
        self._services = services
        self._began = time.monotonic()
        self._counts = {"refusal": Counter(), "failure": Counter()}
        self._times: dict[str, deque[float]] = {}
        self._sums: dict[str, tuple[int, float]] = {}
        self._own = threading.Lock()

    def begin(self) -> "Observation":
        LOG.addHandler(self)
        return self

    def end(self) -> None:
        LOG.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        with self._own:
            for name, counter in self._counts.items():
                if kind := getattr(record, name, None):
                    counter[kind] += 1

    def timed(self, what: str, seconds: float) -> None:
        """A click of this kind was answered after so many seconds."""
        with self._own:
            self._times.setdefault(what, deque(maxlen=_LATEST)).append(seconds)
            count, total = self._sums.get(what, (0, 0.0))
            self._sums[what] = count + 1, total + seconds

    def health(self, events: Callable[[], dict[str, int]]) -> dict:
        """Whether all is well, as plain values. events : the page's own queue, ``{"waiting", "running"}``."""
        workers = self._services.workers()
        waiting, running = self._queues(events())
        return {
            "status": "ok" if all(workers.values()) else "a worker is dead",
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._began, 1),
            "queue": {kind: {"waiting": waiting[kind], "running": running[kind]} for kind in waiting},
            "workers": {name: "alive" if alive else "dead" for name, alive in workers.items()},
        }

    def metrics(self, events: Callable[[], dict[str, int]]) -> str:
        """All figures in the text format of Prometheus (version 0.0.4)."""
        workers = self._services.workers()
        waiting, running = self._queues(events())
        with self._own:
            refused, failed = (sorted(self._counts[name].items()) for name in ("refusal", "failure"))
            times = {what: (sorted(some), *self._sums[what]) for what, some in sorted(self._times.items())}
        rows = {
            "frami_up": [("", int(all(workers.values())))],
            "frami_uptime_seconds": [("", round(time.monotonic() - self._began, 1))],
            "frami_memory_bytes": [(f'{{process="{name}"}}', size) for name, size in memory().items()],
            "frami_worker_alive": [(f'{{worker="{name}"}}', int(alive)) for name, alive in workers.items()],
            "frami_waiting": [(f'{{kind="{kind}"}}', count) for kind, count in waiting.items()],
            "frami_running": [(f'{{kind="{kind}"}}', count) for kind, count in running.items()],
            "frami_refusals_total": [(f'{{kind="{kind}"}}', count) for kind, count in refused],
            "frami_errors_total": [(f'{{kind="{kind}"}}', count) for kind, count in failed],
            "frami_jobs_total": [(f'{{end="{end}"}}', count) for end, count in self._services.jobs().items()],
        }
        lines = [line for name, some in rows.items() for line in _metric(name, some)]
        return "\n".join([*lines, *_summaries(times), ""])

    def _queues(self, events: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        found = {"events": (events["waiting"], events["running"]), **self._services.queues()}
        return {kind: pair[0] for kind, pair in found.items()}, {kind: pair[1] for kind, pair in found.items()}


def memory() -> dict[str, int]:
    """Resident bytes of this process (``page``) and of those that it started (``workers``)."""
    own, below = psutil.Process(), 0
    for child in own.children(recursive=True):
        try:
            below += child.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return {"page": own.memory_info().rss, "workers": below}


def _metric(name: str, rows: Iterable[tuple[str, float]]) -> list[str]:
    kind, words = _HELP[name]
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}", *(f"{name}{labels} {value}" for labels, value in rows)]


def _summaries(times: dict[str, tuple[list[float], int, float]]) -> list[str]:
    rows = []
    for what, (some, count, total) in times.items():
        high = quantiles(some, n=20)[-1] if len(some) > 1 else some[0]
        rows += [(f'{{event="{what}",quantile="{q}"}}', round(x, 4)) for q, x in ((0.5, median(some)), (0.95, high))]
        rows += [(f'_sum{{event="{what}"}}', round(total, 3)), (f'_count{{event="{what}"}}', count)]
    return _metric("frami_answer_seconds", rows)
