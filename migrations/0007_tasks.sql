-- Tasks (source document 002): long work that somebody does elsewhere, in phases and work items, with its progress.
--
-- tasks and task_work_items are projections of the task: streams, one row from a task's first event on and one for each work item,
-- written in the same transaction and rebuilt from the log when asked. So the list and a task's state cost a few rows, however
-- many events it has. The view reads the log itself, and takes nothing for granted: anybody may append anything to a task's
-- stream, so what is no text or no number is NULL.

CREATE TABLE tasks (
    task_id         TEXT    PRIMARY KEY,   -- the id in its stream, task:{task_id}
    status          TEXT    NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'cancelled')),
    phase           TEXT,                  -- of its newest phase_enter; NULL before the first
    progress        REAL    NOT NULL,      -- percent, 0 to 100: of its newest progress_update; 100 when completed
    items_running   INTEGER NOT NULL,      -- work items by status; together all that were ever named
    items_completed INTEGER NOT NULL,
    items_failed    INTEGER NOT NULL,
    created_at      TEXT    NOT NULL,      -- UTC, ISO-8601: its first event
    updated_at      TEXT    NOT NULL,      -- UTC, ISO-8601: its newest event
    created_seq     INTEGER NOT NULL,      -- seq of the first; the cursor of the list
    last_seq        INTEGER NOT NULL,      -- seq of its newest event: this row is true at that seq
    revision        INTEGER NOT NULL       -- of its newest event: how many it has had
) STRICT;

-- The list of tasks, newest first, of all and of one status, is a walk backwards.
CREATE INDEX tasks_by_creation ON tasks (created_seq);
CREATE INDEX tasks_by_status ON tasks (status, created_seq);

CREATE TABLE task_work_items (
    task_id    TEXT    NOT NULL,
    span_id    TEXT    NOT NULL,           -- unique within its task
    status     TEXT    NOT NULL CHECK (status IN ('running', 'completed', 'failed')),
    name       TEXT,                       -- for people; NULL when no event of it had one
    started_at TEXT,                       -- UTC, ISO-8601: its newest start; NULL when only its end was told
    ended_at   TEXT,                       -- UTC, ISO-8601: when it was completed or failed; NULL while it runs
    first_seq  INTEGER NOT NULL,           -- seq of the first event that named it
    last_seq   INTEGER NOT NULL,           -- seq of the newest one
    PRIMARY KEY (task_id, span_id)
) STRICT, WITHOUT ROWID;

-- The work items of a task in the order in which they appeared.
CREATE INDEX task_work_items_in_order ON task_work_items (task_id, first_seq);

-- Every event of every task, flat as streams show it; filter by task_id, which is looked up.
CREATE VIEW task_timeline AS
SELECT t.task_id    AS task_id,
       e.seq        AS seq,
       e.revision   AS revision,                -- place in the task: 1, 2, 3 ... without gaps
       e.timestamp  AS timestamp,               -- UTC, ISO-8601
       e.event_type AS event_type,
       CASE WHEN json_type(e.payload, '$.phase') = 'text'
            THEN e.payload ->> '$.phase' END    AS phase,
       CASE WHEN json_type(e.payload, '$.span_id') = 'text'
            THEN e.payload ->> '$.span_id' END  AS span_id,   -- the work item
       CASE WHEN json_type(e.payload, '$.progress') IN ('integer', 'real')
            THEN e.payload ->> '$.progress' END AS progress,  -- percent
       e.source     AS source,                  -- who said so
       e.payload    AS payload                  -- JSON
FROM tasks AS t
JOIN events AS e ON e.stream = 'task:' || t.task_id;
