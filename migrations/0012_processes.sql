-- What several processes on one file have to agree about: which of them does what one process does for all, and which logins are over.
--
-- A duty's term grows by one whenever a process takes it over. What is appended for a duty is refused, inside the write transaction,
-- unless the term is still the one that its process took: a process that was stopped for a while cannot act under an old one.

CREATE TABLE terms (
    duty    TEXT    PRIMARY KEY,   -- coordinator, generations, permissions, retention
    term    INTEGER NOT NULL,      -- 1, 2, 3 ...
    holder  TEXT    NOT NULL,      -- the process that took it, by the name of its socket; empty: it gave the duty up
    since   TEXT    NOT NULL       -- UTC, ISO-8601, milliseconds, Z
) STRICT, WITHOUT ROWID;

CREATE TABLE ended_logins (
    login TEXT    PRIMARY KEY,     -- SHA-256 of the CSRF token of a cookie that was logged out, in hexadecimal
    until INTEGER NOT NULL         -- when the cookie would have expired anyway, in seconds since 1970
) STRICT, WITHOUT ROWID;
