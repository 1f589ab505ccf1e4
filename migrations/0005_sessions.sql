-- Sessions: chats that a bot begins and a human takes over, and what was said in them.
--
-- sessions is a projection of the session: streams, one row from the first message or escalation on, written in the same
-- transaction and rebuilt from the log when asked. The row is the whole state of a session: commands decide on it, so a long
-- chat is not read again for every message. The view of the messages reads the log itself, and takes nothing for granted:
-- anybody may append anything to a session's stream, so what is no text is NULL.

CREATE TABLE sessions (
    name          TEXT    PRIMARY KEY,      -- session_name, the id in its stream, session:{name}
    status        TEXT    NOT NULL CHECK (status IN ('bot', 'waiting_agent', 'with_operator', 'closed')),
    agent_id      TEXT,                     -- the operator who has it; NULL unless with_operator
    released_by   TEXT,                     -- the operator who gave it back last, until it is asked for again; else NULL
    reason        TEXT,                     -- why a human was asked for; NULL when unsaid and while it is the bot's
    waiting_since TEXT,                     -- UTC, ISO-8601; NULL unless waiting_agent
    messages      INTEGER NOT NULL,         -- how many were sent, by anybody
    created_at    TEXT    NOT NULL,         -- UTC, ISO-8601: its first message or escalation
    updated_at    TEXT    NOT NULL,         -- UTC, ISO-8601: its newest event
    created_seq   INTEGER NOT NULL,         -- seq of the first; the cursor of the list
    status_seq    INTEGER NOT NULL,         -- seq of the newest change of status; 0 before there was one
    last_seq      INTEGER NOT NULL,         -- seq of its newest event: this row is true at that seq
    revision      INTEGER NOT NULL          -- of its newest event
) STRICT;

-- The list of sessions, newest first, of all and of one status, is a walk backwards.
CREATE INDEX sessions_by_creation ON sessions (created_seq);
CREATE INDEX sessions_by_status ON sessions (status, created_seq);

-- What was said, by whom; filter by session_name, which is looked up.
CREATE VIEW session_messages AS
SELECT s.name      AS session_name,
       e.timestamp AS timestamp,            -- UTC, ISO-8601
       CASE WHEN json_type(e.payload, '$.role') = 'text'
            THEN e.payload ->> '$.role' END       AS role,        -- user, bot or operator
       CASE WHEN json_type(e.payload, '$.agent_id') = 'text'
            THEN e.payload ->> '$.agent_id' END   AS agent_id,    -- the operator who speaks; NULL for user and bot
       CASE WHEN json_type(e.payload, '$.content') = 'text'
            THEN e.payload ->> '$.content' END    AS content,
       CASE WHEN json_type(e.payload, '$.message_id') = 'text'
            THEN e.payload ->> '$.message_id' END AS message_id,  -- the sender's id of it
       e.source    AS source,               -- ai_chatbot or agent_workbench
       e.seq       AS seq
FROM sessions AS s
JOIN events AS e ON e.stream = 'session:' || s.name AND e.event_type = 'new_message';
