"""The program, and `python -m mrpack`."""

try:
    import signal  # with enum and what that needs
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> None:
    """Until there is somebody to tell it, Ctrl-C ends the process as it ends others, without a traceback."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mrpack.cli.main import main as run  # noqa: PLC0415  # most of what a start takes

    try:
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # before `run` tells it, or after
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
