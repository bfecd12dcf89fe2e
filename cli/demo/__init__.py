"""`tally demo`: a real trace becomes paid invoices, through the public API only, each total proven."""
