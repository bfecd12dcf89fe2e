-- A weighted sum: the value is a level that holds from one event to the next, and what is summed is level times time,
-- in units times microseconds. The last level before `start_us` is carried in, however long ago it was set, and the
-- last one holds until held_until_us. Each group is a level of its own. Always read from the events.
WITH
    arrayZip({window_starts_us:Array(Int64)}, {window_ends_us:Array(Int64)}) AS windows
SELECT
    customer_id,
    window.1                                                                   AS window_us,
    groups,
    countIf(sent)                                                              AS matched,
    countIf(sent AND is_usable)                                                AS usable,
    toString(sum(amount * held_us))                                            AS number,
    toString(sumIf(print, (sent AND is_usable) OR held_us > 0))                AS fingerprint
FROM
(
    SELECT
        customer_id,
        groups,
        is_usable,
        print,
        window,
        at_us >= window.1 AND at_us < window.2                                               AS sent,
        if(is_usable, amount, toDecimal256(0, 24))                                           AS amount,
        if(is_usable, greatest(least(until_at_us, window.2) - greatest(at_us, window.1), 0), 0) AS held_us
    FROM
    (
        SELECT
            customer_id,
            groups,
            is_usable,
            assumeNotNull(number)                                               AS amount,
            reinterpretAsUInt128(sipHash128(identity, content_hash))            AS print,
            toUnixTimestamp64Micro(timestamp)                                   AS at_us,
            least(
                leadInFrame(at_us, 1, {held_until_us:Int64}) OVER (
                    PARTITION BY customer_id, groups, is_usable
                    ORDER BY timestamp, ingested_at, identity
                    ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
                {held_until_us:Int64})                                          AS until_at_us
        FROM
        (
            SELECT
                customer_id,
                timestamp,
                ingested_at,
                identity,
                content_hash,
                tally_texts(properties, {group_by:Array(String)})                        AS groups,
                tally_number(properties[{property:String}])                              AS number,
                number IS NOT NULL                                                       AS is_usable
            FROM counted_events(
                tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
                all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
                first_day = {first_day:Date}, last_day = {last_day:Date},
                first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
                until_us = {until_us:Int64}, unreconciled = {unreconciled:Bool}, reconciled_us = {reconciled_us:Int64})
            WHERE timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
              AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
              AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
        )
    )
    ARRAY JOIN arrayFilter(one -> at_us < one.2 AND (until_at_us > one.1 OR at_us >= one.1), windows) AS window
)
WHERE sent OR held_us > 0
GROUP BY customer_id, window_us, groups
ORDER BY customer_id, window_us, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
