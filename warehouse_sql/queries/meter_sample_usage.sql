-- The answer of usage.sql for events that need not be stored. Among equal timestamps the identity says which is the
-- latest, as it does for events that were received in one request. tests/properties/test_usage_from_rollups.py
-- holds the two together.
SELECT
    customer_id,
    roundDown(at_us, {window_starts_us:Array(Int64)})                                                AS window_us,
    tally_texts(properties, {group_by:Array(String)})                                                AS groups,
    count()                                                                                          AS matched,
    countIf(is_usable)                                                                               AS usable,
    if({aggregation:String} IN ('sum', 'avg'), toString(sumIf(amount, is_usable)),
    if({aggregation:String} = 'count', '0',
    if({aggregation:String} = 'count_unique', toString(uniqExactIf(assumeNotNull(text), is_usable)),
    if({aggregation:String} = 'min', toString(minIf(amount, is_usable)),
    if({aggregation:String} = 'max', toString(maxIf(amount, is_usable)),
       toString(argMaxIf(amount, (at_us, identity), is_usable)))))))                                 AS number,
    '0'                                                                                              AS fingerprint
FROM
(
    SELECT
        event.1                                                                         AS customer_id,
        event.2                                                                         AS at_us,
        event.3                                                                         AS identity,
        mapFromArrays({property_names:Array(String)}, event.4)                          AS properties,
        properties[{property:String}]                                                   AS text,
        if({aggregation:String} IN ('count', 'count_unique'), NULL, tally_number(text)) AS number,
        assumeNotNull(number)                                                           AS amount,
        multiIf({aggregation:String} = 'count', true,
                {aggregation:String} = 'count_unique', text IS NOT NULL,
                number IS NOT NULL)                                                     AS is_usable
    FROM
    (
        SELECT arrayJoin(arrayZip(
            {customers:Array(String)}, {timestamps_us:Array(Int64)}, {identities:Array(String)},
            {property_texts:Array(Array(Nullable(String)))})) AS event
    )
    WHERE at_us >= {start_us:Int64} AND at_us < {end_us:Int64} AND at_us >= {event_from_us:Int64}
      AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
)
GROUP BY customer_id, window_us, groups
ORDER BY customer_id, window_us, groups
