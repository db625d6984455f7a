"""vqcodec completion: the script that makes a shell complete commands, options, models and files."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell.

    Put it where the shell looks for such scripts, and start the shell anew (bash 4.4 or newer):

    \b
        vqcodec completion bash > ~/.local/share/bash-completion/completions/vqcodec
        vqcodec completion zsh > ~/.zfunc/_vqcodec        (with fpath+=~/.zfunc before compinit in ~/.zshrc)
        vqcodec completion fish > ~/.config/fish/completions/vqcodec.fish
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    script = shell_class(context.find_root().command, {}, "vqcodec", "_VQCODEC_COMPLETE")
    click.echo(ShellComplete.source(script))  # not the class's own, which for bash runs bash and looks how old it is
