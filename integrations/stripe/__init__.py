"""Stripe: the gateway, its mapping and webhooks, and the local sandbox."""
