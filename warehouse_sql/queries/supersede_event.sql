-- Takes one row of `events` out of every read, because it was voided or amended. Again the same row, which collapses.
INSERT INTO superseded
(
    tenant_id, environment_id, event_name, day, identity, content_hash, hour, customer_id, timestamp, event_id, ingested_at,
    reason, winner_event_name, winner_customer_id, winner_timestamp, winner_event_id, superseded_at
)
SELECT
    {tenant_id:String},
    {environment_id:String},
    {event_name:String},
    toDate(fromUnixTimestamp64Micro({timestamp_us:Int64}, 'UTC') AS at),
    {identity:String},
    {content_hash:UInt64},
    toStartOfHour(at),
    {customer_id:String},
    at,
    {event_id:String},
    fromUnixTimestamp64Micro({ingested_us:Int64}, 'UTC'),
    {reason:String},
    {winner_event_name:String},
    {winner_customer_id:String},
    fromUnixTimestamp64Micro({winner_timestamp_us:Int64}, 'UTC'),
    {winner_event_id:String},
    now64(6, 'UTC')
