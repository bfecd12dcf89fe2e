"""A stateful local twin of the part of Stripe's API that Tallyhouse uses; a process of its own, imported by nobody."""
