"""All queries, one module of functions per aggregate: `(session, scope, …) -> frozen record`. Stores never commit."""
