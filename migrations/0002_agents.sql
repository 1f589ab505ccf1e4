-- Who can be asked: the registered agents, and a full-text index over what they offer.
--
-- Both are a projection of the events agent.registered and agent.removed, written in the same transaction and rebuilt from
-- the log when asked. The index does not read the texts of agents: the program splits them, because no tokenizer of SQLite
-- finds two-character Chinese words. What it stores are finished tokens with blanks between them, already folded, so
-- unicode61 only has to cut at blanks; the underscore belongs to names such as event_planning.

CREATE TABLE agents (
    agent_id      TEXT    PRIMARY KEY,                         -- the id in its stream, agent:{agent_id}
    name          TEXT    NOT NULL,                            -- 1 to 200 characters, for people
    capabilities  TEXT    NOT NULL CHECK (json_valid(capabilities)),  -- JSON list of 1 to 50 texts
    description   TEXT    NOT NULL,                            -- 0 to 2,000 characters
    sample        INTEGER NOT NULL CHECK (sample IN (0, 1)),   -- 1: came with the program
    registered_at TEXT    NOT NULL,                            -- UTC, ISO-8601: when this registration was appended
    seq           INTEGER NOT NULL UNIQUE                      -- seq of the registration; rowid of the index
) STRICT;

CREATE VIRTUAL TABLE agents_fts USING fts5 (
    concepts,     -- canonical names of the capabilities that the lexicon knows, in any language
    words,        -- words of the capabilities outside the lexicon: stems, and two-character words of Chinese
    name,         -- words of the name
    description,  -- words of the description
    tokenize = "unicode61 remove_diacritics 0 tokenchars '_'"
);
