"""Where the installed program begins.

Nothing is imported above: each child process runs the program's script once more to learn of its functions, and needs
none of them.
"""


def main() -> None:
    """Run the command line; the process ends with one of `errors.ExitCode`.

    A short command is nearly all loading. Loading makes objects by the hundred thousand and hardly any garbage, so that
    garbage is looked for a tenth as often, and not at all in what is left when the process ends: the system takes it
    back as it is. (Together a fifth of the time of `findings`.)
    """
    import atexit
    import gc
    import os
    import pwd

    gc.set_threshold(10 * gc.get_threshold()[0])
    atexit.register(gc.freeze)
    # Plugins of pydantic are none of ours; to find out that there are none, it reads what every package says of itself.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        import tempfile

        # A number that no name belongs to, as in `docker run --user 5000`: torch would name this folder after the user
        # when it is imported, and fail.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{os.getuid()}")

    from agcnn_clinic.cli.main import main as command_line

    command_line()
