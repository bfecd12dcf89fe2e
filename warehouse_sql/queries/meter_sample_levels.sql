-- The answer of usage_levels.sql for events that need not be stored; see there.
WITH
    arrayZip({window_starts_us:Array(Int64)}, {window_ends_us:Array(Int64)}) AS windows
SELECT
    customer_id,
    window.1                         AS window_us,
    groups,
    countIf(sent)                    AS matched,
    countIf(sent AND is_usable)      AS usable,
    toString(sum(amount * held_us))  AS number,
    '0'                              AS fingerprint
FROM
(
    SELECT
        customer_id,
        groups,
        is_usable,
        window,
        at_us >= window.1 AND at_us < window.2                                                   AS sent,
        if(is_usable, level, toDecimal256(0, 24))                                                AS amount,
        if(is_usable, greatest(least(until_at_us, window.2) - greatest(at_us, window.1), 0), 0)  AS held_us
    FROM
    (
        SELECT
            customer_id,
            groups,
            is_usable,
            assumeNotNull(number)                              AS level,
            at_us,
            least(
                leadInFrame(at_us, 1, {held_until_us:Int64}) OVER (
                    PARTITION BY customer_id, groups, is_usable
                    ORDER BY at_us, identity
                    ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING),
                {held_until_us:Int64})                         AS until_at_us
        FROM
        (
            SELECT
                event.1                                                                  AS customer_id,
                event.2                                                                  AS at_us,
                event.3                                                                  AS identity,
                mapFromArrays({property_names:Array(String)}, event.4)                   AS properties,
                tally_texts(properties, {group_by:Array(String)})                        AS groups,
                tally_number(properties[{property:String}])                              AS number,
                number IS NOT NULL                                                       AS is_usable
            FROM
            (
                SELECT arrayJoin(arrayZip(
                    {customers:Array(String)}, {timestamps_us:Array(Int64)}, {identities:Array(String)},
                    {property_texts:Array(Array(Nullable(String)))})) AS event
            )
            WHERE at_us < {end_us:Int64} AND at_us >= {event_from_us:Int64}
              AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
        )
    )
    ARRAY JOIN arrayFilter(one -> at_us < one.2 AND (until_at_us > one.1 OR at_us >= one.1), windows) AS window
)
WHERE sent OR held_us > 0
GROUP BY customer_id, window_us, groups
ORDER BY customer_id, window_us, groups
