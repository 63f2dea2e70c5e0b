"""The actions of `nateq_webhook` and their options."""

from typing import Any

from django.core.management.base import CommandParser

from nateq_webhooks import remote
from nateq_webhooks.management.terminal import accept_django_options


def add_webhook_actions(parser: CommandParser) -> None:
    """Add a parser for each action; the option `action` names the one that was given."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    create = _add_action(actions, "create", "Create the webhook at Nateq, and save its id and secret here.")
    _add_events(create, "Events to subscribe to (default: all).")
    create.add_argument(
        "--organization", default="", metavar="ORG", help="The organization at Nateq to bind a new webhook to."
    )
    _add_action(actions, "list", "List the webhooks of this site and how they compare with Nateq's.", has_name=False)
    _add_action(actions, "show", "Show one webhook, here and at Nateq.")
    update = _add_action(actions, "update", "Change the events of a webhook, or switch it on or off, on both sides.")
    _add_events(update, "The events to subscribe to from now on; without a name: all.")
    switch = update.add_mutually_exclusive_group()
    switch.add_argument("--active", dest="is_active", action="store_const", const=True, help="Switch it on.")
    switch.add_argument("--inactive", dest="is_active", action="store_const", const=False, help="Switch it off.")
    delete = _add_action(actions, "delete", "Delete a webhook at Nateq and here.")
    rotate = _add_action(actions, "rotate", "Have Nateq make a new secret; the former one stays for late retries.")
    sync = _add_action(
        actions,
        "sync",
        "Finish interrupted runs and show where both sides differ; with --push or --pull, make them the same.",
    )
    _add_direction(sync)
    for changing in (create, update, delete, rotate, sync):
        _add_confirmation(changing)
    for deleting in (delete, sync):
        deleting.add_argument(
            "--gone",
            action="store_true",
            help="With --name: you know that Nateq has deleted this webhook, which the key does not see.",
        )


def _add_action(actions: Any, name: str, text: str, *, has_name: bool = True) -> CommandParser:
    parser: CommandParser = actions.add_parser(name, help=text, description=text)
    accept_django_options(parser)
    if has_name:
        parser.add_argument("--name", help="The local name (default: the only one; for create: nateq).")
    parser.add_argument("--json", dest="as_json", action="store_true", help="Write JSON, for a program to read.")
    return parser


def _add_events(parser: CommandParser, text: str) -> None:
    parser.add_argument("--events", "--event", nargs="*", action="extend", metavar="EVENT", help=text)


def _add_direction(parser: CommandParser) -> None:
    direction = parser.add_mutually_exclusive_group()
    for option, value, text in (
        ("--push", remote.Direction.PUSH, "Make Nateq's webhooks like the ones here."),
        ("--pull", remote.Direction.PULL, "Make the webhooks here like Nateq's."),
    ):
        direction.add_argument(option, dest="direction", action="store_const", const=value, help=text)


def _add_confirmation(parser: CommandParser) -> None:
    parser.add_argument(
        "--yes",
        "--no-input",
        "--noinput",
        dest="yes",
        action="store_true",
        help="Do not ask before a change that can end the receipt of deliveries. Required without a terminal.",
    )
    parser.add_argument("--dry-run", action="store_true", help="Say what would be done, and do nothing.")
