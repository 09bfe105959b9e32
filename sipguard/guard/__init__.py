"""The one place that knows the order: parse, calls, policy, replay, media, verdict."""

from sipguard.guard.inspect import Guard as Guard
from sipguard.guard.inspect import Statistics as Statistics
