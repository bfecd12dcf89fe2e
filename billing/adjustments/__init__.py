"""What may change a line after it was priced: one file per step, in the order that `billing.rating` gives them."""
