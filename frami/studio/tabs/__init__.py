"""One class a tab of the studio; ``TABS`` has them in the order of the bar."""

from frami.studio.tabs.base import EVENT, Page, Tab
from frami.studio.tabs.distil import Distil
from frami.studio.tabs.explore import Explore
from frami.studio.tabs.listen import Listen
from frami.studio.tabs.method import Method
from frami.studio.tabs.synthesize import Synthesize
from frami.studio.tabs.teachers import TeachersAndData
from frami.studio.tabs.try_it import TryIt

__all__ = ["EVENT", "TABS", "Page", "Tab"]

TABS: tuple[type[Tab], ...] = (Listen, Synthesize, Explore, Distil, TryIt, TeachersAndData, Method)
