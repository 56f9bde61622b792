"""Work beyond this process: tasks go in, results come as they end, here one after another or on a Ray cluster.

What teachers need on their way there is in ``sent``: workers that need none of it begin without PyTorch.
"""

from frami.cluster.engine import Engine, Later, Local
from frami.cluster.opening import LOCAL, RAY, check, later, opened
from frami.cluster.tasks import Ended, Failures, Task

__all__ = ["LOCAL", "RAY", "Ended", "Engine", "Failures", "Later", "Local", "Task", "check", "later", "opened"]
