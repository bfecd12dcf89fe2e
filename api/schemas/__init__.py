"""What goes in and out over HTTP, one file per resource. Ledger records never leave without passing through here."""
