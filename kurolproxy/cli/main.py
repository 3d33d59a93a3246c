"""The command line: global options, and a table of verbs that are loaded when called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import click

from kurolproxy import __version__
from kurolproxy.cli.failure import Failed, Refused


class Verb(NamedTuple):
    """Where a verb is: ``module:attribute`` below ``kurolproxy.cli``, and its line of help."""

    where: str
    help: str


VERBS: Final[Mapping[str, Verb]] = {
    "serve": Verb("serve:serve", "Run the gateway."),
    "demo": Verb("demo:demo", "Try everything without a vendor and without a configuration."),
    "check": Verb("check:check", "Validate the configuration."),
    "doctor": Verb("doctor:doctor", "Look for what is wrong, and say what to do."),
    "status": Verb("status:status", "Show what is running."),
    "explain": Verb("explain:explain", "Say what would become of a call, and why."),
    "reload": Verb("reload:reload", "Have the gateway read its configuration again."),
    "users": Verb("users:users", "Make and change accounts."),
    "keys": Verb("keys:keys", "Make, list, revoke and rotate API keys."),
    "plans": Verb("plans:plans", "List the plans."),
    "models": Verb("models:models", "List the models."),
    "usage": Verb("usage:usage", "Report the tokens that were used."),
    "ledger": Verb("ledger:ledger", "Check the record of usage."),
    "backup": Verb("backup:backup", "Copy accounts, keys and usage to a file."),
    "ask": Verb("ask:ask", "Ask a model one question through the gateway."),
    "connect": Verb("connect:connect", "Print the settings of a tool."),
}


class LazyGroup(click.Group):
    """Loads a verb's module when the verb is called.

    The web server alone takes a third of a second to import: ``--version``, ``--help`` and
    small verbs do without.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of their table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb; None when there is none of this name."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.where.partition(":")
        try:
            command = getattr(import_module(f"kurolproxy.cli.{module}"), attribute)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.partition(".")[0] == "kurolproxy":
                raise
            failure = Refused if cmd_name == "serve" else Failed
            raise failure(
                f"the installation is not whole, the module {missing} is missing: install again"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without loading one of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(
    cls=LazyGroup,
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="KUROL_CONFIG",
    help="The configuration file; otherwise $KUROL_CONFIG, config/kurolproxy.toml in a"
    " checkout, /etc/kurolproxy/kurolproxy.toml.",
)
@click.version_option(__version__, prog_name="kurolproxy", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Kurol Proxy: a self-hosted LLM API gateway.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot connect, 78 the gateway refuses to start.
    """
    ctx.obj = config
