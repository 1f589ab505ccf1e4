-- What a demand is beyond its row in demands, so that it is read without its stream: candidates, offers, proposals and the rest.
--
-- A projection like demands, in the same transaction. Each offer, refusal, proposal, gap and sub-negotiation has a row of its own,
-- and all that is given once shares one: an event writes what it changes, not what has grown before it. In a file of an earlier
-- version the rows of demands have the revision 0 and no parts; those demands are folded from their streams until `rebuild`.

ALTER TABLE demands ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;  -- of its newest event; 0: parts are missing

CREATE TABLE demand_parts (
    demand_id TEXT    NOT NULL,
    part      TEXT    NOT NULL,  -- offers, declines, proposals, gaps, subnets; given: everything that is no list of these
    place     INTEGER NOT NULL,  -- in its list, from 0
    value     TEXT    NOT NULL,  -- JSON object
    PRIMARY KEY (demand_id, part, place)
) STRICT, WITHOUT ROWID;
