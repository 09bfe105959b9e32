"""Just the BPF instructions that our program needs, written so that it reads as a listing.

Eight octets each: operation, two registers, an offset, a constant (RFC 9669 section 3).
Numbers are in the machine's order; both machines that we know the system calls of are
little-endian.
"""

import struct
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct("<BBhi")
OCTETS: Final = _LAYOUT.size

# RFC 9669 section 3.1: the classes.
_LD, _LDX, _ST, _STX, _ALU, _JMP, _ALU64 = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x07
_IMM, _MEM, _ATOMIC = 0x00, 0x60, 0xC0
_REGISTER: Final = 0x08  # the operand is a register, not the constant
_MAP_FD: Final = 1  # BPF_PSEUDO_MAP_FD, as a source register
_TO_BIG_ENDIAN: Final = 0xDC  # ALU, END, to big-endian
_JUMP, _CALL, _EXIT = 0x05, 0x85, 0x95


class Register(IntEnum):
    """R0 holds results, R1 to R5 arguments, R6 to R9 outlive calls; R10 is the stack's end."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, STACK = range(11)


class Size(Enum):
    """How much is loaded or stored."""

    WORD = 0x00  # four octets
    HALF = 0x08
    BYTE = 0x10
    DOUBLE = 0x18


class Sum(Enum):
    """What is done to a register."""

    ADD = 0x00
    SUBTRACT = 0x10
    MULTIPLY = 0x20
    AND = 0x50
    SHIFT_LEFT = 0x60
    SHIFT_RIGHT = 0x70
    MOVE = 0xB0


class When(Enum):
    """When a jump is taken; all compare without signs."""

    EQUAL = 0x10
    ABOVE = 0x20
    NOT_EQUAL = 0x50
    BELOW = 0xA0
    AT_MOST = 0xB0


class Instruction(NamedTuple):
    """One instruction; *target* is the label that its offset will lead to."""

    code: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    constant: int = 0
    target: str = ""


class Label(NamedTuple):
    """A place to jump to."""

    name: str


Line = Instruction | Label


def load(size: Size, into: Register, base: Register, offset: int) -> Instruction:
    """Load what stands at *base* + *offset*."""
    return Instruction(_LDX | _MEM | size.value, into, base, offset)


def store(size: Size, base: Register, offset: int, what: Register) -> Instruction:
    """Store a register at *base* + *offset*."""
    return Instruction(_STX | _MEM | size.value, base, what, offset)


def store_constant(size: Size, base: Register, offset: int, constant: int) -> Instruction:
    """Store a constant at *base* + *offset*."""
    return Instruction(_ST | _MEM | size.value, base, 0, offset, constant)


def atomic_add(size: Size, base: Register, offset: int, what: Register) -> Instruction:
    """Add a register to what stands at *base* + *offset*, whoever else does."""
    return Instruction(_STX | _ATOMIC | size.value, base, what, offset)


def change(register: Register, how: Sum, by: int | Register) -> Instruction:
    """Change a whole register."""
    return _sum(_ALU64, register, how, by)


def change32(register: Register, how: Sum, by: int | Register) -> Instruction:
    """Change the lower half of a register, and clear the upper one."""
    return _sum(_ALU, register, how, by)


def _sum(kind: int, register: Register, how: Sum, by: int | Register) -> Instruction:
    if isinstance(by, Register):
        return Instruction(kind | _REGISTER | how.value, register, by)
    return Instruction(kind | how.value, register, 0, 0, by)


def swap16(register: Register) -> Instruction:
    """Turn 16 bits from the network's order into the machine's, or back."""
    return Instruction(_TO_BIG_ENDIAN, register, 0, 0, 16)


def jump_if(register: Register, when: When, to: int | Register, target: str) -> Instruction:
    """Go on at *target* if the register stands so to a constant, or to another one."""
    if isinstance(to, Register):
        return Instruction(_JMP | _REGISTER | when.value, register, to, target=target)
    return Instruction(_JMP | when.value, register, constant=to, target=target)


def jump(target: str) -> Instruction:
    """Go on at *target*."""
    return Instruction(_JUMP, target=target)


def call(helper: int) -> Instruction:
    """Call one of the kernel's helpers by its number; it spoils R0 to R5."""
    return Instruction(_CALL, constant=helper)


def leave() -> Instruction:
    """End the program with the result in R0."""
    return Instruction(_EXIT)


def load_map(into: Register, descriptor: int) -> tuple[Instruction, Instruction]:
    """Load a map by its file descriptor; this takes the place of two instructions."""
    first = Instruction(_LD | _IMM | Size.DOUBLE.value, into, _MAP_FD, constant=descriptor)
    return first, Instruction(0)


def load_wide(into: Register, constant: int) -> tuple[Instruction, Instruction]:
    """Load 64 bits; this takes the place of two instructions."""
    first = Instruction(_LD | _IMM | Size.DOUBLE.value, into, constant=constant & 0xFFFFFFFF)
    return first, Instruction(0, constant=constant >> 32)


def assemble(lines: Iterable[Line]) -> bytes:
    """Return the program's octets, each jump with the way to its label.

    Raises:
        ValueError: A label stands twice or nowhere, or a jump leads back or too far.
    """
    labels: dict[str, int] = {}
    placed: list[Instruction] = []
    for line in lines:
        if isinstance(line, Instruction):
            placed.append(line)
        elif line.name in labels:
            raise ValueError(f"label {line.name} stands twice")
        else:
            labels[line.name] = len(placed)
    return b"".join(_encoded(line, at, labels) for at, line in enumerate(placed))


def _encoded(line: Instruction, at: int, labels: dict[str, int]) -> bytes:
    offset = line.offset
    if line.target:
        if line.target not in labels:
            raise ValueError(f"there is no label {line.target}")
        offset = labels[line.target] - at - 1
        if not 0 <= offset < 1 << 15:
            raise ValueError(f"the jump to {line.target} leads back, or too far")
    # A constant has 32 bits; which of them is the sign, the instruction says.
    constant = (line.constant + (1 << 31)) % (1 << 32) - (1 << 31)
    return _LAYOUT.pack(line.code, line.destination | line.source << 4, offset, constant)
