-- How many inserts the engine has run since it started.
SELECT sum(value) AS inserts FROM system.events WHERE event = 'InsertQuery'
