-- As the form for one server; the filters are those of the shards' own tables.
ALTER TABLE events_local ON CLUSTER '{cluster}' ADD INDEX IF NOT EXISTS event_id_filter event_id TYPE bloom_filter(0.01) GRANULARITY 4;
ALTER TABLE events_local ON CLUSTER '{cluster}' ADD INDEX IF NOT EXISTS identity_filter identity TYPE bloom_filter(0.01) GRANULARITY 4;
ALTER TABLE events_local ON CLUSTER '{cluster}' MATERIALIZE INDEX event_id_filter;
ALTER TABLE events_local ON CLUSTER '{cluster}' MATERIALIZE INDEX identity_filter;

ALTER TABLE superseded ON CLUSTER '{cluster}' MODIFY COLUMN reason COMMENT 'duplicate, conflict, voided or amended';
