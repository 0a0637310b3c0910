"""No garbage is looked for where there is none."""

import gc


def pytest_configure() -> None:
    gc.disable()  # while modules are imported and tests collected, all that is made stays


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
