"""For the tests of an application: the session of a test client, a clock, and a store that fails on demand.

`cartapp.session.testing.store_contract` has the tests for a store of your own.
"""

from .client import ClientSession, login_as, session_of
from .clock import ManualClock
from .faulty_store import OPERATIONS, FaultyStore

__all__ = ["OPERATIONS", "ClientSession", "FaultyStore", "ManualClock", "login_as", "session_of"]
