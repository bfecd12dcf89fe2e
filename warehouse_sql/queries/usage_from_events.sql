-- The same answer as usage.sql where nothing is read from a rollup. Kept apart because it aggregates once and not twice.
-- What the question does not need is not read: the engine drops the branches that its parameters rule out. So windows
-- that begin and end with whole hours (`whole_hours`) are told by the hour, which is in the table's key.
SELECT
    customer_id,
    roundDown(toUnixTimestamp64Micro(at), {window_starts_us:Array(Int64)})                         AS window_us,
    groups,
    count()                                                                                        AS matched,
    countIf(is_usable)                                                                             AS usable,
    if({aggregation:String} IN ('sum', 'avg'), toString(sumIf(amount, is_usable)),
    if({aggregation:String} = 'count', '0',
    if({aggregation:String} = 'count_unique', toString(uniqExactIf(assumeNotNull(text), is_usable)),
    if({aggregation:String} = 'min', toString(minIf(amount, is_usable)),
    if({aggregation:String} = 'max', toString(maxIf(amount, is_usable)),
       toString(argMaxIf(amount, place, is_usable)))))))                                           AS number,
    if({fingerprinted:Bool}, toString(sumIf(print, is_usable)), '0')                               AS fingerprint
FROM
(
    SELECT
        customer_id,
        if({whole_hours:Bool}, toDateTime64(hour, 6, 'UTC'), timestamp)                            AS at,
        if({aggregation:String} = 'latest', (timestamp, ingested_at, identity), (at, at, ''))      AS place,
        if({fingerprinted:Bool},
           reinterpretAsUInt128(sipHash128(identity, content_hash)), toUInt128(0))                 AS print,
        tally_texts(properties, {group_by:Array(String)})                                          AS groups,
        properties[{property:String}]                                                              AS text,
        if({aggregation:String} IN ('count', 'count_unique'), NULL, tally_number(text))            AS number,
        assumeNotNull(number)                                                                      AS amount,
        multiIf({aggregation:String} = 'count', true,
                {aggregation:String} = 'count_unique', text IS NOT NULL,
                number IS NOT NULL)                                                                AS is_usable
    FROM counted_events(
        tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
        all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
        first_day = {first_day:Date}, last_day = {last_day:Date},
        first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
        until_us = {until_us:Int64}, unreconciled = {unreconciled:Bool}, reconciled_us = {reconciled_us:Int64})
    WHERE ({whole_hours:Bool} OR (timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
                                  AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')))
      AND ({event_from_us:Int64} = 0 OR timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC'))
      AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
)
GROUP BY customer_id, window_us, groups
ORDER BY customer_id, window_us, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
SETTINGS do_not_merge_across_partitions_select_final = 1
