-- One meter's usage per customer, window and group values in [start, end): clean days from a rollup, all other hours from
-- the events. Windows are given by their starts, in microseconds; the last one ends at `end_us`.
--
--   rollup      usage_daily where no clean day is cut by a window, else usage_hourly
--   builds      the build whose rollup is used, for each day from first_day on; 0 where none is
--   raw_days    days that are read from the events
--   raw_hours   hours of the other days that are read from the events all the same: a window's edge lies within them
--   until_us    events received later are left out
--   filters     the meter's and the question's; `group_filters` are the question's, on the rollup's group_names
WITH
    fromUnixTimestamp64Micro({start_us:Int64}, 'UTC') AS start_at,
    fromUnixTimestamp64Micro({end_us:Int64}, 'UTC') AS end_at
SELECT
    customer_id,
    window_us,
    groups,
    sum(part.matched)                                     AS matched,
    sum(part.usable)                                      AS usable,
    if({aggregation:String} IN ('sum', 'avg'), toString(sum(part.total)),
    if({aggregation:String} = 'count', '0',
    if({aggregation:String} = 'count_unique', toString(uniqExactMerge(part.distinct_texts)),
    if({aggregation:String} = 'min', toString(minIf(part.lowest, part.usable > 0)),
    if({aggregation:String} = 'max', toString(maxIf(part.highest, part.usable > 0)),
       toString(argMaxMergeIf(part.latest, part.usable > 0))))))) AS number,
    toString(sum(part.fingerprint))                       AS fingerprint
FROM
(
    SELECT
        customer_id,
        roundDown(toInt64(toUnixTimestamp(hour)) * 1000000, {window_starts_us:Array(Int64)}) AS window_us,
        arrayMap(position -> rollup.groups[position], {group_positions:Array(UInt8)})  AS groups,
        matched, usable, total, lowest, highest, latest, distinct_texts, fingerprint
    FROM {rollup:Identifier} AS rollup
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND meter_id = {meter_id:String}
      AND meter_version = {meter_version:UInt32}
      AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
      AND hour >= start_at AND hour < end_at
      AND build = {builds:Array(UInt64)}[toDate(hour) - {first_day:Date} + 1]
      AND hour NOT IN {raw_hours:Array(DateTime('UTC'))}
      AND (empty({group_filters:Array(Tuple(String, String, Array(String)))})
           OR tally_fits(
                  mapFromArrays({group_names:Array(String)},
                                arrayResize(arrayMap(text -> toNullable(text), rollup.groups),
                                            length({group_names:Array(String)}))),
                  {group_filters:Array(Tuple(String, String, Array(String)))}))

    UNION ALL

    SELECT
        customer_id,
        roundDown(toUnixTimestamp64Micro(timestamp), {window_starts_us:Array(Int64)})                               AS window_us,
        groups,
        count()                                                                                                     AS matched,
        countIf(is_usable)                                                                                          AS usable,
        sumIf(amount, is_usable)                                                                                    AS total,
        minIf(amount, is_usable)                                                                                    AS lowest,
        maxIf(amount, is_usable)                                                                                    AS highest,
        argMaxStateIf(amount, (timestamp, ingested_at, identity), is_usable AND {aggregation:String} = 'latest')    AS latest,
        uniqExactStateIf(assumeNotNull(text), is_usable AND {aggregation:String} = 'count_unique')                  AS distinct_texts,
        sumIf(if({fingerprinted:Bool}, reinterpretAsUInt128(sipHash128(identity, content_hash)), 0), is_usable)     AS fingerprint
    FROM
    (
        SELECT
            customer_id,
            timestamp,
            ingested_at,
            identity,
            content_hash,
            tally_texts(properties, {group_by:Array(String)})                               AS groups,
            properties[{property:String}]                                                   AS text,
            if({aggregation:String} IN ('count', 'count_unique'), NULL, tally_number(text)) AS number,
            assumeNotNull(number)                                                           AS amount,
            multiIf({aggregation:String} = 'count', true,
                    {aggregation:String} = 'count_unique', text IS NOT NULL,
                    number IS NOT NULL)                                                     AS is_usable
        FROM counted_events(
            tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
            all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
            first_day = {first_day:Date}, last_day = {last_day:Date},
            first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
            until_us = {until_us:Int64}, unreconciled = {unreconciled:Bool}, reconciled_us = {reconciled_us:Int64})
        WHERE timestamp >= start_at AND timestamp < end_at
          AND (day IN {raw_days:Array(Date)} OR hour IN {raw_hours:Array(DateTime('UTC'))})
          AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
          AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
    )
    GROUP BY customer_id, window_us, groups
) AS part
GROUP BY customer_id, window_us, groups
ORDER BY customer_id, window_us, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
