"""The policy language: text to frozen rules, rules and a message to a ruling."""

from sipguard.policy.load import load_policy
from sipguard.policy.rules import Chain, Policy, Rule, Ruling
from sipguard.policy.subject import RateReader, StreamView, Subject

__all__ = [
    "Chain",
    "Policy",
    "RateReader",
    "Rule",
    "Ruling",
    "StreamView",
    "Subject",
    "load_policy",
]
