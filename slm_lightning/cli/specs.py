"""Commands about spec files."""

from __future__ import annotations

from pathlib import Path

import click

from slm_lightning import output
from slm_lightning.redact import redact


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-s", "--var", "variables", multiple=True, metavar="KEY=VALUE", help="Fill ${KEY}.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def validate(paths, variables, as_json) -> None:
    """Check specs without running them.

    PATHS are files or folders; without any, all below ./specs. Exits with 0 where every spec runs, with
    2 where one is faulty, with 3 where all that hinders is not installed or no longer exists.
    """
    from slm_lightning.lab.validation import check_paths, exit_code, summary
    from slm_lightning.spec.load import parse_assignments

    findings = check_paths(list(paths) or [Path("specs")], parse_assignments(variables, "-s"))
    if as_json:
        click.echo(output.to_json(redact([vars(finding) for finding in findings])))
    else:
        click.echo(redact("\n".join([*map(str, findings), summary(findings)])))
    raise SystemExit(exit_code(findings))


@click.command()
def schema() -> None:
    """Print the JSON Schema of spec files, for editors."""
    from slm_lightning.registry import REGISTRY
    from slm_lightning.spec.schema import json_schema

    click.echo(output.to_json(json_schema(REGISTRY)))
