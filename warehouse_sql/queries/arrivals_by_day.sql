-- How many events arrived for each day and event name: sizes the statements of a build.
SELECT day, sum(arrivals.events) AS events
FROM arrivals
WHERE day IN {days:Array(Date)}
GROUP BY day
