"""What the guard tells, carried to the process that makes records of it: the same at both ends."""

from hypothesis import given
from hypothesis import strategies as st
from stream_ends import ended, invited, refused

from sipguard.evidence import Evidence, State
from sipguard.journal.carried import pack, pack_end, unpack, unpack_end
from sipguard.journal.observation import Answer, Condition, MediaNote, Observation
from sipguard.journal.record import record_of
from sipguard.journal.streams import Closer, StreamEnd
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

octets, numbers, texts = st.binary(max_size=40), st.integers(0, 65535), st.text(max_size=20)
times = st.floats(0, 4e9)
reasons, actions = st.sampled_from(Reason), st.sampled_from(Action)
findings = st.builds(Finding, reasons, texts, octets)
ends = st.builds(Endpoint, octets, numbers)
notes = st.builds(
    MediaNote, octets, octets, octets, octets, st.booleans(), reasons, ends, ends, texts
)
answers = st.builds(
    Answer,
    texts,
    st.none() | st.booleans(),
    st.lists(st.tuples(texts, octets), max_size=2).map(tuple),
)
conditions = st.builds(Condition, texts, st.booleans(), st.lists(answers, max_size=2).map(tuple))
proofs = st.builds(
    Evidence,
    st.sampled_from(State),
    st.none() | findings,
    notes=st.lists(findings, max_size=2).map(tuple),
    signer=octets,
    covers=st.lists(octets, max_size=2).map(tuple),
    attest=octets,
    orig=octets,
    failures=st.lists(st.tuples(octets, findings), max_size=2).map(tuple),
)
steps = st.tuples(times, octets, octets, octets)
observations = st.builds(
    Observation,
    times, actions, actions, reasons, octets, octets, numbers, numbers,
    mode=texts, rule=texts, place=texts, detail=texts, octets=octets, status=numbers, phrase=texts,
    findings=st.lists(findings, max_size=2).map(tuple),
    transport=texts, interface=texts, zone=texts, ipsec=st.booleans(),
    method=octets, sip_status=numbers, request_uri=octets, from_=octets, to=octets,
    contact=octets, call_id=octets, cseq=octets, branch=octets, user_agent=octets,
    start_line=octets, dialog=texts, media=st.lists(notes, max_size=2).map(tuple),
    log=st.booleans(), alarm=st.booleans(), raw=octets,
    ladder=st.lists(steps, max_size=2).map(tuple),
    proofs=st.lists(st.tuples(texts, proofs), max_size=2).map(tuple),
    condition=st.none() | conditions,
)  # fmt: skip


def told(seen: Observation) -> tuple[object, ...]:
    """Everything in an observation; evidence has no equality of its own."""
    fields = [getattr(seen, name) for name in seen._fields if name != "proofs"]
    evidence = [
        (kind, *(getattr(of, name) for name in
                 ("state", "finding", "notes", "signer", "covers", "attest", "orig", "failures")))
        for kind, of in seen.proofs
    ]  # fmt: skip
    return (*fields, evidence)


@given(observations)
def test_an_observation_arrives_as_it_was(seen: Observation) -> None:
    """Every field: a record made in another process is the record that was always made."""
    there = unpack(pack(seen))
    assert told(there) == told(seen)
    assert record_of(there, "0" * 8) == record_of(seen, "0" * 8)


def test_real_ones_arrive_as_they_were() -> None:
    """An INVITE that was logged, and a packet that was refused."""
    for seen in (invited(), refused()):
        assert told(unpack(pack(seen))) == told(seen)


@given(
    st.builds(
        StreamEnd,
        times, octets, octets, octets, numbers, octets, texts, octets, texts, reasons,
        st.sampled_from(Closer), numbers, numbers, numbers,
    )
)  # fmt: skip
def test_the_end_of_a_stream_arrives_as_it_was(end: StreamEnd) -> None:
    """Every field."""
    assert unpack_end(pack_end(end)) == end
    assert unpack_end(pack_end(ended())) == ended()
