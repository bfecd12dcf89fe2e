"""An invoice as people read it: one view of it, written as HTML and as PDF."""
