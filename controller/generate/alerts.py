"""The alerts, from which the chart has its rules and each alert its page.

Each alert names the symptom, the share or the time from which on it is one, and what the person on call reads and runs.
Neighbors: `generate.alerts_page` makes docs/alerts/ and the chart's file, `telemetry.metrics` has the metrics.
"""

from typing import Final

from controller.generate.alerts_of_calls import ALERTS_OF_CALLS
from controller.generate.alerts_of_parts import ALERTS_OF_PARTS

ALERTS: Final = (*ALERTS_OF_PARTS, *ALERTS_OF_CALLS)
