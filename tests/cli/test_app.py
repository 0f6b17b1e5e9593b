"""How a command ends: exit codes, messages, and what starting up costs."""

import subprocess
import sys

import pytest

from agentflow.cli import app as app_module
from agentflow.cli.app import main
from agentflow.errors import BackendError, ConfigurationError


@pytest.fixture
def failing_command(monkeypatch):
    """Return a function that makes ``agentflow demo`` raise an error; the command line around it is the real one."""

    def make(error):
        def fail() -> None:
            raise error

        app = app_module.typer.Typer(pretty_exceptions_enable=False)
        app.command("demo")(fail)
        app.callback()(app_module._options)
        monkeypatch.setattr(app_module, "app", app)

    return make


def test_help_lists_every_command(capsys):
    """All commands are found from ``agentflow --help``."""
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("demo", "run", "decode", "schema", "bench", "--debug"))


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["demo", "--seed", "x"], ["decode", "hello"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    """A wrong command line is a usage error on the error stream, without a traceback."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert shown.err


def test_usage_errors_of_the_library_end_with_2(failing_command, capsys):
    """The caller's mistakes are one message with the hint."""
    failing_command(ConfigurationError("x is 3", hint="make it 4"))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "error: x is 3\nhint: make it 4\n"


def test_other_errors_of_the_library_end_with_1(failing_command, capsys):
    """A run that failed is told apart from wrong usage by the exit code."""
    failing_command(BackendError("the device is gone"))
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "error: the device is gone\n"


@pytest.mark.parametrize("arguments", [["--debug", "demo"], ["demo", "--debug"]])
def test_debug_shows_the_traceback(failing_command, arguments):
    """With --debug, anywhere on the line, the error comes through."""
    failing_command(ConfigurationError("x is 3"))
    with pytest.raises(ConfigurationError, match="x is 3"):
        main(arguments)


def test_ctrl_c_ends_with_130(failing_command):
    """Ctrl-C is no error message, and has the exit code that shells expect."""
    failing_command(KeyboardInterrupt())
    assert main(["demo"]) == 130


@pytest.mark.slow
def test_starting_up_imports_nothing_heavy():
    """``agentflow --help`` must answer at once: no torch, no transformers, no numba, no jsonschema."""
    code = (
        "import sys; from agentflow.cli.app import main; main(['--help']); "
        "heavy = {'torch', 'transformers', 'numba', 'numpy', 'jsonschema', 'agentflow.agent'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert ended.returncode == 0, ended.stderr
