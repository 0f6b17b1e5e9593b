import pytest


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Write an untrained checkpoint of the released shape."""
    from agentflow.backend.diffusion.untrained import save_untrained_checkpoint

    folder = tmp_path_factory.mktemp("checkpoint")
    save_untrained_checkpoint(folder)
    return str(folder)
