-- What one meter reads from each of some events that need not be stored, by the functions that usage.sql uses: the first
-- filter that is not met (0 where all are), the value's text, why it cannot be counted (empty where it can), the number
-- that it is, and the texts of the group.
SELECT
    position,
    arrayFirstIndex(f -> NOT tally_fits(properties, [f]), {filters:Array(Tuple(String, String, Array(String)))}) AS unmet,
    text,
    multiIf({aggregation:String} = 'count', '',
            {aggregation:String} = 'count_unique', if(text IS NULL, 'missing', ''),
            tally_unusable_because(text))                                           AS reason,
    toString(tally_number(text))                                                    AS number,
    arrayMap(name -> ifNull(properties[name], ''), {group_by:Array(String)})        AS groups
FROM
(
    SELECT
        event.1                                                     AS position,
        mapFromArrays({property_names:Array(String)}, event.2)      AS properties,
        properties[{property:String}]                               AS text
    FROM
    (
        SELECT arrayJoin(arrayZip(
            arrayEnumerate({property_texts:Array(Array(Nullable(String)))}),
            {property_texts:Array(Array(Nullable(String)))})) AS event
    )
)
ORDER BY position
