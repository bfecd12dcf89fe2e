-- The name that this server gives to its cluster in ON CLUSTER '{cluster}'.
SELECT substitution AS cluster FROM system.macros WHERE macro = 'cluster'
