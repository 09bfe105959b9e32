"""x"""


def run(reason: str) -> int:
    return 1
