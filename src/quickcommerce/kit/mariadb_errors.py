"""What MariaDB's errors mean here, by their numbers (https://mariadb.com/kb/en/mariadb-error-code-reference/).

Only what is known to pass by itself is repeated. What is told to others names no host, no user and no value.
"""

from quickcommerce.kit.db import Duplicate, Lost, Repeatable, Unmatched
from quickcommerce.kit.problem import Unavailable

UNDONE = frozenset({1020, 1205, 1213})
"""The row changed since it was read, a lock was waited for too long, a deadlock: another transaction was in the way."""
DUPLICATE = 1062
UNMATCHED = 1644
"""A SIGNAL, as `mariadb_sql.matched` gives; there is no other."""
LOST = frozenset({0, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1317, 1927, 2006, 2013, 2014, 2055})
"""The server stops, the connection or its statement was killed, or what went over it came to an end."""
GONE = frozenset({1129, 1130, 2002, 2003, 2005, 2026})
REFUSED = frozenset({1044, 1045, 1049, 1142, 1698})
BUSY = frozenset({1040, 1041, 1203, 1226})
FULL = frozenset({3, 14, 28, 1021, 1026, 1030, 1114, 1180})
READ_ONLY = frozenset({1036, 1290, 1836})
SLOW = frozenset({1907, 1969, 3024})
FULL_RETRY_S = 5


def meaning(name: str, error: Exception) -> Exception:
    """What an error of the driver means for work on the schema `name`; itself where it is a defect of ours."""
    # The driver gives no number where it finds an answer that is not to its question.
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 2014
    if code in UNDONE:
        return Repeatable(f"{name}: error {code}")
    if code == DUPLICATE:
        return Duplicate(str(error.args[1]))
    if code == UNMATCHED:
        return Unmatched(f"{name}: a change met other rows than it was to meet")
    if code in LOST:
        return Lost(f"{name}: the connection was lost ({code})")
    for codes, what, retry_after_s in (
        (GONE, "cannot be reached", 1),
        (REFUSED, "does not let us in: its user, password, schema or grants are wrong", FULL_RETRY_S),
        (BUSY, "has no connection left", 1),
        (FULL, "cannot be written: there is no space, or its disk fails", FULL_RETRY_S),
        (READ_ONLY, "cannot be written: it is read-only", FULL_RETRY_S),
        (SLOW, "took too long for a statement", 1),
    ):
        if code in codes:
            return Unavailable(f"the database {name} {what} (error {code})", retry_after_s=retry_after_s)
    return error
