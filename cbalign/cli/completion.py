"""`cbalign completion`: the script that teaches a shell to complete."""

from __future__ import annotations

import os
from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from cbalign.cli import console
from cbalign.cli.shell import COMPLETING

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes verbs, specs, runs and settings in SHELL.

    \b
    bash:  eval "$(cbalign completion bash)" in ~/.bashrc
    zsh:   eval "$(cbalign completion zsh)" in ~/.zshrc, after compinit
    fish:  cbalign completion fish > ~/.config/fish/completions/cbalign.fish
    """
    teach_click()
    found = get_completion_class(shell)
    assert found is not None, "click knows the shells of the choice"
    console.result(found(ctx.find_root().command, {}, "cbalign", COMPLETING).source().rstrip())


def teach_click() -> None:
    """Make click complete in bash the way that `Bash` does."""
    add_completion_class(Bash)


class Bash(BashComplete):
    """Bash, which breaks words at `=`: `--set a.b=c` comes as `--set a.b = c`, and only `c` is replaced."""

    # No space where the word goes on.
    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "    return 0\n}", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n\n    return 0\n}"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one, with what bash broke put together."""
        words = split_arg_string(os.environ["COMP_WORDS"])
        current = int(os.environ["COMP_CWORD"])
        joined: list[str] = []
        for word in [*words[1:current], words[current] if current < len(words) else ""]:
            if joined and (word == "=" or joined[-1].endswith("=")):
                joined[-1] += word
            else:
                joined.append(word)
        *before, self._typed = joined
        return before, self._typed

    def format_completion(self, item: CompletionItem) -> str:
        """Without what stands before the last `=` already."""
        written = self._typed[: self._typed.rfind("=") + 1]
        return super().format_completion(CompletionItem(item.value.removeprefix(written), type=item.type))
