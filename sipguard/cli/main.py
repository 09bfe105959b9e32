"""``sipguard``: one command line for who runs the gateway, writes policies or reviews blocks."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from sipguard.cli.output import Screen, Style, standard_screen
from sipguard.errors import EdgeError
from sipguard.journal.escape import safe_text
from sipguard.journal.query import QueryError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130  # as the shell counts SIGINT

# Each is a module of its own, imported when it is asked for.
_COMMANDS: Final = (
    "check", "policy", "rules", "replay", "blocked", "explain", "export", "stats", "tail",
    "status", "allow", "mute", "exceptions", "backup", "web-password", "identity",
)  # fmt: skip
_DESCRIPTION: Final = """\
SIP-aware firewall for Linux gateways. The service itself runs under twistd
(`twistd sipguard --help`); these commands check and try policies before it takes
them, and read what it recorded.
"""
_EPILOG: Final = """\
a policy's life:
  sipguard check strict.policy                         is it well formed?
  sipguard replay calls.pcap --policy strict.policy    what would it have done?
  sipguard replay calls.pcap --policy strict.policy --against next.policy
                                                       what would the next one change?
  sipguard policy suggest ID                           which rule would have let it pass?
  sipguard rules strict.policy                         what goes into the kernel?

the morning after:
  sipguard status                                      is it running, and how is it?
  sipguard blocked --since yesterday --by rule         what was blocked, and by what?
  sipguard explain ID                                  why exactly?
  sipguard export ID --pcap call.pcap                  its packet, for Wireshark
  sipguard stats --since 7d                            how much, and from whom?
  sipguard allow --for 1h --source ADDRESS --reason TEXT
                                                       let it pass, for now
  sipguard exceptions                                  what is let pass, and by whom?

who is really calling, on a bench:
  sipguard identity make-ca trial                      certificates, signing, verifying

environment:
  SIPGUARD_STATE  the state directory, instead of /var/lib/sipguard
  NO_COLOR        no colors, also on a terminal

exit status:
  0  done; 1  it failed, and standard error says why; 2  the command line was wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    screen = standard_screen()
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parser(arguments[0] if arguments else "").parse_args(arguments)
    run: Callable[[argparse.Namespace, Screen], int] = options.run
    try:
        code = run(options, screen)
        screen.out.flush()
    except QueryError as error:
        return _fail(screen, str(error), EXIT_USAGE)
    except EdgeError as error:
        return _fail(screen, str(error), EXIT_FAILED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _fail(screen: Screen, message: str, code: int) -> int:
    screen.note(f"{screen.paint('sipguard:', Style.WARNING)} {safe_text(message)}")
    return code


def _parser(command: str = "") -> argparse.ArgumentParser:
    """Return what reads a command line that begins with *command*: of all, if it is none."""
    parser = argparse.ArgumentParser(
        prog="sipguard",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in (command,) if command in _COMMANDS else _COMMANDS:
        module = import_module(f"sipguard.cli.{name.replace('-', '_')}")
        below = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=f"sipguard {name}: {module.SUMMARY}",
            epilog=module.DETAILS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(below)
        below.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
