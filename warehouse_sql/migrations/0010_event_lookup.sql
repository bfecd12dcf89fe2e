-- Finding one event without reading a tenant's whole history: ids are not in the key of `events`, so a filter per
-- 8192 rows says where an id can be. Writes nothing anew but these filters, for the rows that are stored already.
ALTER TABLE events ADD INDEX IF NOT EXISTS event_id_filter event_id TYPE bloom_filter(0.01) GRANULARITY 4;
ALTER TABLE events ADD INDEX IF NOT EXISTS identity_filter identity TYPE bloom_filter(0.01) GRANULARITY 4;
ALTER TABLE events MATERIALIZE INDEX event_id_filter;
ALTER TABLE events MATERIALIZE INDEX identity_filter;

-- Why a row of `events` is left out. It lost against an earlier received row of its identity: `duplicate` (same content)
-- or `conflict` (other content). Or somebody took it out: `voided`, or `amended`, where the winner is the event that
-- took its place. A row that was taken out keeps its identity: what is sent under it later is a duplicate or conflict.
ALTER TABLE superseded MODIFY COLUMN reason COMMENT 'duplicate, conflict, voided or amended';
