-- What some meters read from each of some events, stored or not, by the same rules as usage.sql: the first filter that is
-- not met (0 where all are), the text of the value, why that cannot be counted (empty where it can), the number that it
-- is, and the texts of the group. One row for each event and meter, in this order.
SELECT
    position,
    arrayFirstIndex(f -> NOT tally_fits(properties, [f]), meter.4) AS unmet,
    properties[meter.3]                                            AS text,
    multiIf(meter.2 = 'count', '',
            meter.2 = 'count_unique', if(text IS NULL, 'missing', ''),
            tally_unusable_because(text))                          AS reason,
    toString(tally_number(text))                                   AS number,
    tally_texts(properties, meter.5)                               AS groups
FROM
(
    SELECT
        event.1                                                    AS position,
        mapFromArrays({property_names:Array(String)}, event.2)     AS properties,
        arrayJoin(arrayZip(
            arrayEnumerate({aggregations:Array(String)}),
            {aggregations:Array(String)},
            {meter_properties:Array(String)},
            {filters:Array(Array(Tuple(String, String, Array(String))))},
            {group_by:Array(Array(String))}))                      AS meter
    FROM
    (
        SELECT arrayJoin(arrayZip(
            arrayEnumerate({property_texts:Array(Array(Nullable(String)))}),
            {property_texts:Array(Array(Nullable(String)))})) AS event
    )
)
ORDER BY position, meter.1
