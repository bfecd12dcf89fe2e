CREATE VIEW counted_events
AS WITH
    received AS
    (
        SELECT
            identity,
            identity_hash,
            content_hash,
            hour,
            seniority,
            ingested_at
        FROM events
        WHERE {unreconciled:Bool} AND (tenant_id = {tenant_id:String}) AND (environment_id = {environment_id:String}) AND (event_name = {event_name:String}) AND ((day >= {first_day:Date}) AND (day <= {last_day:Date})) AND ((hour >= {first_hour:DateTime('UTC')}) AND (hour <= {last_hour:DateTime('UTC')})) AND ({all_customers:Bool} OR (customer_id IN ({customer_ids:Array(String)})))
    ),
    seen_twice AS
    (
        SELECT identity_hash
        FROM received
        WHERE identity_hash GLOBAL IN (
            SELECT identity_hash
            FROM received
            WHERE ingested_at > fromUnixTimestamp64Micro({reconciled_us:Int64}, 'UTC')
        )
        GROUP BY identity_hash
        HAVING count() > 1
    ),
    fresh_losers AS
    (
        SELECT
            identity,
            argMax((content_hash, hour), (seniority, content_hash, hour)) AS winner,
            arrayJoin(arrayFilter(row -> (row != winner), groupUniqArray((content_hash, hour)))) AS loser
        FROM received
        WHERE identity_hash GLOBAL IN (
            SELECT identity_hash
            FROM seen_twice
        )
        GROUP BY identity
    )
SELECT
    customer_id,
    day,
    hour,
    timestamp,
    ingested_at,
    identity,
    content_hash,
    event_id,
    idempotency_key,
    properties,
    source
FROM events
FINAL
WHERE (tenant_id = {tenant_id:String}) AND (environment_id = {environment_id:String}) AND (event_name = {event_name:String}) AND ((day >= {first_day:Date}) AND (day <= {last_day:Date})) AND ((hour >= {first_hour:DateTime('UTC')}) AND (hour <= {last_hour:DateTime('UTC')})) AND ({all_customers:Bool} OR (customer_id IN ({customer_ids:Array(String)}))) AND (({until_us:Int64} = toInt64(4102444800000000)) OR (ingested_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC'))) AND ((identity, (content_hash, hour)) GLOBAL NOT IN (
    SELECT
        identity,
        (content_hash, hour)
    FROM superseded
    WHERE (tenant_id = {tenant_id:String}) AND (environment_id = {environment_id:String}) AND (event_name = {event_name:String}) AND ((day >= {first_day:Date}) AND (day <= {last_day:Date}))
    UNION ALL
    SELECT
        identity,
        loser
    FROM fresh_losers
))
