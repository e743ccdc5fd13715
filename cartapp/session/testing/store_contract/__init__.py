"""The contract of a store as a pytest suite, for a store of your own.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store_factory(self, clock: ManualClock) -> StoreFactory:
            return lambda: MyStore(clock=clock)

Add `ListableStoreContract` and `PurgeableStoreContract` to the bases of a store with these abilities.
Requires pytest, which the extra `testing` installs.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.suite")

from .suite import (  # noqa: E402 - after the registration
    ListableStoreContract,
    PurgeableStoreContract,
    StoreContract,
    StoreFactory,
)

__all__ = ["ListableStoreContract", "PurgeableStoreContract", "StoreContract", "StoreFactory"]
