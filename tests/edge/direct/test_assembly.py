"""The assembler against known encodings, and the jumps of what it puts together."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.direct.assembly import (
    OCTETS,
    Instruction,
    Label,
    Line,
    Register,
    Size,
    Sum,
    When,
    assemble,
    atomic_add,
    call,
    change,
    change32,
    jump,
    jump_if,
    leave,
    load,
    load_map,
    load_wide,
    store,
    store_constant,
    swap16,
)
from sipguard.edge.direct.layout import Hashing, Pace, Tables
from sipguard.edge.direct.program import program

R0, R1, R2, R6 = Register.R0, Register.R1, Register.R2, Register.R6
STACK = Register.STACK

# As linux/filter.h writes them (BPF_MOV64_REG and so on) and `bpftool prog dump xlated opcodes`
# shows them.
KNOWN = {
    "bf16000000000000": change(R6, Sum.MOVE, R1),
    "b7000000ffffffff": change(R0, Sum.MOVE, -1),
    "0702000036000000": change(R2, Sum.ADD, 54),
    "7700000014000000": change(R0, Sum.SHIFT_RIGHT, 20),
    "1c21000000000000": change32(R1, Sum.SUBTRACT, R2),
    "540200000fffffff": change32(R2, Sum.AND, 0xFFFFFF0F),
    "dc02000010000000": swap16(R2),
    "6162280000000000": load(Size.WORD, R2, R6, 40),
    "6962fe0000000000": load(Size.HALF, R2, R6, 254),
    "7162000000000000": load(Size.BYTE, R2, R6, 0),
    "7b2af0ff00000000": store(Size.DOUBLE, STACK, -16, R2),
    "7a0a98ff00000000": store_constant(Size.DOUBLE, STACK, -104, 0),
    "6a0a98ff02110000": store_constant(Size.HALF, STACK, -104, 0x1102),
    "c326040000000000": atomic_add(Size.WORD, R6, 4, R2),
    "db26080000000000": atomic_add(Size.DOUBLE, R6, 8, R2),
    "8500000001000000": call(1),
    "9500000000000000": leave(),
}


@pytest.mark.parametrize("encoded", KNOWN)
def test_each_instruction_is_encoded_as_the_kernel_reads_it(encoded: str) -> None:
    """An octet wrong is another program, and the verifier may like it all the same."""
    assert assemble([KNOWN[encoded]]).hex() == encoded


def test_a_map_is_loaded_by_two_instructions() -> None:
    """BPF_LD_MAP_FD: the descriptor in the first, nothing in the second."""
    assert assemble(load_map(R1, 7)).hex() == "1811000007000000" + "00" * 8


def test_so_is_a_constant_of_64_bits() -> None:
    """BPF_LD_IMM64: its lower half in the first, its upper one in the second."""
    octets = assemble(load_wide(R2, 0x8182838401020304))
    assert octets.hex() == "1802000004030201" + "0000000084838281"


def test_a_jump_counts_from_the_next_instruction() -> None:
    """To the very next one it is 0."""
    lines = (jump_if(R2, When.NOT_EQUAL, 0, "end"), jump("end"), Label("end"), leave())
    assert assemble(lines).hex() == "5502010000000000" + "0500000000000000" + "95" + "00" * 7


@pytest.mark.parametrize(
    "lines",
    [
        [jump("nowhere"), leave()],
        [Label("a"), Label("a"), leave()],
        [Label("back"), jump("back"), leave()],
        [jump("far"), *[leave()] * (1 << 15), Label("far"), leave()],
    ],
)
def test_a_jump_that_leads_astray_is_refused(lines: list[Line]) -> None:
    """No label, two of them, a loop, or farther than sixteen bits say."""
    with pytest.raises(ValueError, match=r"label|jump"):
        assemble(lines)


@given(st.lists(st.integers(0, 40), max_size=40))
def test_each_jump_leads_to_its_label(targets: list[int]) -> None:
    """Whatever stands between: labels take no room."""
    lines: list[Line] = []
    wanted = []
    for at, ahead in enumerate(targets):
        goal = min(at + 1 + ahead, len(targets))
        lines += [Label(str(at)), jump(str(goal))]
        wanted.append(goal)
    lines += [Label(str(len(targets))), leave()]
    octets = assemble(lines)
    for at, goal in enumerate(wanted):
        (offset,) = struct.unpack_from("<h", octets, at * OCTETS + 2)
        assert at + 1 + offset == goal


@given(
    st.tuples(*[st.integers(0, 1 << 20)] * 4),
    st.tuples(*[st.integers(0, (1 << 64) - 1)] * 5),
    st.integers(0, 1192),
    st.integers(0, 1192),
    st.integers(0, (1 << 31) - 1),
)
def test_the_program_ends_whatever_the_numbers(
    descriptors: tuple[int, int, int, int],
    factors: tuple[int, ...],
    least: int,
    more: int,
    secret: int,
) -> None:
    """Its jumps lead ahead and inside, and its last instruction ends it."""
    pace = Pace(least, least + more, 1 << 30, secret)
    hashings = Hashing(factors[:2], 14), Hashing(factors, 14)
    lines = list(program(Tables(*descriptors), pace, hashings))
    octets = assemble(lines)
    placed = [line for line in lines if isinstance(line, Instruction)]
    assert len(octets) == OCTETS * len(placed)
    assert placed[-1] == leave()
    for at, line in enumerate(placed):
        (offset,) = struct.unpack_from("<h", octets, at * OCTETS + 2)
        if line.target:
            assert 0 <= offset < len(placed) - at - 1
