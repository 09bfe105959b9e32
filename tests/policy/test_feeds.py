"""``feed`` lines: what they mean, and what is said of those that mean nothing."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import PolicyError
from sipguard.policy.feeds import Feed
from sipguard.policy.load import load_policy
from sipguard.policy.rules import Policy


def load(text: str) -> Policy:
    return load_policy("etc/p", lambda _: text)


@pytest.mark.parametrize(
    ("line", "feed"),
    [
        ('json "/var/a.jsonl"', Feed("json", "/var/a.jsonl")),
        ('json "a.jsonl"', Feed("json", "etc/a.jsonl")),
        ('fail2ban "/var/r.log"', Feed("fail2ban", "/var/r.log")),
        ("hep 192.0.2.9:9060", Feed("hep", "192.0.2.9", 9060)),
        (
            'hep "[2001:db8::1]:9060" capture-id 7 password "k"',
            Feed("hep", "2001:db8::1", 9060, capture_id=7, secret="etc/k"),
        ),
        ("syslog udp 192.0.2.9:514", Feed("syslog", "192.0.2.9", 514, "udp")),
        ("syslog tcp 192.0.2.9:601 cef", Feed("syslog", "192.0.2.9", 601, "tcp", True)),
        ("syslog local", Feed("syslog", "/dev/log", to="local")),
        ('syslog local "/run/log" cef', Feed("syslog", "/run/log", to="local", cef=True)),
        (
            'webhook "https://example.com/x?y" secret "s" ca "c"',
            Feed("webhook", "https://example.com/x?y", secret="etc/s", authority="etc/c"),
        ),
    ],
)
def test_what_a_line_means(line: str, feed: Feed) -> None:
    """Files are named relative to the policy."""
    (found,) = load(f"feed {line}\n").feeds
    assert found.same == feed
    assert found.place == "etc/p:1:1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "expected a kind of feed"),
        ("jsn", "did you mean json?"),
        ("json a.jsonl", "quote it"),
        ('json "a" "b"', "too much"),
        ("hep example.com:9060", "names are not looked up"),
        ("hep 192.0.2.9", "has no port"),
        ("hep 192.0.2.9:0", "has no port"),
        ("hep 192.0.2.9:1 capture-di 7", "did you mean capture-id?"),
        ("hep 192.0.2.9:1 capture-id 4294967296", "is no number from 0"),
        ("syslog 192.0.2.9:514", "expected udp, tcp or local"),
        ("syslog udp 192.0.2.9:514 ceff", "did you mean cef?"),
        ("syslog udp { 192.0.2.9 }", "found braces"),
        ('webhook "https://example.com/"', "without a secret"),
        ('webhook "http://example.com/" secret "s"', "plain http"),
        ('webhook "https://u:p@example.com/" secret "s"', "is no URL"),
        ('webhook "https:///x" secret "s"', "is no URL"),
        ('webhook "https://[::1" secret "s"', "is no URL"),
    ],
)
def test_what_is_said_of_a_line_that_means_nothing(line: str, said: str) -> None:
    """With its place, and what was probably meant."""
    with pytest.raises(PolicyError, match="etc/p:1:") as wrong:
        load(f"feed {line}\n")
    assert said in str(wrong.value)


def test_the_same_feed_twice_would_write_everything_twice() -> None:
    """And two writers of one file tear each other's lines."""
    with pytest.raises(PolicyError, match=r"stands twice \(first at etc/p:1:1\)"):
        load('feed json "a"\nfeed json "a"\n')
    with pytest.raises(PolicyError, match=r"stands twice"):
        load('feed json "a"\nfeed fail2ban "a"\n')
    assert len(load('feed json "a"\nfeed json "b"\n').feeds) == 2


def test_two_collectors_may_share_a_port() -> None:
    """UDP and TCP of one port are two receivers."""
    assert len(load("feed syslog udp 192.0.2.9:514\nfeed syslog tcp 192.0.2.9:514\n").feeds) == 2


def test_every_feed_has_a_name_of_its_own() -> None:
    """Two of one name would be one time series twice, and Prometheus takes neither."""
    line = 'feed webhook "https://example.com/{}" secret "s"\n'
    feeds = load("".join(line.format(n) for n in range(3))).feeds
    names = ["webhook example.com", "webhook example.com #2", "webhook example.com #3"]
    assert [feed.name for feed in feeds] == names
    later = load(line.format(1) + line.format(0)).feeds
    assert [feed.name for feed in later] == names[:2]
    assert later[0].same == feeds[1].same  # a reload knows it, whatever its number is now


def test_a_policy_has_a_few_feeds() -> None:
    """Each costs time between two packets."""
    text = "".join(f'feed json "{n}"\n' for n in range(17))
    with pytest.raises(PolicyError, match="more than 16 feeds"):
        load(text)


def test_a_name_tells_no_secret() -> None:
    """Paths and queries of a webhook are often its password; status files are read by many."""
    (feed,) = load('feed webhook "https://example.com/T0/token?key=1" secret "s"\n').feeds
    assert feed.name == "webhook example.com"


@given(st.text(max_size=60))
def test_any_line_is_read_or_refused(rest: str) -> None:
    """No line raises anything else."""
    with contextlib.suppress(PolicyError):
        load(f"feed {rest}")
