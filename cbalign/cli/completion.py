"""`cbalign completion`: print the completion script of a shell."""

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
    register_bash()
    found = get_completion_class(shell)
    assert found is not None, "click supports the shells of the choice"
    console.result(found(ctx.find_root().command, {}, "cbalign", console.COMPLETING).source().rstrip())


def register_bash() -> None:
    """Register `Bash` as click's completion for bash."""
    add_completion_class(Bash)


class Bash(BashComplete):
    """Completion for bash, which splits words at `=`: of `--set a.b=c`, only `c` is replaced."""

    # No space after `=`, where the value follows.
    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "    return 0\n}", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n\n    return 0\n}"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the current one, and the current one, with the words that bash split joined again."""
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
        """Format a completion without the part up to the last `=`, which is already on the line."""
        written = self._typed[: self._typed.rfind("=") + 1]
        return super().format_completion(CompletionItem(item.value.removeprefix(written), type=item.type))
