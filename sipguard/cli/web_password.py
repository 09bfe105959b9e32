"""``sipguard web-password``: the password that opens the web page, hashed into a file."""

import argparse
import getpass
import sys
from pathlib import Path

from sipguard.cli.output import Screen
from sipguard.edge.password_file import hash_password, write_password
from sipguard.errors import EdgeError

SUMMARY = "set the password of the web page"
DETAILS = """\
Asks for a password twice, or reads one line of standard input if that is no terminal,
and writes its scrypt hash into FILE, which `twistd sipguard-web --password-file FILE`
reads at its start. Give the file to the group of the user that runs the page:
chgrp sipguard FILE.

examples:
  sipguard web-password /etc/sipguard/web.password

exit status:
  0  written
  1  the password is too short, or the file cannot be written
  2  the command line was wrong
"""
_MAX_CHARACTERS = 1024


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Ask, hash, write."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise EdgeError("these are two different passwords; nothing is changed")
    else:
        password = sys.stdin.readline(_MAX_CHARACTERS).rstrip("\r\n")
    write_password(options.file, hash_password(password))
    screen.note(f"Written to {options.file}; the page reads it when it starts.")
    return 0
